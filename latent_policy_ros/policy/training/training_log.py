"""Logs of a training: scalars over the steps, for TensorBoard, Weights & Biases or Trackio."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.registry import Registry


class TrainingLog(Protocol):
    """Receives scalars. Made with the output folder, the step at which the training begins, and its settings."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Log named values at a step."""

    def close(self) -> None:
        """Write everything that is pending."""


class TensorBoardLog:
    """Event files in ``<out>/tensorboard``; ``tensorboard --logdir <out>`` shows them."""

    def __init__(self, out_dir: Path, step: int, settings: Mapping[str, Any]) -> None:
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out_dir / "tensorboard"), purge_step=step)  # later values are written again

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _RunLog:
    """A run of the project ``latent_policy_ros``, named after the output folder."""

    package: str

    def __init__(self, out_dir: Path, step: int, settings: Mapping[str, Any]) -> None:
        self._run = _require(self.package).init(project="latent_policy_ros", name=out_dir.name, config=dict(settings))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class WandbLog(_RunLog):
    """A run of Weights & Biases."""

    package = "wandb"


class TrackioLog(_RunLog):
    """A run of Trackio, which stores on this machine."""

    package = "trackio"


LOGS = Registry(
    "training log",
    "latent_policy_ros.training_logs",
    {
        "tensorboard": "latent_policy_ros.policy.training.training_log:TensorBoardLog",
        "wandb": "latent_policy_ros.policy.training.training_log:WandbLog",
        "trackio": "latent_policy_ros.policy.training.training_log:TrackioLog",
    },
)


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise LatentPolicyError(f"training log {package!r} needs the package {package}; type: pip install {package}") from error
