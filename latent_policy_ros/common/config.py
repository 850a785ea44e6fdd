"""Configuration files: YAML with unique keys, validated by pydantic models, every mistake reported as a ConfigError."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from latent_policy_ros.common.config_messages import dotted, error_text, validation_error
from latent_policy_ros.common.errors import ConfigError, Finding, available
from latent_policy_ros.common.paths import config_dir, package_folder
from latent_policy_ros.common.yaml_file import YAML_SUFFIXES, describe, key_findings, read_yaml

M = TypeVar("M", bound="Config")


class Config(BaseModel):
    """Base of all configuration models: immutable, strictly typed, without NaN or infinity, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, defer_build=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, handler: Callable[[Any], Any]) -> Any:
        """Complete the errors of fields with information of the model: the expected value, the available fields."""
        try:
            return handler(values)
        except ValidationError as error:
            lines = [(e["loc"], error_text(e, cls)) for e in error.errors(include_url=False)]
            raise validation_error(lines) from None


class FileModel(Config):
    """Base of models of whole files, which know their file."""

    _file: Path = PrivateAttr(Path())

    def model_post_init(self, context: Any) -> None:
        """Store the file that ``validate`` passes as context."""
        if context:
            self._file = context["file"]

    @property
    def file(self) -> Path:
        """The file, or the text that ``validate`` got in its place."""
        return self._file

    def error(self, path: str, message: str) -> ConfigError:
        """A ConfigError at the dotted path of a field, for checks that follow validation."""
        return ConfigError(self.file, path, message)


def load(model: type[M], file: str | Path) -> M:
    """Read a YAML file into a model.

    Raises:
        ConfigError: The file cannot be read or is not valid; lists every mistake, see ``validate``.
    """
    return validate(model, read_yaml(file), file)


def validate(model: type[M], values: Any, file: str | Path) -> M:
    """Make a model from plain values.

    Args:
        model: The model.
        values: Content of a configuration file.
        file: Where the values are from: for error messages, and the base of relative paths.

    Raises:
        ConfigError: With one finding for each mistake: its dotted path, what was got, expected and available.
    """
    if values is None and not any(field.is_required() for field in model.model_fields.values()):
        values = {}  # an empty file: all defaults
    findings = list(key_findings(values, ""))
    if not findings:
        try:
            return model.model_validate(values, context={"file": Path(file)})
        except ValidationError as error:
            findings = [Finding(dotted(e["loc"]), error_text(e)) for e in error.errors(include_url=False)]
    raise ConfigError(file, findings[0].path, findings[0].message, findings[1:])


def config_file(folder: str, name_or_path: str | Path, what: str) -> Path:
    """Locate a configuration file.

    Args:
        folder: Folder of the shipped files under ``config``, e.g. ``robots``.
        name_or_path: Path of a YAML file, or the name of a shipped one.
        what: What the file describes, for the error message.

    Raises:
        ConfigError: No such file; lists the shipped names.
    """
    text, shipped = str(name_or_path), config_dir() / folder
    path = Path(text).expanduser() if text.endswith(YAML_SUFFIXES) else shipped / f"{text}.yaml"
    if not path.is_file():
        raise ConfigError(path, "", f"no {what} {text!r}; {available(f.stem for f in shipped.glob('*.yaml'))}, or a YAML file")
    return path


def field_errors(errors: Iterable[tuple[str, str]]) -> ValidationError:
    """The exception that a model's validator raises for fields below the model: (dotted path, message) of each."""
    return validation_error((tuple(path.split(".")), message) for path, message in errors)


def one_of(names: Callable[[], Iterable[str]], more: str = "") -> AfterValidator:
    """A validator of strings: one of the names that a function returns when it is called; ``more`` is added to the message."""

    def check(value: str) -> str:
        if value not in (known := tuple(names())):
            raise ValueError(f"got {value!r}; {available(known)}{more}")
        return value

    return AfterValidator(check)


def _vector(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ValueError(f"expected 3 numbers, got {describe(value)}")
    return tuple(value)


def _interval(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"expected 2 numbers, got {describe(value)}")
    return tuple(value)


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError(f"expected lower < upper, got [{value[0]:g}, {value[1]:g}]")
    return value


def _unit(value: tuple[float, float, float]) -> tuple[float, float, float]:
    length = float(np.linalg.norm(value))
    if length < 1e-6:
        raise ValueError(f"expected a direction, got a vector of length {length:g}")
    x, y, z = value
    return x / length, y / length, z / length


def names_of(value: Any) -> tuple[str, ...]:
    """The items of a list of strings that differ.

    Raises:
        ValueError: Not a list, an item that is not a string, or a duplicate.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"expected a list of strings, got {describe(value)}")
    if repeated := sorted({item for item in value if value.count(item) > 1}):
        raise ValueError(f"duplicate: {', '.join(repeated)}")
    return tuple(value)


def resolve_path(value: Any, file: Path) -> Path:
    """A path as ``file`` gives it: relative to the file, with ``~`` and ``$VARIABLES`` expanded, or ``package://NAME/PATH``.

    Raises:
        ValueError: Not a path, an unset variable, or an unknown package.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a path, got {describe(value)}")
    text = os.path.expandvars(value)
    if "$" in text:
        raise ValueError(f"{text}: this variable is not set")
    scheme, separator, place = text.partition("://")
    if scheme == "package":
        package, _, path = place.partition("/")
        try:
            return package_folder(package) / path
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
    if separator:
        raise ValueError(f"expected a path or package://NAME/PATH, got {text!r}")
    return file.parent / Path(text).expanduser()


def _resolve_path(value: Any, info: ValidationInfo) -> Path:
    return resolve_path(value, (info.context or {"file": Path()})["file"])


def _is_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0.0)]
#: An integer, also written as 7.0.
Whole = Annotated[int, BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)]
Vector3 = Annotated[tuple[float, float, float], BeforeValidator(_vector)]
#: Three numbers, scaled to length one.
Direction = Annotated[Vector3, AfterValidator(_unit)]
#: (lower, upper), lower < upper.
Interval = Annotated[tuple[float, float], BeforeValidator(_interval), AfterValidator(_ordered)]
#: Strings that differ.
Names = Annotated[tuple[str, ...], BeforeValidator(names_of)]
#: See ``resolve_path``.
FilePath = Annotated[Path, BeforeValidator(_resolve_path)]
ExistingFile = Annotated[FilePath, AfterValidator(_is_file)]
