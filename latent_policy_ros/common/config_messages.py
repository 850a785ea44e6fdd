"""Texts of validation errors: what was expected, what was got, what is available."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from latent_policy_ros.common.errors import available
from latent_policy_ros.common.yaml_file import describe


def dotted(location: Iterable[str | int]) -> str:
    """``("hinges", "a", "axis", 1)`` as ``hinges.a.axis[1]``."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return parts.removeprefix(".")


def validation_error(lines: Iterable[tuple[tuple[str | int, ...], str]]) -> ValidationError:
    """An error with the given (location, message) lines, which ``error_text`` leaves as they are."""
    details: list[Any] = [{"type": PydanticCustomError("finding", text), "loc": path, "input": None} for path, text in lines]
    return ValidationError.from_exception_data("configuration", details)


#: What an error type of pydantic expects.
_EXPECTED = {
    "float_type": "a number", "int_type": "a whole number", "finite_number": "a finite number", "string_type": "a string",
    "string_too_short": "a string", "bool_type": "true or false", "model_type": "a mapping", "dict_type": "a mapping",
    "tuple_type": "a list", "list_type": "a list",
}  # fmt: skip
_BOUNDS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
_NOUNS = {float: "a number", int: "a whole number", str: "a string", bool: "true or false", Path: "a path"}


def error_text(error: Any, model: type[BaseModel] | None = None) -> str:
    """An error of pydantic in the words of this package; ``model`` is the one whose field it concerns, where known."""
    kind, value, context, location = error["type"], error["input"], error.get("ctx", {}), error["loc"]
    field = model.model_fields.get(str(location[0])) if model is not None and len(location) == 1 else None
    if kind == "finding":
        return error["msg"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden" and model is not None:
        return f"unknown field; {available(model.model_fields)}"
    if kind == "missing" and field is not None:
        return f"missing: expected {expected_value(field)}; got only the fields {', '.join(value) or '(nothing)'}"
    if kind == "literal_error":
        options = re.findall("'([^']*)'", context["expected"])
        return f"got {value!r}; {available(options)}"
    if kind == "too_short":
        least = context["min_length"]
        return f"expected at least {'one' if least == 1 else least}, got {context['actual_length'] or 'none'}"
    bounded = [f"a number {words} {context[name]:.12g}" for name, words in _BOUNDS.items() if name in context]
    expected = bounded[0] if bounded else _EXPECTED.get(kind, "")
    if field is not None and (bounded or kind in ("float_type", "int_type")):
        expected = expected_value(field)
    if not expected:
        return f"{error['msg']}, got {describe(value)}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"expected {expected}, got {f'{value:.12g}' if is_number and 'number' in expected else describe(value)}"


def expected_value(field: FieldInfo) -> str:
    """What a field takes, e.g. ``a number from 5 to 100``."""
    annotation, metadata = field.annotation, list(field.metadata)
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(option for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata += [part for item in inner for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return "a list" if Ellipsis in arguments else f"{len(arguments)} numbers"
    if origin in (dict, Mapping) or isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping"
    limits = {name: getattr(part, name) for part in metadata for name in _BOUNDS if hasattr(part, name)}
    noun = _NOUNS.get(annotation, "a name") if isinstance(annotation, type) else "a value"
    if limits.keys() == {"ge", "le"}:
        return f"{noun} from {limits['ge']:.12g} to {limits['le']:.12g}"
    return " ".join(
        [noun, " and ".join(f"{words} {limits[name]:.12g}" for name, words in _BOUNDS.items() if name in limits)]
    ).strip()
