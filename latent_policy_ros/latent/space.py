"""LatentSpace: the encoders and decoders of a set of embodiments as plain numpy, with a content hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latent_policy_ros.errors import ArtifactError, available
from latent_policy_ros.latent.artifacts import content_hash, load_described, save_described

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment

FORMAT = "latent-policy-latent-space/1"
RETRAIN = "train a new latent space with: latent-policy train latent"
REMEDY = f"restore the file, or {RETRAIN}"
LAYERS = ("w1", "b1", "w2", "b2")
SCALES = ("mean", "std", "lower", "upper")
TENSORS = (*(f"encoder.{name}" for name in LAYERS), *(f"decoder.{name}" for name in LAYERS), *SCALES)


def silu(x: np.ndarray) -> np.ndarray:
    """``x * sigmoid(x)``, without overflow at either end."""
    return x * (0.5 + 0.5 * np.tanh(0.5 * x))


def unit(z: np.ndarray) -> np.ndarray:
    """``z`` scaled to length 1 along its last axis."""
    return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-6)


@dataclass(frozen=True)
class Codec:
    """Encoder and decoder of one embodiment: each an MLP with one hidden layer, on z-scored actions.

    Attributes:
        name: Name of the embodiment.
        content_hash: Hash of the embodiment that it was trained for.
        action_names: What each of the d action components is.
        tensors: ``encoder.w1`` (d, h), ``encoder.b1`` (h,), ``encoder.w2`` (h, L), ``encoder.b2`` (L,); ``decoder.*``
            the other way; ``mean`` and ``std`` (d,) of the training actions; ``lower`` and ``upper`` (d,) their limits.
    """

    name: str
    content_hash: str
    action_names: tuple[str, ...]
    tensors: Mapping[str, np.ndarray] = field(repr=False)

    def __post_init__(self) -> None:
        missing = [name for name in TENSORS if name not in self.tensors]
        if missing:
            raise ArtifactError(f"latent space: {self.name}: tensors missing: {', '.join(missing)}; {REMEDY}")
        d, h = self.tensors["encoder.w1"].shape
        L = self.tensors["encoder.w2"].shape[-1]
        shapes = {"encoder.w1": (d, h), "encoder.b1": (h,), "encoder.w2": (h, L), "encoder.b2": (L,),
                  "decoder.w1": (L, h), "decoder.b1": (h,), "decoder.w2": (h, d), "decoder.b2": (d,),
                  "mean": (d,), "std": (d,), "lower": (d,), "upper": (d,)}  # fmt: skip
        for name, shape in shapes.items():
            if self.tensors[name].shape != shape:
                got = self.tensors[name].shape
                raise ArtifactError(f"latent space: {self.name}.{name}: expected shape {shape}, got {got}; {REMEDY}")
        if len(self.action_names) != d:
            raise ArtifactError(
                f"latent space: {self.name}: {d} inputs but {len(self.action_names)} action names; {REMEDY}"
            )

    @property
    def action_dim(self) -> int:
        """Number of action components d."""
        return len(self.action_names)

    @property
    def dim(self) -> int:
        """Number of latent components L."""
        return self.tensors["encoder.w2"].shape[1]

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Actions (..., d) to latents (..., L) of length 1."""
        t = self.tensors
        h = silu((x - t["mean"]) / t["std"] @ t["encoder.w1"] + t["encoder.b1"])
        return unit(h @ t["encoder.w2"] + t["encoder.b2"])

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Latents (..., L) of any length to actions (..., d) within their limits."""
        t = self.tensors
        h = silu(unit(z) @ t["decoder.w1"] + t["decoder.b1"])
        return np.clip((h @ t["decoder.w2"] + t["decoder.b2"]) * t["std"] + t["mean"], t["lower"], t["upper"])


@dataclass(frozen=True)
class LatentSpace:
    """One latent space shared by several embodiments.

    Latents lie on the unit sphere: a contrastive cosine loss says nothing of their length, so nothing may depend on it.

    Attributes:
        codecs: Encoder and decoder of each embodiment, by name.
        report: What is told of its training (settings, seed, seconds, errors); not part of the hash.
    """

    codecs: Mapping[str, Codec]
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    latent_id: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.codecs:
            raise ArtifactError(f"latent space: incomplete: it has no embodiments; {REMEDY}")
        dims = {name: codec.dim for name, codec in self.codecs.items()}
        if len(set(dims.values())) != 1:
            raise ArtifactError(f"latent space: the embodiments differ in latent dimension: {dims}; {REMEDY}")
        object.__setattr__(self, "latent_id", content_hash(self._description(), self._tensors()))

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "dim": self.dim,
            "embodiments": {
                name: {"content_hash": codec.content_hash, "action_names": list(codec.action_names)}
                for name, codec in sorted(self.codecs.items())
            },
        }

    def _tensors(self) -> dict[str, np.ndarray]:
        return {f"{name}.{key}": codec.tensors[key] for name, codec in self.codecs.items() for key in TENSORS}

    @property
    def dim(self) -> int:
        """Number of latent components L."""
        return next(iter(self.codecs.values())).dim

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Names of the embodiments that share this space."""
        return tuple(sorted(self.codecs))

    def codec(self, name: str) -> Codec:
        """Encoder and decoder of one embodiment.

        Raises:
            ArtifactError: The embodiment was not in the training of this latent space.
        """
        if name not in self.codecs:
            raise ArtifactError(
                f"latent space {self.latent_id[:12]} has no embodiment {name!r}; {available(self.codecs)}"
            )
        return self.codecs[name]

    def encode(self, name: str, x: np.ndarray) -> np.ndarray:
        """Actions of an embodiment (..., d) to latents (..., L), float32, of length 1.

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
        codec, z = self.codec(name), np.asarray(z, dtype=np.float32)
        if z.shape[-1:] != (self.dim,):
            raise ArtifactError(f"decode {name}: expected latents (..., {self.dim}), got {z.shape}")
        return codec.decode(z)

    def check(self, embodiment: Embodiment) -> None:
        """Make sure that ``embodiment`` is the one this space was trained for.

        Raises:
            ArtifactError: It is unknown here, or was changed since.
        """
        known = self.codec(embodiment.name).content_hash
        if known != embodiment.content_hash:
            raise ArtifactError(
                f"latent space {self.latent_id[:12]} was trained for {embodiment.name} {known[:12]}, but the "
                f"embodiment is now {embodiment.content_hash[:12]}; restore its YAML, or {RETRAIN}"
            )

    def save(self, folder: Path | str) -> None:
        """Write ``latent.safetensors`` and ``latent.json``; the JSON last, as it vouches for the other."""
        description = {**self._description(), "latent_id": self.latent_id, "report": dict(self.report)}
        save_described(Path(folder), "latent", self._tensors(), description)

    @classmethod
    def load(cls, folder: Path | str) -> LatentSpace:
        """Read a latent space whole.

        Raises:
            ArtifactError: Missing, damaged, of another format, or not what its ``latent_id`` says.
        """
        folder = Path(folder)
        file = folder / "latent.json"
        described, tensors = load_described(folder, "latent", FORMAT, RETRAIN, REMEDY)
        try:
            codecs = {}
            for name, entry in described["embodiments"].items():
                own = {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(name + ".")}
                codecs[name] = Codec(name, entry["content_hash"], tuple(entry["action_names"]), own)
            space = cls(codecs, described.get("report", {}))
            stated, dim = described["latent_id"], described["dim"]
        except (KeyError, TypeError, AttributeError, StopIteration) as cause:
            raise ArtifactError(f"{file}: incomplete: {cause!r}; {REMEDY}") from cause
        if len(tensors) != len(codecs) * len(TENSORS) or dim != space.dim or stated != space.latent_id:
            raise ArtifactError(
                f"{folder}: contents were changed: latent.json states latent_id {stated[:12]}, but the files make "
                f"{space.latent_id[:12]}; {REMEDY}"
            )
        return space
