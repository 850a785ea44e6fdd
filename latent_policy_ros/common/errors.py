"""Exceptions of this package. Each message says what failed, where, and what was got, expected and available."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple


class LatentPolicyError(Exception):
    """Base of all exceptions of this package."""


class Finding(NamedTuple):
    """One mistake in a configuration file: the dotted path of the field, empty for the whole file, and what is wrong."""

    path: str
    message: str


class ConfigError(LatentPolicyError):
    """A configuration file is invalid.

    Args:
        file: The file.
        path: Dotted path of the field, e.g. ``joints.index_mcp.axis``; empty for the whole file.
        message: What is wrong, with got / expected / available.
        more: Further findings in the same file.

    Attributes:
        file, path, message: As above.
        findings: All mistakes, the first one included; the text of the error has one line for each.
    """

    def __init__(self, file: str | Path, path: str, message: str, more: Iterable[Finding] = ()) -> None:
        self.file, self.path, self.message = str(file), path, message
        self.findings = (Finding(path, message), *more)
        super().__init__("\n".join(f"{file}: {where + ': ' if where else ''}{what}" for where, what in self.findings))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Any, ...]]:
        return type(self), (self.file, self.path, self.message, self.findings[1:])  # pickled by worker processes


class Findings:
    """Mistakes in one configuration file, collected so that they are reported together.

    Args:
        file: The file.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = file
        self._found: list[Finding] = []

    def add(self, path: str, message: str) -> None:
        """Add a mistake at the dotted path of a field."""
        self._found.append(Finding(path, message))

    def at(self, field: str) -> bool:
        """Whether there is a mistake at a field or below it; another one there would only be a consequence."""
        return any(f"{finding.path}.".startswith(f"{field}.") for finding in self._found)

    def check(self) -> None:
        """Raise ConfigError with all mistakes, if there is any."""
        if self._found:
            raise ConfigError(self.file, *self._found[0], self._found[1:])


class ArtifactError(LatentPolicyError):
    """A saved latent space, policy or data set cannot be used: it is damaged, of another format, or made for something else."""


class ActionRefused(LatentPolicyError):
    """A command or latent action is rejected: other latent space, wrong shape, not finite, or out of order."""


class ObservationRefused(LatentPolicyError):
    """A message cannot become part of an observation: wrong size, encoding or joints, or not finite."""


class NotFinite(ObservationRefused):
    """A message with a number that is NaN or infinite."""


class ModeError(LatentPolicyError):
    """A node cannot run in the mode in which it was started, and a restart does not help."""


class HardwareError(LatentPolicyError):
    """A driver cannot communicate with its hardware or simulator."""


def describe_error(error: Exception) -> str:
    """Text of an exception, preceded by its type if it is not one of this package."""
    return str(error) if isinstance(error, LatentPolicyError) else f"{type(error).__name__}: {error}"


def available(names: Iterable[str]) -> str:
    """``available: a, b, c``, for the end of an error message."""
    names = sorted(names)
    return "available: " + (", ".join(names) if names else "(none)")
