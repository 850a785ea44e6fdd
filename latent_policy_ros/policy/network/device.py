"""Choice of the torch device: CPU or GPU."""

from __future__ import annotations

import torch

from latent_policy_ros.common.errors import LatentPolicyError


def choose_device(name: str = "auto") -> torch.device:
    """The torch device with this name, after a test that it works.

    Args:
        name: A device name of torch (``cpu``, ``cuda``, ``cuda:1``), or ``auto``: a usable GPU if there is one, else the CPU.

    Raises:
        LatentPolicyError: No such device, or torch cannot use it.
    """
    if name == "auto":
        try:
            return choose_device("cuda" if torch.cuda.is_available() else "cpu")
        except LatentPolicyError:  # e.g. not supported by this torch build, or out of memory
            return torch.device("cpu")
    try:
        return (torch.zeros(1, device=name) + 1).device
    except (RuntimeError, AssertionError) as error:
        why = f"{str(error).splitlines()[0]}; torch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        raise LatentPolicyError(f"device: got {name!r}; expected auto, cpu or cuda:N ({why})") from error
