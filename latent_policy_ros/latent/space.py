"""LatentSpace: the encoders and decoders of a set of embodiments as plain numpy, with a content hash.

What the hash, ``latent_id``, covers is frozen: a policy is made for one. Embodiments added later live beside it, in files
of their own that state the ``latent_id`` they were fitted to, so that a policy still fits and drives them too.
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
WITHOUT_GAUGE = "latent-policy-latent-space/1"  # still read: latents of length 1, no distance
ADDED = "latent-policy-added-embodiment/1"
GAUGE = "@gauge"  # where an embodiment's name stands in the names of tensors
ADD_AGAIN = "add it again with: latent-policy latent add"


@dataclass(frozen=True)
class LatentSpace:
    """One latent space shared by several embodiments.

    Attributes:
        codecs: Encoder and decoder of each embodiment that shaped the space, by name.
        report: What is told of its training (settings, seed, seconds, errors); not part of the hash.
        gauge: Tells how far latents are from those of the training; None in artefacts of old.
        added: Codecs of embodiments that were fitted to the space later; not part of the hash.
        refused: Of embodiments whose files in ``added`` cannot be used, what is wrong with them; only who asks for one is told.
        form: The format that it is written in.
    """

    codecs: Mapping[str, Codec]
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    gauge: OODDetector | None = None
    added: Mapping[str, Codec] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    form: str = FORMAT
    latent_id: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.codecs:
            raise ArtifactError(f"latent space: incomplete: it has no embodiments; {REMEDY}")
        everyone = {**self.codecs, **self.added}
        for what, values in (
            ("latent dimension", {name: codec.dim for name, codec in everyone.items()}),
            ("bound of the latents' length", {name: codec.bounded for name, codec in everyone.items()}),
        ):
            if len(set(values.values())) != 1:
                raise ArtifactError(f"latent space: the embodiments differ in {what}: {values}; {REMEDY}")
        object.__setattr__(self, "latent_id", artifact_hash(self._description(), self._tensors()))

    def _description(self) -> dict[str, Any]:
        return {
            "format": self.form,
            "dim": self.dim,
            **({} if self.form == WITHOUT_GAUGE else {"bounded": self.bounded}),
            "embodiments": {
                name: {"content_hash": codec.content_hash, "action_names": list(codec.action_names)}
                for name, codec in sorted(self.codecs.items())
            },
        }

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {f"{name}.{key}": codec.tensors[key] for name, codec in self.codecs.items() for key in TENSORS}
        if self.gauge is not None:
            tensors |= {f"{GAUGE}.{key}": array for key, array in self.gauge.tensors.items()}
        return tensors

    @property
    def dim(self) -> int:
        """Number of latent components L."""
        return next(iter(self.codecs.values())).dim

    @property
    def bounded(self) -> bool:
        """Whether latents have length 1. A contrastive cosine loss says nothing of it, so nothing should depend on it."""
        return next(iter(self.codecs.values())).bounded

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Names of the embodiments that share this space, added ones included; a left hand goes by its right one's."""
        return tuple(sorted({**self.codecs, **self.added}))

    def codec(self, name: str) -> Codec:
        """Encoder and decoder of one embodiment.

        A left hand has those of its right one: the same joints make the mirrored pose, so there is nothing to learn.

        Raises:
            ArtifactError: The embodiment was neither in the training of this latent space nor added to it, or its files in
                ``added`` are damaged or of another latent space.
        """
        for known in both_sides(name):
            if known in self.codecs:
                return self.codecs[known]
            if known in self.added:
                return self.added[known]
            if known in self.refused:
                raise ArtifactError(self.refused[known])
        raise ArtifactError(
            f"latent space {self.latent_id[:12]} has no embodiment {name!r}; {available(self.embodiments)}; a new one "
            "is added with: latent-policy latent add"
        )

    def encode(self, name: str, x: np.ndarray) -> np.ndarray:
        """Actions of an embodiment (..., d) to latents (..., L), float32.

        Raises:
            ArtifactError: Unknown embodiment, or a last axis that is not its d.
        """
        codec, x = self.codec(name), np.asarray(x, dtype=np.float32)
        if x.shape[-1:] != (codec.action_dim,):
            raise ArtifactError(f"encode {name}: expected actions (..., {codec.action_dim}), got {x.shape}")
        return codec.encode(x)

    def decode(self, name: str, z: np.ndarray) -> np.ndarray:
        """Latents (..., L) to actions of an embodiment (..., d), float32, clipped to its action limits.

        Raises:
            ArtifactError: Unknown embodiment, or a last axis that is not L.
        """
        return self.codec(name).decode(self._latents(f"decode {name}", z))

    def distance(self, z: np.ndarray) -> np.ndarray:
        """How far latents (..., L) are from all that was seen in training, (...): beyond 1 are 1 in a thousand of
        held-out ones.

        Raises:
            ArtifactError: A last axis that is not L, or an artefact of old that has no gauge.
        """
        if self.gauge is None:
            raise ArtifactError(f"latent space {self.latent_id[:12]} has no gauge of distance; {RETRAIN}")
        z = self._latents("distance", z)
        length = np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-6) if self.bounded else 1.0
        return self.gauge.distance(z / length)

    def _latents(self, what: str, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=np.float32)
        if z.shape[-1:] != (self.dim,):
            raise ArtifactError(f"{what}: expected latents (..., {self.dim}), got {z.shape}")
        return z

    def check(self, embodiment: Embodiment) -> None:
        """Make sure that ``embodiment`` is the one this space was trained for, or that was added to it.

        Raises:
            ArtifactError: It is unknown here, or was changed since; or its actions are in another order.
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
        """The embodiments that can still be had as they were, by name, and of the others what is wrong."""
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
        """Content hash of the embodiment that goes by ``name`` here; of a hand's other side, as its file has it.

        Raises:
            ArtifactError: As of ``codec`` and ``check``.
            ConfigError: The other side's file cannot be found.
        """
        codec = self.codec(name)
        if name == codec.name:
            return codec.content_hash
        other = load_embodiment(name)
        self.check(other)
        return other.content_hash

    def save(self, folder: Path | str) -> None:
        """Write ``latent.safetensors`` and ``latent.json``; the JSON last, as it vouches for the other."""
        folder = Path(folder)
        description = {**self._description(), "latent_id": self.latent_id, "report": dict(self.report)}
        save_artifact(folder, "latent", self._tensors(), description)
        for codec in self.added.values():
            self.save_added(folder, codec)

    def save_added(self, folder: Path | str, codec: Codec, report: Mapping[str, Any] | None = None) -> None:
        """Write a codec that was fitted to this space to ``added/<name>.safetensors`` and ``.json`` in its folder."""
        description = {**_added_description(codec, self.latent_id), "report": dict(report or {})}
        description["codec_id"] = artifact_hash(_added_description(codec, self.latent_id), dict(codec.tensors))
        save_artifact(Path(folder) / "added", codec.name, dict(codec.tensors), description)

    @classmethod
    def load(cls, folder: Path | str) -> LatentSpace:
        """Read a latent space whole, and the embodiments that were added to it: those that can be used, see ``refused``.

        Raises:
            ArtifactError: Missing, damaged, of another format, or not what its ``latent_id`` says.
        """
        folder = Path(folder)
        file = folder / "latent.json"
        described, tensors = load_artifact(folder, "latent", (FORMAT, WITHOUT_GAUGE), RETRAIN, REMEDY)
        try:
            codecs = {}
            for name, entry in described["embodiments"].items():
                own = {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(name + ".")}
                bounded = described.get("bounded", True)
                codecs[name] = Codec(name, entry["content_hash"], tuple(entry["action_names"]), own, bounded)
            measured = {key[len(GAUGE) + 1 :]: a for key, a in tensors.items() if key.startswith(GAUGE + ".")}
            gauge = OODDetector(measured) if measured else None
            space = cls(codecs, described.get("report", {}), gauge, form=described["format"])
            stated, dim = described["latent_id"], described["dim"]
        except (KeyError, TypeError, AttributeError, StopIteration) as cause:
            raise ArtifactError(f"{file}: incomplete: {cause!r}; {REMEDY}") from cause
        if len(tensors) != len(codecs) * len(TENSORS) + len(measured) or dim != space.dim or stated != space.latent_id:
            raise ArtifactError(
                f"{folder}: contents were changed: latent.json states latent_id {stated[:12]}, but the files make "
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
    """The name, and the names that the same hand has for either side."""
    base = name.removesuffix("_left").removesuffix("_right")
    return name, base, f"{base}_right", f"{base}_left"


def _hash_as(name: str, embodiment: Embodiment) -> str:
    """Hash of the same hand by the name it has for the other side; its own if its file does not describe it."""
    described = load_embodiment(embodiment.file)
    hashes = {e.name: e.content_hash for e in (described, mirrored(described))}
    own = embodiment.content_hash
    return hashes.get(name, own) if own in hashes.values() else own


def _added_description(codec: Codec, latent_id: str) -> dict[str, Any]:
    return {
        "format": ADDED, "latent_id": latent_id, "name": codec.name, "content_hash": codec.content_hash,
        "action_names": list(codec.action_names), "bounded": codec.bounded,
    }  # fmt: skip


def _load_added(file: Path, space: LatentSpace) -> Codec:
    remedy = f"remove {file.stem}.json, or {ADD_AGAIN}"
    described, tensors = load_artifact(file.parent, file.stem, ADDED, ADD_AGAIN, remedy)
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
    if stated != artifact_hash(_added_description(codec, fitted_to), tensors) or codec.name != file.stem:
        raise ArtifactError(f"{file}: contents were changed: they are not what codec_id {stated[:12]} says; {remedy}")
    if codec.name in space.codecs:
        raise ArtifactError(f"{file}: {codec.name} is in the latent space itself; remove {file.stem}.json")
    return codec
