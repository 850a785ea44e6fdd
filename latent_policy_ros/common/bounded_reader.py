"""Reading of files and texts from outside with limits, so that none of them fills the memory or never ends.

Every error of a limit names the limit. YAML has further limits: :mod:`latent_policy_ros.common.yaml_file`.
"""

from __future__ import annotations

import json
import os
import re
import stat
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from latent_policy_ros.common.errors import LatentPolicyError

MAX_FILE_SIZE = 32 << 20  # bytes of a text file: configuration, description of a robot, metadata
MAX_DEPTH = 64  # levels of nested lists and mappings
_STRINGS, _BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL), re.compile(r"[][{}]")


class LimitExceeded(LatentPolicyError, ValueError):
    """A file or text is larger or more deeply nested than allowed, or is not a regular file."""


def open_regular(file: str | Path) -> BinaryIO:
    """Open a regular file to read bytes.

    Raises:
        LimitExceeded: A device, pipe or folder.
        OSError: The file cannot be read.
    """
    fd = os.open(Path(file), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer does not block
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise LimitExceeded("is a device, a pipe or a folder; expected a regular file")
    return open(fd, "rb")


def read_bytes(file: str | Path, limit: int = MAX_FILE_SIZE) -> bytes:
    """Content of a regular file.

    Raises:
        LimitExceeded: More than ``limit`` bytes, or a device, pipe or folder.
        OSError: The file cannot be read.
    """
    with open_regular(file) as opened:
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise LimitExceeded(f"has more than {limit} bytes, the limit of such a file")
    return content


def read_text(file: str | Path, limit: int = MAX_FILE_SIZE) -> str:
    """Content of a regular file in UTF-8; see ``read_bytes``."""
    return read_bytes(file, limit).decode("utf-8")


def parse_json(text: str | bytes, limit: int = MAX_FILE_SIZE) -> Any:
    """Parse JSON.

    Raises:
        LimitExceeded: More than ``limit`` characters, or nested deeper than ``MAX_DEPTH`` levels.
        ValueError: Not JSON.
    """
    if len(text) > limit:
        raise LimitExceeded(f"has {len(text)} characters; the limit is {limit}")
    content = text if isinstance(text, str) else text.decode("utf-8")
    brackets = _BRACKETS.findall(_STRINGS.sub("", content))  # before parsing, which is recursive
    if max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH:
        raise LimitExceeded(f"is nested deeper than {MAX_DEPTH} levels, the limit")
    return json.loads(content)
