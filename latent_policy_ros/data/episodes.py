"""Episode: one demonstration as arrays on a common clock, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from latent_policy_ros.errors import ArtifactError
from latent_policy_ros.latent.artifacts import load_tensors, save_tensors

FORMAT = "latent-policy-episode/1"
SUFFIX = ".safetensors"
REMEDY = "delete it, or record or generate it again"


@dataclass(frozen=True)
class EpisodeMeta:
    """What an episode is of.

    Attributes:
        robot: Namespace of the robot, e.g. ``left``.
        embodiment: Name of its end-effector, e.g. ``faive_hand``.
        embodiment_hash: ``content_hash`` of that embodiment when this was recorded.
        dt: Time between frames [s].
        seed: Seed of the simulated scene; -1 if there was none.
        success: Whether the task was fulfilled.
        task: The task in words.
    """

    robot: str
    embodiment: str
    embodiment_hash: str
    dt: float
    seed: int = -1
    success: bool = False
    task: str = ""


@dataclass(frozen=True)
class Episode:
    """T frames of one robot; frame t is what was measured at time ``t * dt`` and the commands given in answer.

    Attributes:
        images: RGB pictures of each camera the robot has, {camera: (T, H, W, 3) uint8}.
        wrist_pose: Measured pose of the hand frame in the robot's base frame, (T, 7): x y z [m], qx qy qz qw.
        hand: Measured end-effector in its action representation, (T, d).
        wrist_command: Wrist pose commanded at frame t, (T, 7), as ``wrist_pose``.
        hand_command: End-effector command at frame t in its action representation, (T, d).
        meta: What this episode is of.

    Raises:
        ArtifactError: Arrays that do not fit each other, or are not finite.
    """

    images: dict[str, np.ndarray]
    wrist_pose: np.ndarray
    hand: np.ndarray
    wrist_command: np.ndarray
    hand_command: np.ndarray
    meta: EpisodeMeta = field(repr=True)

    def __post_init__(self) -> None:
        frames = len(self.wrist_pose)
        if frames < 2:
            raise ArtifactError(f"episode of {self.meta.robot}: expected at least 2 frames, got {frames}")
        d = self.hand.shape[-1]
        for name, width in (("wrist_pose", 7), ("wrist_command", 7), ("hand", d), ("hand_command", d)):
            array = np.asarray(getattr(self, name), dtype=np.float64)
            if array.shape != (frames, width):
                raise ArtifactError(
                    f"episode of {self.meta.robot}: {name}: expected shape {(frames, width)}, got {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ArtifactError(
                    f"episode of {self.meta.robot}: {name}: NaN or infinite at frame {int(np.argwhere(~np.isfinite(array))[0, 0])}"
                )
            object.__setattr__(self, name, array)
        for camera, pictures in self.images.items():
            if (
                pictures.dtype != np.uint8
                or pictures.ndim != 4
                or pictures.shape[0] != frames
                or pictures.shape[3] != 3
            ):
                raise ArtifactError(
                    f"episode of {self.meta.robot}: images.{camera}: expected ({frames}, H, W, 3) uint8, "
                    f"got {pictures.shape} {pictures.dtype}"
                )

    def __len__(self) -> int:
        return len(self.wrist_pose)

    def save(self, path: Path | str) -> None:
        """Write this episode as one safetensors file, whole or not at all."""
        tensors = {f"images.{camera}": pictures for camera, pictures in self.images.items()}
        tensors |= {name: getattr(self, name) for name in ("wrist_pose", "hand", "wrist_command", "hand_command")}
        save_tensors(Path(path), tensors, {"format": FORMAT, "meta": json.dumps(vars(self.meta))})

    @classmethod
    def load(cls, path: Path | str) -> Episode:
        """Read one episode.

        Raises:
            ArtifactError: Missing, damaged, of another format, or with arrays that do not fit each other.
        """
        path = Path(path)
        tensors, header = load_tensors(path, ArtifactError, REMEDY)
        if header.get("format") != FORMAT:
            raise ArtifactError(f"{path}: expected format {FORMAT!r}, got {header.get('format')!r}; {REMEDY}")
        try:
            values = json.loads(header["meta"])
            meta = EpisodeMeta(**{f.name: values[f.name] for f in fields(EpisodeMeta)})
            arrays = {name: tensors[name] for name in ("wrist_pose", "hand", "wrist_command", "hand_command")}
        except (KeyError, ValueError) as cause:
            raise ArtifactError(f"{path}: incomplete: {cause}; {REMEDY}") from cause
        images = {name[len("images.") :]: a for name, a in tensors.items() if name.startswith("images.")}
        return cls(images=images, meta=meta, **arrays)


def find_episodes(folders: Iterable[Path | str]) -> list[Path]:
    """Files of all episodes in ``folders``, searched with their subfolders, in the order of paths.

    Raises:
        ArtifactError: A folder does not exist or holds no episode.
    """
    files: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ArtifactError(f"{folder}: no such folder of episodes; generate or record some first")
        found = sorted(p for p in folder.rglob(f"*{SUFFIX}") if not p.name.startswith("."))
        if not found:
            raise ArtifactError(f"{folder}: holds no episode (*{SUFFIX}); generate or record some first")
        files += found
    return files
