"""Reading numbers and names from XML elements, with errors that name the file and the element."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ConfigError

_TAG_PREFIX = re.compile(rb"(</?[A-Za-z_][\w.-]*):")
_ATTRIBUTE_PREFIX = re.compile(rb"(\s[A-Za-z_][\w.-]*):([A-Za-z_][\w.-]*\s*=\s*[\"'])")


def parse_xml(path: Path) -> ET.Element:
    """The first element of an XML file, prefixes joined to names by ``_``: the readers of robots never asked what they mean.

    Raises:
        ConfigError: The file cannot be read, is not XML, or still has xacro's macros.
    """
    try:
        text = _ATTRIBUTE_PREFIX.sub(rb"\1_\2", _TAG_PREFIX.sub(rb"\1_", path.read_bytes()))
        root = ET.fromstring(text)
    except FileNotFoundError as error:
        raise ConfigError(path, "", "no such file") from error
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from error
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ConfigError(path, "", f"is not valid XML: {error}") from error
    macro = next((element.tag for element in root.iter() if element.tag.startswith("xacro_")), None)
    if macro is not None:
        raise ConfigError(path, "", f"has <{macro.replace('_', ':', 1)}>: run xacro first, and name the URDF that it writes")
    return root


def numbers(path: Path, element: ET.Element, attribute: str, size: int, default: str | None, where: str) -> np.ndarray:
    """``size`` finite numbers of an attribute, separated by spaces.

    Raises:
        ConfigError: Missing (and there is no default), of another size, or not finite numbers.
    """
    text = element.get(attribute, default)
    if text is None:
        raise ConfigError(path, where, f"<{element.tag}> needs {attribute}=: expected {size} numbers")
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.zeros(0)
    if len(values) != size or not all(map(math.isfinite, values)):
        hint = "; run xacro first: this file still has its macros" if "${" in text else ""
        raise ConfigError(path, where, f"<{element.tag} {attribute}={text!r}>: expected {size} numbers{hint}")
    return values


def number(path: Path, element: ET.Element, attribute: str, default: str | None, where: str) -> float:
    """One finite number of an attribute; raises like :func:`numbers`."""
    return float(numbers(path, element, attribute, 1, default, where)[0])
