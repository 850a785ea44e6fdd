"""XML parsing and numeric attributes, with errors that name the file and the element."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.parsers import expat

import numpy as np

from latent_policy_ros.common.bounded_reader import LimitExceeded, read_bytes
from latent_policy_ros.common.errors import ConfigError

MAX_DEPTH = 200  # nested elements; MJCF nests one body for each link


def parse_xml(path: Path, content: str | None = None) -> ET.Element:
    """Parse an XML file and return its root element.

    Namespace prefixes stay part of the names (``xacro:include``) and need no declaration: robot files often omit it.

    Args:
        path: The file.
        content: Its content, where it is not on disk; ``path`` then serves error messages.

    Raises:
        ConfigError: The file cannot be read, is not XML, or contains xacro macros.
    """
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()  # ElementTree's own parser refuses undeclared prefixes
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"line {parser.CurrentLineNumber}: nested deeper than {MAX_DEPTH} elements, the limit")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse_entity(name: str, *_: object) -> None:
        raise LimitExceeded(f"defines the entity {name!r}; robot descriptions must not define entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler, parser.CharacterDataHandler = refuse_entity, builder.data
    try:
        parser.Parse(read_bytes(path) if content is None else content, True)
        root = builder.close()
    except LimitExceeded as error:
        raise ConfigError(path, "", str(error)) from error
    except FileNotFoundError as error:
        raise ConfigError(path, "", "no such file") from error
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ConfigError(path, "", f"is not valid XML: {error}") from error
    macro = next((element.tag for element in root.iter() if element.tag.startswith("xacro:")), None)
    if macro is not None:
        raise ConfigError(path, "", f"contains <{macro}>: run xacro first, and name the URDF file that it writes")
    return root


def numbers(path: Path, element: ET.Element, attribute: str, size: int, default: str | None, where: str) -> np.ndarray:
    """Parse an attribute as ``size`` finite numbers separated by spaces.

    Args:
        path: The file, for error messages.
        element: The element that has the attribute.
        attribute: Name of the attribute.
        size: Expected count of numbers.
        default: Text to parse if the attribute is missing; None if it is required.
        where: Place in the file, for error messages, e.g. ``joint elbow``.

    Raises:
        ConfigError: The attribute is missing, has another count of numbers, or has a value that is not a finite number.
    """
    text = element.get(attribute, default)
    if text is None:
        raise ConfigError(path, where, f"<{element.tag}> has no attribute {attribute}; expected {size} numbers")
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.zeros(0)
    if len(values) != size or not all(map(math.isfinite, values)):
        hint = "; the value is a xacro expression: run xacro first" if "${" in text else ""
        raise ConfigError(path, where, f"<{element.tag} {attribute}={text!r}>: expected {size} numbers{hint}")
    return values


def number(path: Path, element: ET.Element, attribute: str, default: str | None, where: str) -> float:
    """Parse an attribute as one finite number. Arguments and errors as of :func:`numbers`."""
    return float(numbers(path, element, attribute, 1, default, where)[0])
