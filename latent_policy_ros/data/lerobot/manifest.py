"""Manifest of a data set: properties of the data set, and source, settings and outcome of each episode.

The file is one JSON object. Its first line ends where the list of episodes begins, and each episode has a line of its own, so that
a data set of any number of episodes is read and written one episode at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from latent_policy_ros.common.artifacts import load_json
from latent_policy_ros.common.bounded_reader import MAX_FILE_SIZE, LimitExceeded, open_regular, parse_json
from latent_policy_ros.common.errors import ArtifactError

EPISODES_KEY, END = "episodes", "]}"
NOT_OWN, REMEDY = "the data set was not made by latent-policy dataset", "convert or generate it again"


class ManifestWriter:
    """Writes a manifest.

    Args:
        file: Open text file.
        properties: Properties of the data set.
    """

    def __init__(self, file: TextIO, properties: Mapping[str, Any]) -> None:
        self._file, self._count = file, 0
        head = json.dumps({**properties, EPISODES_KEY: []}, ensure_ascii=False)
        file.write(head.removesuffix(END))

    def add(self, episode: Mapping[str, Any]) -> None:
        """Append the description of an episode."""
        self._file.write(("," if self._count else "") + "\n" + json.dumps(episode, ensure_ascii=False))
        self._count += 1

    def finish(self) -> None:
        """Complete the file."""
        self._file.write(f"\n{END}\n")


def read_properties(path: Path) -> dict[str, Any]:
    """The properties of the data set.

    Raises:
        ArtifactError: There is no manifest, or it is damaged.
    """
    lines = _lines(path)
    return next(lines) if lines else _whole(path)


def read_episodes(path: Path) -> Iterator[dict[str, Any]]:
    """The description of each episode.

    Raises:
        ArtifactError: There is no manifest, or it is damaged.
    """
    lines = _lines(path)
    if lines is None:
        yield from _whole(path)[EPISODES_KEY]
        return
    next(lines)
    yield from lines


def _lines(path: Path) -> Iterator[dict[str, Any]] | None:
    """The properties, then each episode; None if the file has other lines, as earlier versions wrote them."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; {NOT_OWN}")
    with open_regular(path) as file:
        begins_list = file.readline(MAX_FILE_SIZE).endswith(f'"{EPISODES_KEY}": [\n'.encode())
    return _parsed(path) if begins_list else None


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_regular(path) as file:
            yield _line(file.readline(MAX_FILE_SIZE).rstrip(b"\n") + END.encode())
            while (line := file.readline(MAX_FILE_SIZE).rstrip(b"\n")) != END.encode():
                yield _line(line.removesuffix(b","))
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged ({error}); {REMEDY}") from error


def _line(line: bytes) -> dict[str, Any]:
    content = parse_json(line)
    if not isinstance(content, dict):
        raise LimitExceeded(f"a line holds no JSON object but {type(content).__name__}")
    return content


def _whole(path: Path) -> dict[str, Any]:
    content = load_json(path, ArtifactError, REMEDY)
    if not isinstance(content.get(EPISODES_KEY), list):
        raise ArtifactError(f"{path}: no list of episodes; {REMEDY}")
    return content
