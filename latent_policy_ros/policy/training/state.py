"""The state of an interrupted training: weights, averaged weights and optimizer, in one safetensors file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latent_policy_ros.common.artifacts import canonical_json, content_hash, load_tensors, save_tensors
from latent_policy_ros.common.errors import ArtifactError

FILE = "training.safetensors"
REMEDY = "start over with --fresh"


def save_state(
    folder: Path,
    step: int,
    identity: dict[str, Any],
    seconds: float,
    loss: float,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write training.safetensors, whole or not at all.

    Randomness needs no state: that of each step follows from the seed and the step's number.

    Args:
        folder: Where.
        step: Steps done.
        identity: What must be the same to resume: settings, latent space, data.
        seconds: Time spent so far.
        loss: Running mean so far; NaN: none.
        network, average, optimizer: What is trained, its average, and AdamW with its moments.
    """  # fmt: skip
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    tensors |= {f"average.{name}": t for name, t in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    arrays = {name: t.detach().cpu().contiguous().numpy() for name, t in tensors.items()}
    told = {"step": step, "seconds": seconds, "loss": loss if math.isfinite(loss) else None, "identity": identity}
    text = canonical_json(told)
    save_tensors(folder / FILE, arrays, {"told": text, "hash": content_hash({"told": text}, arrays)})


def load_state(
    folder: Path, identity: dict[str, Any], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float, float] | None:
    """Restore what ``save_state`` wrote; returns the steps done, the seconds spent and the loss, None if nothing is there.

    Raises:
        ArtifactError: Damaged, or of a training with other settings, latent space or data; says which.
    """
    file = folder / FILE
    if not file.exists():
        return None
    tensors, header = load_tensors(file, ArtifactError, REMEDY)
    if header.get("hash") != content_hash({"told": header.get("told")}, tensors):
        raise ArtifactError(f"{file}: contents were changed, or of another version of this package; {REMEDY}")
    told = json.loads(header["told"])
    for key, value in identity.items():
        saved = told["identity"].get(key)
        if saved != value:
            raise ArtifactError(f"{file}: {key}: this training is with {value!r}, the saved one {saved!r}; {REMEDY}")
    for prefix, module in (("network", network), ("average", average)):
        own = {n.removeprefix(f"{prefix}."): torch.from_numpy(a) for n, a in tensors.items() if n.startswith(f"{prefix}.")}
        module.load_state_dict(own)
    for name, parameter in network.named_parameters():
        keys = {n.split(".")[1] for n in tensors if n.startswith("optimizer.") and n.split(".", 2)[2] == name}
        for key in keys:
            saved = torch.from_numpy(tensors[f"optimizer.{key}.{name}"]).to(parameter.device)
            like = parameter if saved.shape == parameter.shape else saved
            # in the memory layout of the parameter: AdamW walks through both alike
            optimizer.state[parameter][key] = torch.empty_like(like).copy_(saved).detach()
    return told["step"], told["seconds"], math.nan if told["loss"] is None else told["loss"]
