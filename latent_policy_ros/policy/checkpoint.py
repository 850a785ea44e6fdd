"""Checkpoint: a policy's files, policy.safetensors and policy.json. They are loaded completely or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.artifacts import artifact_hash, load_artifact, save_artifact
from latent_policy_ros.common.config import validate
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.scaling import Scaling
from latent_policy_ros.policy.settings import ModelSettings

FORMAT = "latent-policy/3"
RETRAIN = "train a new policy with: latent-policy train policy"
REMEDY = f"restore the file, or {RETRAIN}"
NETWORK = "network."  # prefix of the network's tensors in policy.safetensors
GRASP = "grasp.latents"  # name of the tensor
SCALING = {  # fields of Scaling and their tensors in policy.safetensors
    "state_offset": "scaling.state_offset", "state_scale": "scaling.state_scale",
    "chunk_offset": "scaling.chunk_offset", "chunk_scale": "scaling.chunk_scale",
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Content of a trained policy.

    Attributes:
        settings: Model settings.
        latent_id: Content hash of the latent space that the policy was trained for.
        scaling: Offsets and scales of states and chunks.
        grasp: Latents (T, L) of a person's precision grasp, which define the grasp frame of every end-effector.
        weights: Network weights by name, float32.
        training: Record of the training: settings, content hashes of the embodiments in the demonstrations, duration, loss,
            number of episodes. Not covered by ``policy_id``.
        stored_settings: Model settings exactly as stored in policy.json. None (a new checkpoint): all of ``settings``.
        policy_id: Content hash of the format, ``latent_id``, ``stored_settings``, scaling, grasp and weights. Settings that are not
            stored do not count, so that a new model setting leaves existing ids unchanged.
    """

    settings: ModelSettings
    latent_id: str
    scaling: Scaling
    grasp: np.ndarray = field(repr=False)
    weights: Mapping[str, np.ndarray] = field(repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stored_settings: Mapping[str, Any] | None = field(default=None, repr=False)
    policy_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy_id", artifact_hash(self._identity(), self._tensors()))

    def _identity(self) -> dict[str, Any]:
        model = self.settings.model_dump(mode="json") if self.stored_settings is None else dict(self.stored_settings)
        return {"format": FORMAT, "latent_id": self.latent_id, "model": model}

    def _tensors(self) -> dict[str, np.ndarray]:
        scaling = {tensor: getattr(self.scaling, name) for name, tensor in SCALING.items()}
        return {**{f"{NETWORK}{name}": array for name, array in self.weights.items()}, **scaling, GRASP: self.grasp}

    def for_refitted_space(self, space: LatentSpace) -> Checkpoint:
        """The same weights for ``space``, which is the policy's latent space with a refitted embodiment.

        Latents mean the same poses as before, because all other codecs are equal. ``latent_ids`` in ``training`` lists the spaces
        that the policy was for before.

        Raises:
            ArtifactError: ``space`` does not state that it was made from the policy's latent space by a refit.
        """
        origins = {refit["from"]: name for name, refit in space.report.get("refitted", {}).items()}
        if self.latent_id not in origins:
            raise ArtifactError(
                f"policy {self.policy_id[:12]} is for latent space {self.latent_id[:12]}; expected a space refitted from it, got "
                f"{space.latent_id[:12]}, refitted from {', '.join(origin[:12] for origin in origins) or 'none'}; {RETRAIN}"
            )
        training = {**self.training, "latent_ids": [*self.training.get("latent_ids", []), self.latent_id]}
        return replace(self, latent_id=space.latent_id, training=training)

    def save(self, folder: Path | str) -> None:
        """Write both files. policy.json is written last, because it holds the hash of both."""
        description = {**self._identity(), "policy_id": self.policy_id, "training": dict(self.training)}
        save_artifact(Path(folder), "policy", self._tensors(), description)

    @classmethod
    def load(cls, folder: Path | str) -> Checkpoint:
        """Read a policy.

        Raises:
            ArtifactError: A file is missing, damaged, of another format, or does not match the stated ``policy_id``.
        """
        folder = Path(folder)
        file = folder / "policy.json"
        described, tensors = load_artifact(folder, "policy", FORMAT, RETRAIN, REMEDY)
        try:
            settings = validate(ModelSettings, described["model"], file)
            scaling = Scaling(**{name: tensors.pop(tensor) for name, tensor in SCALING.items()})
            grasp = tensors.pop(GRASP)
            weights = {name.removeprefix(NETWORK): array for name, array in tensors.items()}
            training = described.get("training", {})
            checkpoint = cls(settings, described["latent_id"], scaling, grasp, weights, training, described["model"])
            stated = described["policy_id"]
        except ConfigError as cause:
            raise ArtifactError(
                f"{file}: model.{cause.path}: {cause.message}; update this package to read it, or {RETRAIN}"
            ) from cause
        except (KeyError, TypeError, AttributeError) as cause:
            raise ArtifactError(f"{file}: incomplete: {cause}; {REMEDY}") from cause
        if stated != checkpoint.policy_id:
            raise ArtifactError(
                f"{folder}: contents were changed: policy.json states policy_id {stated[:12]}, but the files have "
                f"{checkpoint.policy_id[:12]}; {REMEDY}"
            )
        return checkpoint
