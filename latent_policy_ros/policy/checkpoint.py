"""A policy's files: policy.safetensors and policy.json, loaded whole or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.artifacts import content_hash, load_described, save_described
from latent_policy_ros.common.config import validate
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.policy.scaling import Scaling
from latent_policy_ros.policy.settings import PolicySettings

FORMAT = "latent-policy/1"
RETRAIN = "train a new policy with: latent-policy train policy"
REMEDY = f"restore the file, or {RETRAIN}"


@dataclass(frozen=True)
class Checkpoint:
    """A trained policy as data.

    Attributes:
        settings: What it is and how it was trained.
        latent_id: The latent space it was made for.
        embodiments: Content hash of each embodiment in its demonstrations.
        scaling: Offsets and scales of what it sees and plans.
        weights: Of the network, by name, float32.
        report: What is told of its training (seconds, steps, loss, episodes); not part of the hash.
        policy_id: Hash of all the rest.
    """

    settings: PolicySettings
    latent_id: str
    embodiments: Mapping[str, str]
    scaling: Scaling
    weights: Mapping[str, np.ndarray] = field(repr=False)
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    policy_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy_id", content_hash(self._description(), self._tensors()))

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "latent_id": self.latent_id,
            "embodiments": dict(sorted(self.embodiments.items())),
            "settings": self.settings.model_dump(mode="json"),
        }

    def _tensors(self) -> dict[str, np.ndarray]:
        scaling = {f"scaling.{f.name}": getattr(self.scaling, f.name) for f in fields(Scaling)}
        return {**{f"network.{name}": array for name, array in self.weights.items()}, **scaling}

    def save(self, folder: Path | str) -> None:
        """Write both files; the JSON last, as it vouches for the other."""
        description = {**self._description(), "policy_id": self.policy_id, "report": dict(self.report)}
        save_described(Path(folder), "policy", self._tensors(), description)

    @classmethod
    def load(cls, folder: Path | str) -> Checkpoint:
        """Read a policy whole.

        Raises:
            ArtifactError: Missing, damaged, of another format, or not what its ``policy_id`` says.
        """
        folder = Path(folder)
        file = folder / "policy.json"
        described, tensors = load_described(folder, "policy", FORMAT, RETRAIN, REMEDY)
        try:
            settings = validate(PolicySettings, described["settings"], file)
            scaling = Scaling(**{f.name: tensors.pop(f"scaling.{f.name}") for f in fields(Scaling)})
            weights = {name.removeprefix("network."): array for name, array in tensors.items()}
            latent_id, embodiments = described["latent_id"], described["embodiments"]
            checkpoint = cls(settings, latent_id, embodiments, scaling, weights, described.get("report", {}))
            stated = described["policy_id"]
        except (KeyError, TypeError, AttributeError, ConfigError) as cause:
            raise ArtifactError(f"{file}: incomplete: {cause}; {REMEDY}") from cause
        if stated != checkpoint.policy_id:
            raise ArtifactError(
                f"{folder}: contents were changed: policy.json states policy_id {stated[:12]}, but the files make "
                f"{checkpoint.policy_id[:12]}; {REMEDY}"
            )
        return checkpoint
