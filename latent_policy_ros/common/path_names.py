"""Names that become parts of paths: the one check for names from files, bags, data sets and messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from latent_policy_ros.common.errors import LatentPolicyError

MAX_LENGTH = 100  # characters; file systems accept 255 bytes, and suffixes follow
NAME = re.compile(r"\w[\w-]*")
EXPECTED = f"letters, digits, _ and -, not starting with -, at most {MAX_LENGTH} characters"


class UnsafeName(LatentPolicyError, ValueError):
    """A name that must not become part of a path; as a ValueError, validators of configuration models may raise it."""


def path_name(name: Any, what: str = "") -> str:
    """Return ``name`` if it can be the name of a file or folder, in any folder.

    Args:
        name: The name.
        what: What it names, for the error message; empty if the error is reported with the name's place.

    Raises:
        UnsafeName: Not a string, empty, too long, or with other characters, e.g. ``/``, ``..`` or a line break.
    """
    if not isinstance(name, str) or len(name) > MAX_LENGTH or not NAME.fullmatch(name):
        shown = repr(name)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise UnsafeName(f"{what + ': ' if what else ''}got the name {shown}; expected {EXPECTED}")
    return name


def namespace(name: Any, what: str = "") -> str:
    """Return ``name`` if each of its parts between slashes is a ``path_name``, e.g. ``cell/left``.

    Raises:
        UnsafeName: As of ``path_name``.
    """
    for part in name.split("/") if isinstance(name, str) else [name]:
        path_name(part, what)
    return name


def inside(folder: Path, *parts: str) -> Path:
    """``folder`` joined with relative paths.

    Raises:
        UnsafeName: The result is outside of ``folder``, or a part contains a null byte.
    """
    path = folder.joinpath(*parts)
    if "\0" in str(path) or not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise UnsafeName(f"{'/'.join(parts)!r} is outside of {folder}; expected a path below it")
    return path


#: A string field of a configuration model that becomes part of a path.
PathName = Annotated[str, AfterValidator(path_name)]
