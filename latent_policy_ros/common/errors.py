"""The errors of this package. Each message says what was wrong, where, and what was got, expected and available."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class LatentPolicyError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(LatentPolicyError):
    """A configuration file is wrong.

    Args:
        file: The file at fault.
        path: Dotted path of the field inside it, e.g. ``joints.index_mcp.axis``; empty for the whole file.
        message: What is wrong, with got / expected / available.
    """

    def __init__(self, file: str | Path, path: str, message: str) -> None:
        self.file, self.path, self.message = str(file), path, message
        super().__init__(f"{file}: {path + ': ' if path else ''}{message}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str, str]]:
        return type(self), (self.file, self.path, self.message)  # as worker processes send it


class ArtifactError(LatentPolicyError):
    """A saved latent space, policy or episode cannot be used: damaged, foreign, or made for something else."""


class ActionRefused(LatentPolicyError):
    """A latent action that must not reach the robot: foreign latent space, wrong shape, not finite, out of order."""


class ObservationRefused(LatentPolicyError):
    """A message that cannot become part of an observation: wrong size, encoding, joints, or not finite."""


class HardwareError(LatentPolicyError):
    """A driver could not talk to its hardware (or to the simulator)."""


def in_words(error: Exception) -> str:
    """What an error says; of one that this package does not raise, also its type."""
    return str(error) if isinstance(error, LatentPolicyError) else f"{type(error).__name__}: {error}"


def available(names: Iterable[str]) -> str:
    """A readable list of the alternatives, for the end of an error message."""
    names = sorted(names)
    return "available: " + (", ".join(names) if names else "(none)")
