"""Read a mechanism from a URDF or MJCF file."""

from __future__ import annotations

import os
from pathlib import Path

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments.description.description import Description
from latent_policy_ros.embodiments.description.mjcf import read_mjcf
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.description.xml_file import parse_xml


def read_description(path: str | Path) -> Description:
    """The mechanism in a ``.urdf``, ``.xml`` or ``.mjcf`` file; which of the two languages it is, its first element says.

    Raises:
        ConfigError: No such file, not XML, neither URDF nor MJCF, or wrong inside.
    """
    path = Path(os.path.expandvars(path)).expanduser()
    root = parse_xml(path)
    if root.tag == "robot":
        return UrdfFile(path, root).to_description()
    if root.tag in ("mujoco", "mujocoinclude"):
        return read_mjcf(path, root)
    raise ConfigError(path, "", f"expected a URDF (<robot>) or MJCF (<mujoco>) file, got <{root.tag}>")
