"""Reading of YAML files: unique keys, which are strings, and numbers as in YAML 1.2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.errors import ConfigError, Finding

YAML_SUFFIXES = (".yaml", ".yml")

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C implementation is ten times as fast


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
        return yaml.load(Path(file).read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(file, "", f"is not valid YAML: {error}") from error


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
