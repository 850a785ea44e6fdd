"""State of a policy training for resuming: weights, averaged weights and optimizer, in one safetensors file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latent_policy_ros.common.artifacts import artifact_hash, canonical_json, load_tensors, save_tensors
from latent_policy_ros.common.errors import ArtifactError

FILE = "training.safetensors"
REMEDY = "start over with --fresh"


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    Attributes:
        step: Number of completed steps.
        seconds: Time spent so far.
        loss: Running mean of the loss; NaN: none yet.
        validation_loss: Newest loss on the validation episodes; NaN: none yet.
        best_loss: Lowest validation loss; infinite: none yet.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    validation_loss: float = math.nan
    best_loss: float = math.inf


def save_training_state(
    folder: Path,
    progress: Progress,
    identity: dict[str, Any],
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write training.safetensors atomically.

    No random state is stored: the randomness of each step follows from the seed and the step number.

    Args:
        folder: Output folder of the training.
        progress: Progress of the training.
        identity: Settings, latent space and data, which must be equal to resume.
        network: Network that is trained.
        average: Network with the averaged weights.
        optimizer: AdamW with its moments.
    """
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    tensors |= {f"average.{name}": t for name, t in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    arrays = {name: t.detach().cpu().contiguous().numpy() for name, t in tensors.items()}
    finite = {name: value for name, value in vars(progress).items() if math.isfinite(value)}
    text = canonical_json({**finite, "identity": identity})
    save_tensors(folder / FILE, arrays, {"progress": text, "hash": artifact_hash({"progress": text}, arrays)})


def load_training_state(
    folder: Path, identity: dict[str, Any], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress | None:
    """Restore a state written by :func:`save_training_state`.

    Returns:
        Progress of the saved training; None if there is no saved state.

    Raises:
        ArtifactError: Damaged, or of a training with other settings, latent space or data. The message names the difference.
    """
    file = folder / FILE
    if not file.exists():
        return None
    tensors, header = load_tensors(file, ArtifactError, REMEDY)
    if "progress" not in header or header.get("hash") != artifact_hash({"progress": header["progress"]}, tensors):
        raise ArtifactError(f"{file}: contents were changed, or written by another version of this package; {REMEDY}")
    stored = json.loads(header["progress"])
    recorded = stored.pop("identity")
    for key, value in identity.items():
        saved = recorded.get(key)
        if saved != value:
            raise ArtifactError(f"{file}: {key}: this training has {value!r}, the saved state {saved!r}; {REMEDY}")
    for prefix, module in (("network", network), ("average", average)):
        own = {n.removeprefix(f"{prefix}."): torch.from_numpy(a) for n, a in tensors.items() if n.startswith(f"{prefix}.")}
        module.load_state_dict(own)
    for name, parameter in network.named_parameters():
        keys = {n.split(".")[1] for n in tensors if n.startswith("optimizer.") and n.split(".", 2)[2] == name}
        for key in keys:
            saved = torch.from_numpy(tensors[f"optimizer.{key}.{name}"]).to(parameter.device)
            like = parameter if saved.shape == parameter.shape else saved
            # AdamW needs the moments in the memory layout of the parameter.
            optimizer.state[parameter][key] = torch.empty_like(like).copy_(saved).detach()
    return Progress(**stored)
