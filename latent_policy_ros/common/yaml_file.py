"""Reading of YAML files: unique keys, which are strings, numbers as in YAML 1.2, and limits of size, depth and aliases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.bounded_reader import MAX_DEPTH, MAX_FILE_SIZE, LimitExceeded, read_text
from latent_policy_ros.common.errors import ConfigError, Finding

YAML_SUFFIXES = (".yaml", ".yml")
MAX_VALUES = 1_000_000  # values of a document, each alias counted as often as it is used
MAX_PLAIN_LENGTH = 100_000  # characters of a value without quotes: YAML converts some forms of numbers in quadratic time

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C implementation is ten times as fast
_BaseLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _Loader(_SafeLoader):
    """Refuses duplicate keys, and reads 8e-3 (without a point) as a number, as YAML 1.2 does."""


def _unique_keys(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if isinstance(key, (dict, list)):
            raise yaml.YAMLError(f"line {line}: a key must be a name, got {key!r}")
        if key in seen:
            raise yaml.YAMLError(f"line {line}: duplicate key {key!r}, first given in line {seen[key]}")
        seen[key] = line
    return _SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read_yaml(file: str | Path) -> Any:
    """Content of a YAML file. Raises ConfigError if it cannot be read, is not YAML, or has duplicate keys."""
    try:
        return _parse(read_text(file), _Loader)
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from error
    except LimitExceeded as error:
        raise ConfigError(file, "", str(error)) from error
    except ValueError as error:
        raise ConfigError(file, "", f"is not valid YAML: {error}") from error


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """Parse YAML that other programs wrote, e.g. the metadata of a bag.

    Args:
        text: The document.
        as_text: Keep all values as text.

    Raises:
        LimitExceeded: Too long, nested deeper than ``MAX_DEPTH`` levels, or with more than ``MAX_VALUES`` values.
        ValueError: Not valid YAML.
    """
    return _parse(text, _BaseLoader if as_text else _SafeLoader)


def _parse(text: str, loader: Any) -> Any:
    if len(text) > MAX_FILE_SIZE:
        raise LimitExceeded(f"has {len(text)} characters; the limit is {MAX_FILE_SIZE}")
    try:
        _check_limits(text)
        return yaml.load(text, Loader=loader)  # a SafeLoader
    except LimitExceeded:
        raise
    except Exception as error:  # constructors of YAML raise errors of any type, e.g. for a 13th month
        raise ValueError(" ".join(str(error).split()) if isinstance(error, yaml.YAMLError) else repr(error)) from error


def _check_limits(text: str) -> None:
    """Check depth and number of values before a document is built: each alias counts as all values of its anchor."""
    open_nodes: list[list[Any]] = [["", 0]]  # anchor and number of values of the document and of each open list or mapping
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"line {_line(event)}: the alias *{event.anchor} has no anchor before it")
            open_nodes[-1][1] += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            open_nodes[-1][1] += 1
            if len(event.value) > MAX_PLAIN_LENGTH and (event.implicit[0] or event.tag):
                raise LimitExceeded(
                    f"line {_line(event)}: a value of {len(event.value)} characters without quotes; the limit is {MAX_PLAIN_LENGTH}"
                )
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([event.anchor, 1])
            if len(open_nodes) > MAX_DEPTH + 1:
                raise LimitExceeded(f"line {_line(event)}: nested deeper than {MAX_DEPTH} levels, the limit")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            open_nodes[-1][1] += size
            if anchor:
                sizes[anchor] = size
        if open_nodes[-1][1] > MAX_VALUES:
            raise LimitExceeded(f"has more than {MAX_VALUES} values, counting each alias as often as it is used; the limit")


def _line(event: yaml.Event) -> int:
    """Line of a parsed event, from 1; 0 if the parser did not mark it."""
    return event.start_mark.line + 1 if event.start_mark else 0


def describe(value: Any) -> str:
    """A value as an error message shows it: its text, cut short, and its YAML type."""
    kinds = {dict: "mapping", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    text = repr(value)
    size = f" of {len(value)}" if isinstance(value, list) else ""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return "nothing" if value is None else f"{shown} (a {kinds.get(type(value), type(value).__name__)}{size})"


def key_findings(value: Any, path: str) -> Iterator[Finding]:
    """Keys that are not strings: YAML reads ``1:`` and ``yes:`` as a number and a boolean."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from key_findings(item, f"{path}.{key}" if path else key)
            else:
                yield Finding(path, f"the name of a field must be a string, got {describe(key)}; write '{key}'")
