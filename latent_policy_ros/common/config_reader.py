"""Checked reading of YAML: every mistake becomes a ConfigError with file, dotted path, got and expected."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import package_folder

YAML_SUFFIXES = (".yaml", ".yml")

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, ten times as fast


class _UniqueKeyLoader(_SafeLoader):
    """YAML takes the last of two equal keys in silence; a robot's limits are worth an error."""


def _mapping_of_unique_keys(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if isinstance(key, (dict, list)):
            raise yaml.YAMLError(f"line {line}: a key must be a name, got {key!r}")
        if key in seen:
            raise yaml.YAMLError(f"line {line}: duplicate key {key!r}, first given in line {seen[key]}")
        seen[key] = line
    return _SafeLoader.construct_mapping(loader, node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_of_unique_keys)


def read_yaml(file: str | Path) -> Any:
    """What is in a YAML file. Raises ConfigError if it cannot be read, is not YAML, or has duplicate keys."""
    try:
        return yaml.load(Path(file).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # a SafeLoader
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(file, "", f"is not valid YAML: {error}") from error


class Section:
    """A mapping of a YAML file, read field by field; :meth:`finish` refuses what nobody asked for."""

    def __init__(self, file: str | Path, path: str, content: Any) -> None:
        self.file, self.path = file, path
        if not isinstance(content, dict):
            raise ConfigError(file, path, f"expected a mapping, got {describe(content)}")
        for key in content:
            if not isinstance(key, str):
                raise ConfigError(file, path, f"a field's name must be a string, got {describe(key)}; write '{key}'")
        self._content, self._asked = content, set()

    @classmethod
    def load(cls, file: str | Path) -> Section:
        """The whole file; errors as of ``read_yaml``."""
        return cls(file, "", read_yaml(file))

    def error(self, field: str, message: str) -> ConfigError:
        """A ConfigError at a field of this section (or at the section itself if ``field`` is empty)."""
        return ConfigError(self.file, self._dotted(field), message)

    def has(self, field: str) -> bool:
        """Whether an optional field is given."""
        self._asked.add(field)
        return field in self._content

    def is_text(self, field: str) -> bool:
        """Whether a field is there and holds a string, where a short and a long form are both allowed."""
        return self.has(field) and isinstance(self._content[field], str)

    def is_list(self, field: str) -> bool:
        """Whether a field is there and holds a list, likewise."""
        return self.has(field) and isinstance(self._content[field], list)

    def names(self) -> tuple[str, ...]:
        """The fields, in the file's order: for sections whose keys are names (joints, fingers)."""
        return tuple(self._content)

    def sections(self) -> Iterator[tuple[str, Section]]:
        """(name, section) of every field, for sections whose keys are names."""
        for name in self._content:
            yield name, self.section(name)

    def section(self, field: str) -> Section:
        return Section(self.file, self._dotted(field), self._get(field, "a mapping"))

    def optional(self, field: str) -> Section:
        """A section that may be left out; it is empty then."""
        return self.section(field) if self.has(field) else Section(self.file, self._dotted(field), {})

    def string(self, field: str) -> str:
        value = self._get(field, "a string")
        if not isinstance(value, str) or not value:
            raise self.error(field, f"expected a string, got {describe(value)}")
        return value

    def file_path(self, field: str) -> Path:
        """A path as the field gives it: relative to this file, with ``~`` and ``$VARIABLES`` filled in; or ``package://NAME/PATH``."""
        text = os.path.expandvars(self.string(field))
        if "$" in text:
            raise self.error(field, f"{text}: this variable is not set")
        scheme, there, place = text.partition("://")
        if scheme == "package":
            package, _, path = place.partition("/")
            try:
                return package_folder(package) / path
            except FileNotFoundError as error:
                raise self.error(field, str(error)) from error
        if there:
            raise self.error(field, f"expected a path or package://NAME/PATH, got {text!r}")
        return Path(self.file).parent / Path(text).expanduser()

    def strings(self, field: str) -> tuple[str, ...]:
        value = self._get(field, "a list of strings")
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(field, f"expected a list of strings, got {describe(value)}")
        doubles = sorted({item for item in value if value.count(item) > 1})
        if doubles:
            raise self.error(field, f"duplicate: {', '.join(doubles)}")
        return tuple(value)

    def choice(self, field: str, options: Iterable[str]) -> str:
        value, options = self.string(field), tuple(options)
        if value not in options:
            raise self.error(field, f"got {value!r}; {available(options)}")
        return value

    def number(self, field: str, above: float = -math.inf) -> float:
        """A finite number greater than ``above``."""
        value = self._number(field, self._get(field, "a number"))
        if not value > above:
            raise self.error(field, f"expected a number greater than {above:g}, got {value:g}")
        return value

    def number_in(self, field: str, lower: float, upper: float, whole: bool = False) -> float:
        """A number from ``lower`` to ``upper``; a whole one if that is wanted."""
        value = self._number(field, self._get(field, "a number"))
        if not lower <= value <= upper or (whole and value % 1):
            kind = "a whole number" if whole else "a number"
            raise self.error(field, f"expected {kind} from {lower:.12g} to {upper:.12g}, got {value:.12g}")
        return value

    def vector(self, field: str, size: int) -> np.ndarray:
        """``size`` finite numbers, as a read-only array."""
        value = self._get(field, f"{size} numbers")
        if not isinstance(value, list) or len(value) != size:
            raise self.error(field, f"expected {size} numbers, got {describe(value)}")
        return frozen([self._number(f"{field}[{i}]", item) for i, item in enumerate(value)])

    def interval(self, field: str) -> tuple[float, float]:
        """(lower, upper), lower < upper."""
        lower, upper = (float(end) for end in self.vector(field, 2))
        if not lower < upper:
            raise self.error(field, f"expected lower < upper, got [{lower:g}, {upper:g}]")
        return lower, upper

    def direction(self, field: str) -> np.ndarray:
        """Three numbers that are not all zero, scaled to length one."""
        value = self.vector(field, 3)
        length = float(np.linalg.norm(value))
        if length < 1e-6:
            raise self.error(field, f"expected a direction, got a vector of length {length:g}")
        return frozen(value / length)

    def finish(self) -> None:
        """Raises ConfigError if the section has fields that were never asked for."""
        unknown = [field for field in self._content if field not in self._asked]
        if unknown:
            raise self.error(unknown[0], f"unknown field; {available(self._asked)}")

    def _get(self, field: str, expected: str) -> Any:
        self._asked.add(field)
        if field not in self._content:
            got = ", ".join(self._content) or "(nothing)"
            raise self.error(field, f"missing: expected {expected}; got only the fields {got}")
        return self._content[field]

    def _number(self, field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(field, f"expected a number, got {describe(value)}")
        if not math.isfinite(value):
            raise self.error(field, f"expected a finite number, got {value}")
        return float(value)

    def _dotted(self, field: str) -> str:
        return ".".join(part for part in (self.path, field) if part)


def describe(value: Any) -> str:
    """A value as an error message shows it: its text, cut short, and its type in YAML's words."""
    kinds = {dict: "mapping", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    text = repr(value)
    size = f" of {len(value)}" if isinstance(value, list) else ""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return "nothing" if value is None else f"{shown} (a {kinds.get(type(value), type(value).__name__)}{size})"


def frozen(values: Any) -> np.ndarray:
    """A read-only float64 array."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
