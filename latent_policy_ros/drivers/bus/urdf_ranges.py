"""Position limits in a URDF that hardware or a ROS graph provides."""

from __future__ import annotations

from pathlib import Path

from latent_policy_ros.common.errors import ConfigError, HardwareError
from latent_policy_ros.embodiments.description.xml_file import number, parse_xml

UNLIMITED = float("-inf"), float("inf")


def joint_ranges(label: str, urdf: str) -> dict[str, tuple[float, float]]:
    """Lower and upper limit [rad or m] of every joint that has limits, in the order of the URDF; empty for an empty text.

    Args:
        label: Driver and its address, for error messages.
        urdf: The text.

    Raises:
        HardwareError: It is no XML, or a limit is no number.
    """
    if not urdf:
        return {}
    place, found = Path("robot_description"), {}
    try:
        for joint in parse_xml(place, urdf).findall("joint"):
            limit, name = joint.find("limit"), joint.get("name", "")
            if limit is not None and joint.get("type") != "continuous":
                ends = number(place, limit, "lower", "0", name), number(place, limit, "upper", "0", name)
                if ends[0] < ends[1]:
                    found[name] = ends
    except ConfigError as error:
        raise HardwareError(f"{label}: {error}") from error
    return found
