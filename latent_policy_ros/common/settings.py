"""Settings of a training as a frozen dataclass, read from YAML and checked field by field."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from latent_policy_ros.common.config_reader import YAML_SUFFIXES, read_yaml
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir

T = TypeVar("T")


def read_settings(kind: type[T], source: str | Path) -> T:
    """Settings from a YAML file, or from a name in ``config/training``; fields left out keep their defaults.

    Raises:
        ConfigError: No such file, not a mapping, an unknown field or a wrong value; with what is available.
    """
    file = Path(source)
    if file.suffix not in YAML_SUFFIXES:
        file = config_dir() / "training" / f"{source}.yaml"
    if not file.is_file():
        shipped = (path.stem for path in (config_dir() / "training").glob("*.yaml"))
        raise ConfigError(file, "", f"no such settings; {available(shipped)}")
    values = read_yaml(file) or {}
    if not isinstance(values, dict):
        raise ConfigError(file, "", f"expected a mapping, got {type(values).__name__}")
    return make_settings(kind, values, file)


def make_settings(kind: type[T], values: dict[str, Any], file: str | Path) -> T:
    """Settings from plain values, as found in ``file``.

    Raises:
        ConfigError: An unknown field, or a value of the wrong type.
    """
    types = get_type_hints(kind)
    checked = {}
    for name, value in values.items():
        if name not in types:
            raise ConfigError(file, str(name), f"unknown field; {available(types)}")
        expected = types[name]
        if expected is float and isinstance(value, (int, str)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):  # 8e-3 without a point is text to YAML 1.1
                value = float(value)
        if getattr(expected, "__origin__", None) is tuple:
            item = expected.__args__[0]
            if not isinstance(value, (list, tuple)) or not all(type(v) is item for v in value):
                raise ConfigError(file, name, f"expected a list of {item.__name__}, got {value!r}")
            value = tuple(value)
        elif type(value) is not expected:
            raise ConfigError(file, name, f"expected {expected.__name__}, got {value!r}")
        checked[name] = value
    try:
        return kind(**checked)
    except ValueError as cause:
        raise ConfigError(file, "", str(cause)) from cause


def demand(settings: Any, expected: str, holds: Callable[[Any], bool], *fields: str) -> None:
    """Raise ValueError for the first of these fields whose value does not hold."""
    for name in fields:
        value = getattr(settings, name)
        if not holds(value):
            raise ValueError(f"{name}: expected {expected}, got {value}")


def as_plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values for JSON."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(settings).items()}
