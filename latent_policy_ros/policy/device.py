"""Where networks run: on the processor, or on a GPU."""

from __future__ import annotations

import torch

from latent_policy_ros.common.errors import LatentPolicyError


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name.

    Args:
        name: As torch calls it (``cpu``, ``cuda``, ``cuda:1``), or ``auto``: a GPU if there is one that torch can use.

    Raises:
        LatentPolicyError: There is no such device, or torch cannot use it.
    """
    if name == "auto":
        try:
            return choose_device("cuda" if torch.cuda.is_available() else "cpu")
        except LatentPolicyError:  # too old for this torch, or its memory is full
            return torch.device("cpu")
    try:
        return (torch.zeros(1, device=name) + 1).device
    except (RuntimeError, AssertionError) as error:
        why = f"{str(error).splitlines()[0]}; torch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        raise LatentPolicyError(f"device: got {name!r}; expected auto, cpu or cuda:N ({why})") from error
