"""Folders of configuration, of installed packages, of artifacts and of generated files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = "latent_policy_ros"


def config_dir() -> Path:
    """The ``config`` folder of the source checkout, or else the one installed under ``share/latent_policy_ros``.

    Raises:
        FileNotFoundError: Neither exists; lists the folders that were tried.
    """
    here = Path(__file__).resolve()
    prefixes = [*_sourced(), Path(sys.prefix)]
    candidates = [here.parents[2] / "config", *(prefix / "share" / PACKAGE / "config" for prefix in prefixes)]
    for candidate in candidates:
        if (candidate / "embodiments").is_dir():
            return candidate
    raise FileNotFoundError("no config folder of latent_policy_ros; tried " + ", ".join(map(str, candidates)))


def package_folder(name: str) -> Path:
    """Share folder of a package, as in ``package://name/``: from a sourced ROS workspace, or from pip.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    by_pip = [Path(p) / "cmeel.prefix" for p in sys.path]  # cmeel is the packaging of pinocchio and its data
    for prefix in (*_sourced(), *by_pip, Path(sys.prefix)):
        if name and (prefix / "share" / name).is_dir():
            return prefix / "share" / name
    raise FileNotFoundError(f"no package {name!r}; source the workspace that contains it, or install it")


def _sourced() -> list[Path]:
    """Prefixes of the sourced ROS workspaces."""
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]


def runs_dir() -> Path:
    """Folder of generated files (bags, data sets, checkpoints): ``$LATENT_POLICY_HOME``, or ``./runs``."""
    return Path(os.environ.get("LATENT_POLICY_HOME", "runs")).expanduser()


def artifact(kind: str, name: str | Path) -> Path:
    """Folder of a latent space or policy.

    Args:
        kind: ``latents`` or ``policies``.
        name: A folder, or a name under ``config/<kind>``.

    Raises:
        FileNotFoundError: Neither exists; lists the shipped names.
    """
    shipped = config_dir() / kind
    for candidate in (Path(name).expanduser(), shipped / name):
        if candidate.is_dir():
            return candidate
    names = sorted(p.name for p in shipped.iterdir() if p.is_dir()) if shipped.is_dir() else []
    raise FileNotFoundError(f"{kind}: no folder {str(name)!r}; available: {', '.join(names) or '(none)'}")
