"""Embodiments by name: the shipped folder, the user's folders, and the file of a name or path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir
from latent_policy_ros.common.yaml_file import YAML_SUFFIXES
from latent_policy_ros.embodiments.model.sides import SIDES, split_side

FOLDERS_VARIABLE = "LATENT_POLICY_EMBODIMENTS"  # environment variable: the user's folders of YAML files, separated as in PATH


class FoundFile(NamedTuple):
    """The file of an embodiment.

    Attributes:
        file: Path of the YAML file.
        side: The requested side; None for the side that the file describes.
        by_name: Whether it was found by its name, not by its path.
    """

    file: Path
    side: str | None
    by_name: bool


def shipped_folder() -> Path:
    """Folder of the embodiments that are part of this package."""
    return config_dir() / "embodiments"


def embodiment_files() -> dict[str, Path]:
    """Files of all embodiments by name.

    Raises:
        ConfigError: A folder of the user's does not exist, or two files have the same name.
    """
    files: dict[str, Path] = {}
    for folder in (shipped_folder(), *_user_folders()):
        for path in sorted(p for p in folder.iterdir() if p.suffix in YAML_SUFFIXES):
            name = path.stem
            for taken in dict.fromkeys((name, split_side(name)[0])):
                if taken in files and files[taken].resolve() != path.resolve():
                    message = f"the name {name} is taken by {files[taken]}"
                    raise ConfigError(path, "", f"{message}{'' if taken == name else ' and its mirror image'}; rename one of them")
            files[name] = path
    return files


def find_embodiment(name_or_path: str) -> FoundFile:
    """Find the file of a name or path, which may end in ``_left`` or ``_right`` to request a side.

    Raises:
        ConfigError: There is no such file.
    """
    text = name_or_path
    if text.endswith(YAML_SUFFIXES):
        path = Path(os.path.expandvars(text)).expanduser()
        if path.is_file():
            return FoundFile(path, None, False)
        base, side = split_side(path.stem)
        if side is not None:
            for stem in (base, *(f"{base}_{other}" for other in SIDES)):
                if path.with_stem(stem).is_file():
                    return FoundFile(path.with_stem(stem), side, False)
        raise ConfigError(path, "", f"no embodiment {text!r}; {available(embodiment_files())}")
    files = embodiment_files()
    if text in files:
        return FoundFile(files[text], None, True)
    base, side = split_side(text)
    if side is not None:
        for name in (base, *(f"{base}_{other}" for other in SIDES)):
            if name in files:
                return FoundFile(files[name], side, True)
    if "/" in text or "." in text:
        raise ConfigError(text, "", f"expected the YAML file of an embodiment, or a name; {available(files)}")
    message = f"no embodiment {text!r}; {available(files)}, each also with _left and _right"
    hint = f"to use your own, give the path of its YAML file, or set {FOLDERS_VARIABLE}=FOLDER"
    raise ConfigError(shipped_folder() / f"{text}.yaml", "", f"{message}; {hint}")


def reference_of(path: Path, name: str) -> str:
    """Argument of :func:`find_embodiment` that finds, in any process, the embodiment ``name`` of the file ``path``."""
    if path.parent == shipped_folder().resolve():
        return name
    side = split_side(name)[1]
    if name == path.stem or side is None:
        return str(path)
    return str(path.with_stem(f"{split_side(path.stem)[0]}_{side}"))  # the names of the file and of the embodiment may differ


def _user_folders() -> list[Path]:
    folders = [Path(text).expanduser() for text in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if text]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(folder, "", f"no such folder, but {FOLDERS_VARIABLE} names it")
    return folders
