"""Where embodiments are found by name: the shipped folder, and folders of the user's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from latent_policy_ros.common.config_reader import YAML_SUFFIXES
from latent_policy_ros.common.errors import ConfigError, available
from latent_policy_ros.common.paths import config_dir

VARIABLE = "LATENT_POLICY_EMBODIMENTS"  # the user's folders of YAML files, separated like those of PATH
SIDES = ("left", "right")


class Found(NamedTuple):
    """A file, the side that is wanted of it (None: as it is), and whether it was found by its name."""

    file: Path
    side: str | None
    listed: bool


def shipped_folder() -> Path:
    """Folder of the embodiments that come with this package."""
    return config_dir() / "embodiments"


def embodiment_files() -> dict[str, Path]:
    """File of every embodiment by name.

    Raises:
        ConfigError: A folder of the user's does not exist, or two files would have one name.
    """
    files: dict[str, Path] = {}
    for folder in (shipped_folder(), *_user_folders()):
        for path in sorted(p for p in folder.iterdir() if p.suffix in YAML_SUFFIXES):
            name = path.stem
            for taken in (name, *_bases(name)):
                if taken in files and files[taken].resolve() != path.resolve():
                    message = f"the name {name} is taken by {files[taken]}"
                    raise ConfigError(path, "", f"{message}{'' if taken == name else ' and its mirror image'}; rename one of them")
            files[name] = path
    return files


def find(text: str) -> Found:
    """The file of a name or path; ``_left`` and ``_right`` at its end ask for a side. Raises ConfigError: there is none."""
    if text.endswith(YAML_SUFFIXES):
        path = Path(os.path.expandvars(text)).expanduser()
        if path.is_file():
            return Found(path, None, False)
        for base, side in _sides(path.stem):
            for stem in (base, *(f"{base}_{other}" for other in SIDES)):
                if path.with_stem(stem).is_file():
                    return Found(path.with_stem(stem), side, False)
        raise ConfigError(path, "", f"no embodiment {text!r}; {available(embodiment_files())}")
    files = embodiment_files()
    if text in files:
        return Found(files[text], None, True)
    for base, side in _sides(text):
        for name in (base, *(f"{base}_{other}" for other in SIDES)):
            if name in files:
                return Found(files[name], side, True)
    if "/" in text or "." in text:
        raise ConfigError(text, "", f"expected the YAML file of an embodiment, or a name; {available(files)}")
    message = f"no embodiment {text!r}; {available(files)}, each also with _left"
    raise ConfigError(shipped_folder() / f"{text}.yaml", "", f"{message}; yours by its file, or by name with {VARIABLE}=FOLDER")


def reference(path: Path, name: str) -> str:
    """What :func:`find` takes, in any process, for the embodiment ``name`` that came from ``path``."""
    if path.parent == shipped_folder().resolve():
        return name
    if name == path.stem or not _bases(name):
        return str(path)
    stem = (*_bases(path.stem), path.stem)[0]  # the file may be called otherwise than what it describes
    return str(path.with_stem(f"{stem}_{_sides(name)[0][1]}"))


def _bases(name: str) -> tuple[str, ...]:
    return tuple(base for base, _ in _sides(name))


def _sides(name: str) -> tuple[tuple[str, str], ...]:
    """(name without its side, side) if it ends in one."""
    return tuple((name[: -len(side) - 1], side) for side in SIDES if name.endswith(f"_{side}") and len(name) > len(side) + 1)


def _user_folders() -> list[Path]:
    folders = [Path(text).expanduser() for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(folder, "", f"no such folder, but {VARIABLE} names it")
    return folders
