"""LatentSpace: encoders and decoders of a set of embodiments in numpy, identified by a content hash.

The content hash, ``latent_id``, covers the embodiments that the space was trained with. A policy is trained for one
``latent_id``. Embodiments that are added later have files of their own, which state the ``latent_id`` they were fitted to.
They do not change it, so existing policies also drive added embodiments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latent_policy_ros.common.artifacts import artifact_hash, load_artifact, save_artifact
from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError, available
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.model.sides import mirrored
from latent_policy_ros.latent.codec import REMEDY, RETRAIN, TENSORS, Codec
from latent_policy_ros.latent.ood_detector import OODDetector

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment

FORMAT = "latent-policy-latent-space/2"
ADDED_FORMAT = "latent-policy-added-embodiment/1"
OOD_PREFIX = "@gauge."  # of the detector's tensors in latent.safetensors; an embodiment's name cannot begin with @
ADD_AGAIN = "add it again with: latent-policy latent add"


@dataclass(frozen=True)
class LatentSpace:
    """Latent space shared by several embodiments.

    Attributes:
        codecs: Encoder and decoder of each embodiment that the space was trained with, by name.
        report: Record of the training (settings, duration, held-out errors). Not covered by ``latent_id``.
        ood_detector: Out-of-distribution detector for latents; None if none was fitted.
        added: Codecs of embodiments that were added later. Not covered by ``latent_id``.
        refused: Error messages of added embodiments whose files cannot be used. :meth:`codec` raises them.
        stored: Description exactly as stored in latent.json, without ``latent_id`` and ``report``. None (a new space): made
            from the other attributes.
        latent_id: Content hash of the description and of all tensors. Fields that are not stored do not count, so that a new
            field leaves existing ids unchanged.
    """

    codecs: Mapping[str, Codec]
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ood_detector: OODDetector | None = None
    added: Mapping[str, Codec] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = field(default=None, repr=False)
    latent_id: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.codecs:
            raise ArtifactError(f"latent space: incomplete: it has no embodiments; {REMEDY}")
        everyone = {**self.codecs, **self.added}
        for what, values in (
            ("latent dimension", {name: codec.dim for name, codec in everyone.items()}),
            ("normalisation of latents", {name: codec.bounded for name, codec in everyone.items()}),
        ):
            if len(set(values.values())) != 1:
                raise ArtifactError(f"latent space: the embodiments differ in {what}: {values}; {REMEDY}")
        object.__setattr__(self, "latent_id", artifact_hash(self._identity(), self._tensors()))

    def _identity(self) -> dict[str, Any]:
        return self._description() if self.stored is None else dict(self.stored)

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "dim": self.dim,
            "bounded": self.bounded,
            "embodiments": {
                name: {"content_hash": codec.content_hash, "action_names": list(codec.action_names)}
                for name, codec in sorted(self.codecs.items())
            },
        }

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {f"{name}.{key}": codec.tensors[key] for name, codec in self.codecs.items() for key in TENSORS}
        if self.ood_detector is not None:
            tensors |= {f"{OOD_PREFIX}{key}": array for key, array in self.ood_detector.tensors.items()}
        return tensors

    @property
    def dim(self) -> int:
        """Number of latent components L."""
        return next(iter(self.codecs.values())).dim

    @property
    def bounded(self) -> bool:
        """Whether latents are normalised to length 1."""
        return next(iter(self.codecs.values())).bounded

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Names of all embodiments, including added ones. Left hands are not listed: they share the codec of the right hand."""
        return tuple(sorted({**self.codecs, **self.added}))

    def codec(self, name: str) -> Codec:
        """Encoder and decoder of one embodiment.

        A left hand shares the codec of its right hand, because equal joints give mirrored poses.

        Raises:
            ArtifactError: The space was not trained with the embodiment and it was not added, or its files in ``added`` are
                damaged or belong to another latent space.
        """
        for known in both_sides(name):
            if known in self.codecs:
                return self.codecs[known]
            if known in self.added:
                return self.added[known]
            if known in self.refused:
                raise ArtifactError(self.refused[known])
        raise ArtifactError(
            f"latent space {self.latent_id[:12]} has no embodiment {name!r}; {available(self.embodiments)}; add a new one "
            "with: latent-policy latent add"
        )

    def encode(self, name: str, x: np.ndarray) -> np.ndarray:
        """Encode actions of an embodiment (..., d) to latents (..., L), float32.

        Raises:
            ArtifactError: Unknown embodiment, or the last axis is not d.
        """
        codec, x = self.codec(name), np.asarray(x, dtype=np.float32)
        if x.shape[-1:] != (codec.action_dim,):
            raise ArtifactError(f"encode {name}: expected actions (..., {codec.action_dim}), got {x.shape}")
        return codec.encode(x)

    def decode(self, name: str, z: np.ndarray) -> np.ndarray:
        """Decode latents (..., L) to actions of an embodiment (..., d), float32, clipped to its action limits.

        Raises:
            ArtifactError: Unknown embodiment, or the last axis is not L.
        """
        return self.codec(name).decode(self._latents(f"decode {name}", z))

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Distance (...) of latents (..., L) from the training distribution, see :meth:`OODDetector.distance`.

        Raises:
            ArtifactError: The last axis is not L, or the space has no out-of-distribution detector.
        """
        if self.ood_detector is None:
            raise ArtifactError(f"latent space {self.latent_id[:12]} has no out-of-distribution detector; {RETRAIN}")
        z = self._latents("distance", z)
        length = np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-6) if self.bounded else 1.0
        return self.ood_detector.distance(z / length)

    def _latents(self, what: str, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float32)
        if z.shape[-1:] != (self.dim,):
            raise ArtifactError(f"{what}: expected latents (..., {self.dim}), got {z.shape}")
        return z

    def check(self, embodiment: Embodiment) -> None:
        """Check that ``embodiment`` is the version that this space was trained with, or that was added to it.

        Raises:
            ArtifactError: Unknown embodiment, changed since, or another order of its actions.
        """
        codec = self.codec(embodiment.name)
        now = embodiment.content_hash if embodiment.name == codec.name else _hash_as(codec.name, embodiment)
        if codec.action_names != tuple(embodiment.action_names):
            raise ArtifactError(
                f"latent space {self.latent_id[:12]}: {embodiment.name}: expected the actions {', '.join(codec.action_names)}, "
                f"but the embodiment now has {', '.join(embodiment.action_names)}; restore its YAML, or {RETRAIN}"
            )
        if codec.content_hash != now:
            raise ArtifactError(
                f"latent space {self.latent_id[:12]} was trained for {embodiment.name} {codec.content_hash[:12]}, but the "
                f"embodiment is now {now[:12]}; restore its YAML, or {RETRAIN}"
            )

    def find_embodiments(self) -> tuple[dict[str, Embodiment], dict[str, LatentPolicyError]]:
        """Load the embodiments of this space.

        Returns:
            Those found in the version of this space, and the errors of the others, by name.
        """
        found, missing = {}, {}
        for name in self.embodiments:
            try:
                embodiment = load_embodiment(name)
                self.check(embodiment)
            except LatentPolicyError as error:
                missing[name] = error
            else:
                found[name] = embodiment
        return found, missing

    def expected_hash(self, name: str) -> str:
        """Content hash of the embodiment ``name``. For the other side of a hand, that of its mirrored description.

        Raises:
            ArtifactError: As in :meth:`codec` and :meth:`check`.
            ConfigError: The description of the other side cannot be found.
        """
        codec = self.codec(name)
        if name == codec.name:
            return codec.content_hash
        other = load_embodiment(name)
        self.check(other)
        return other.content_hash

    def save(self, folder: Path | str) -> None:
        """Write ``latent.safetensors`` and ``latent.json``. The JSON is written last, because it holds the hash of both."""
        folder = Path(folder)
        description = {**self._identity(), "latent_id": self.latent_id, "report": dict(self.report)}
        save_artifact(folder, "latent", self._tensors(), description)
        for codec in self.added.values():
            self.save_added(folder, codec)

    def save_added(self, folder: Path | str, codec: Codec, report: Mapping[str, Any] | None = None) -> None:
        """Write the codec of an added embodiment to ``added/<name>.safetensors`` and ``.json`` in the space's folder."""
        description = {**_added_description(codec, self.latent_id), "report": dict(report or {})}
        description["codec_id"] = artifact_hash(_added_description(codec, self.latent_id), dict(codec.tensors))
        save_artifact(Path(folder) / "added", codec.name, dict(codec.tensors), description)

    @classmethod
    def load(cls, folder: Path | str) -> LatentSpace:
        """Read a latent space and the embodiments added to it. Unusable added embodiments are listed in ``refused``.

        Raises:
            ArtifactError: A file is missing, damaged, of another format, or does not match the stated ``latent_id``.
        """
        folder = Path(folder)
        file = folder / "latent.json"
        described, tensors = load_artifact(folder, "latent", FORMAT, RETRAIN, REMEDY)
        try:
            codecs = {}
            for name, entry in described["embodiments"].items():
                own = {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(name + ".")}
                codecs[name] = Codec(name, entry["content_hash"], tuple(entry["action_names"]), own, described["bounded"])
            ood = {key.removeprefix(OOD_PREFIX): a for key, a in tensors.items() if key.startswith(OOD_PREFIX)}
            stored = {key: value for key, value in described.items() if key not in ("latent_id", "report")}
            space = cls(codecs, described.get("report", {}), OODDetector(ood) if ood else None, stored=stored)
            stated, dim = described["latent_id"], described["dim"]
        except (KeyError, TypeError, AttributeError, StopIteration) as cause:
            raise ArtifactError(f"{file}: incomplete: {cause!r}; {REMEDY}") from cause
        if len(tensors) != len(codecs) * len(TENSORS) + len(ood) or dim != space.dim or stated != space.latent_id:
            raise ArtifactError(
                f"{folder}: contents were changed: latent.json states latent_id {stated[:12]}, but the files have "
                f"{space.latent_id[:12]}; {REMEDY}"
            )
        added, refused = {}, {}
        for added_file in sorted((folder / "added").glob("*.json")):
            try:
                added[added_file.stem] = _load_added(added_file, space)
            except ArtifactError as error:
                refused[added_file.stem] = str(error)
        return replace(space, added=added, refused=refused) if added or refused else space


def both_sides(name: str) -> tuple[str, ...]:
    """The name of a hand and its names for either side."""
    base = name.removesuffix("_left").removesuffix("_right")
    return name, base, f"{base}_right", f"{base}_left"


def _hash_as(name: str, embodiment: Embodiment) -> str:
    """Content hash of the same hand under its name for the other side; its own hash if its file does not describe it."""
    described = load_embodiment(embodiment.file)
    hashes = {e.name: e.content_hash for e in (described, mirrored(described))}
    own = embodiment.content_hash
    return hashes.get(name, own) if own in hashes.values() else own


def _added_description(codec: Codec, latent_id: str) -> dict[str, Any]:
    return {
        "format": ADDED_FORMAT, "latent_id": latent_id, "name": codec.name, "content_hash": codec.content_hash,
        "action_names": list(codec.action_names), "bounded": codec.bounded,
    }  # fmt: skip


def _load_added(file: Path, space: LatentSpace) -> Codec:
    remedy = f"remove {file.stem}.json, or {ADD_AGAIN}"
    described, tensors = load_artifact(file.parent, file.stem, ADDED_FORMAT, ADD_AGAIN, remedy)
    try:
        names, bounded = tuple(described["action_names"]), described["bounded"]
        codec = Codec(described["name"], described["content_hash"], names, tensors, bounded)
        stated, fitted_to = described["codec_id"], described["latent_id"]
    except (KeyError, TypeError) as cause:
        raise ArtifactError(f"{file}: incomplete: {cause!r}; {remedy}") from cause
    if fitted_to != space.latent_id:
        raise ArtifactError(
            f"{file}: {codec.name} was fitted to latent space {fitted_to[:12]}, but this is {space.latent_id[:12]}; {remedy}"
        )
    stored = {key: value for key, value in described.items() if key not in ("codec_id", "report")}
    if stated != artifact_hash(stored, tensors) or codec.name != file.stem:
        raise ArtifactError(f"{file}: contents were changed: they do not match codec_id {stated[:12]}; {remedy}")
    if codec.name in space.codecs:
        raise ArtifactError(f"{file}: {codec.name} is in the latent space itself; remove {file.stem}.json")
    return codec
