"""Episodes as arrays: writing a demonstration to the staging area, and loading one from a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.foreign import dataset_identity, episode_metadata, joint_columns
from latent_policy_ros.data.lerobot.layout import ACTION, POSE_NAMES, STATE, WHOLE, WRIST, WRIST_ACTION
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, EpisodeWriter, StagedEpisode
from latent_policy_ros.observations.resize import Resize


@dataclass(frozen=True)
class EpisodeMeta:
    """Metadata of an episode.

    Attributes:
        robot: Namespace of the robot, e.g. ``left``.
        embodiment: Name of the embodiment, e.g. ``faive_hand``.
        embodiment_hash: Content hash of the embodiment at the time of recording.
        dt: Time between frames [s].
        seed: Seed of the simulated scene; -1 without one.
        success: Whether the episode succeeded.
        task: Description of the task.
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
    """T frames of one robot. Frame t holds the measurements at time ``t * dt`` and the commands issued at that time.

    Attributes:
        images: RGB images, {camera: (T, H, W, 3) uint8}.
        wrist_pose: Measured pose of the hand frame in the robot's base frame, (T, 7): x y z [m], qx qy qz qw.
        hand: Measured end-effector in its action representation, (T, d).
        wrist_command: Commanded wrist pose, (T, 7), as ``wrist_pose``.
        hand_command: Commanded end-effector in its action representation, (T, d).
        meta: Metadata.

    Raises:
        ArtifactError: Arrays have inconsistent shapes, or contain NaN or infinity.
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
                raise ArtifactError(f"episode of {self.meta.robot}: {name}: expected shape {(frames, width)}, got {array.shape}")
            if not np.isfinite(array).all():
                raise ArtifactError(
                    f"episode of {self.meta.robot}: {name}: NaN or infinite at frame {int(np.argwhere(~np.isfinite(array))[0, 0])}"
                )
            object.__setattr__(self, name, array)
        for camera, images in self.images.items():
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[0] != frames or images.shape[3] != 3:
                raise ArtifactError(
                    f"episode of {self.meta.robot}: images.{camera}: expected ({frames}, H, W, 3) uint8, "
                    f"got {images.shape} {images.dtype}"
                )

    def __len__(self) -> int:
        return len(self.wrist_pose)


def stage(
    episode: Episode, root: Path, key: str, identity: DatasetIdentity, source: str = "", layout: str = WHOLE
) -> StagedEpisode:
    """Write an episode to the staging area.

    Args:
        episode: The episode.
        root: Staging folder.
        key: Identifier of the episode.
        identity: Identity of the data set that the episode belongs to.
        source: Origin of the episode, for its metadata.
        layout: ``whole`` or ``separate``; see :data:`~latent_policy_ros.data.lerobot.layout.LAYOUTS`.
    """
    meta = episode.meta
    writer = EpisodeWriter(root, key, identity, tuple(episode.images), len(episode), layout)
    try:
        for frame in range(len(episode)):
            writer.add(frame * meta.dt, {camera: images[frame] for camera, images in episode.images.items()})
        vectors = {
            STATE: (identity.joints, identity.to_joints(episode.hand)),
            WRIST: (POSE_NAMES, episode.wrist_pose),
            ACTION: (identity.joints, identity.to_joints(episode.hand_command)),
            WRIST_ACTION: (POSE_NAMES, episode.wrist_command),
        }
        metadata = {"source": source, "robot": meta.robot, "seed": meta.seed, "fingerprint": identity.embodiment_hash}
        return writer.finish(vectors, meta.task, meta.success, metadata)
    except BaseException:
        writer.abort()
        raise


def load_episode(reader: LeRobotReader, number: int, cameras: Sequence[str], resize: Resize, stride: int = 1) -> Episode:
    """Load one episode of a data set.

    Args:
        reader: The data set.
        number: Index of the episode.
        cameras: Cameras to load; cameras that the data set lacks are omitted.
        resize: Conversion of the images to one size.
        stride: Load every ``stride``-th frame.

    Raises:
        ArtifactError: The data set has no wrist poses, lacks joints of its embodiment, or is damaged.
    """
    columns, identity = reader.columns(number), dataset_identity(reader)
    missing = [name for name in (STATE, ACTION, WRIST, WRIST_ACTION) if name not in columns]
    if missing:
        raise ArtifactError(f"{reader.root}: features {', '.join(missing)} are missing; policies are trained on them")
    columns = {name: values[::stride] for name, values in columns.items()}
    metadata = episode_metadata(reader, number)
    state, action = (columns[name][:, joint_columns(reader, name, identity.joints)] for name in (STATE, ACTION))
    present = [camera for camera in cameras if camera in reader.cameras]
    return Episode(
        {c: np.array([image for k, image in enumerate(reader.images(number, c, resize)) if k % stride == 0]) for c in present},
        columns[WRIST],
        identity.to_action(state),
        columns[WRIST_ACTION],
        identity.to_action(action),
        EpisodeMeta(
            metadata.get("robot", ""), identity.embodiment, identity.embodiment_hash, stride / reader.fps,
            metadata.get("seed", -1), bool(metadata["success"]), reader.episodes[number]["tasks"][0],
        ),
    )  # fmt: skip
