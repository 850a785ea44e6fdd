"""Reading of files and texts from outside with limits, so that none of them fills the memory or never ends.

Every error of a limit names the limit. YAML has further limits: :mod:`latent_policy_ros.common.yaml_file`.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError

MAX_FILE_SIZE = 32 << 20  # bytes of a text file: configuration, description of a robot, metadata
MAX_DEPTH = 64  # levels of nested lists and mappings


class LimitExceeded(LatentPolicyError, ValueError):
    """A file or text is larger or more deeply nested than allowed, or is not a regular file."""


def read_bytes(file: str | Path, limit: int = MAX_FILE_SIZE) -> bytes:
    """Content of a regular file.

    Raises:
        LimitExceeded: More than ``limit`` bytes, or a device, pipe or folder.
        OSError: The file cannot be read.
    """
    fd = os.open(Path(file), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer does not block
    with open(fd, "rb") as opened:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LimitExceeded("is a device, a pipe or a folder; expected a regular file")
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise LimitExceeded(f"has more than {limit} bytes, the limit of such a file")
    return content


def read_text(file: str | Path, limit: int = MAX_FILE_SIZE) -> str:
    """Content of a regular file in UTF-8; see ``read_bytes``."""
    return read_bytes(file, limit).decode("utf-8")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        LimitExceeded: More than ``MAX_FILE_SIZE`` characters, or nested deeper than ``MAX_DEPTH`` levels.
        ValueError: Not JSON.
    """
    if len(text) > MAX_FILE_SIZE:
        raise LimitExceeded(f"has {len(text)} characters; the limit is {MAX_FILE_SIZE}")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    level, depth = [value], 1
    while level := [item for parent in level for item in _children(parent)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
    return value


def _children(value: Any) -> list[Any]:
    """Items of a list or mapping that are lists or mappings."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, (dict, list))]


def _too_deep() -> LimitExceeded:
    return LimitExceeded(f"is nested deeper than {MAX_DEPTH} levels, the limit")
