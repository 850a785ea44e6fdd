"""A folder of data sets, one for each embodiment, with the mixture that training draws from."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.artifacts import write_atomically
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.conversion.provenance import Provenance, is_converted
from latent_policy_ros.data.lerobot.layout import DEFAULTS, INFO, MANIFEST
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import PART, TOLD, Identity, StagedEpisode, staged
from latent_policy_ros.data.lerobot.writer import append, misfit, recover

STAGING, MIXTURE, REPORT, SETTINGS = ".staging", "mixture.yaml", "report.json", "conversion.json"
BESIDE = MIXTURE, REPORT, SETTINGS  # files that our own commands write beside data sets


class Collection:
    """Data sets in ``root``, and the episodes that are staged for them.

    Args:
        root: The folder; made if missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._there: dict[str, dict[str, str]] = {}
        self._told: dict[str, list[dict[str, Any]]] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is an episode, in a data set or staged."""
        return bool(datasets_in(self.root)) or any(map(staged, (self.root / STAGING).glob("*")))

    def staging(self, embodiment: str) -> Path:
        """Where finished episodes of an embodiment wait."""
        return self.root / STAGING / embodiment

    def expect(self, identity: Identity) -> None:
        """Make sure that episodes of ``identity`` fit what is there.

        Raises:
            ArtifactError: They do not; says in what.
        """
        root = self.root / identity.embodiment
        recover(root)
        there = [LeRobotReader(root).identity] if (root / INFO).is_file() else []
        for known in there + [episode.identity for episode in staged(self.staging(identity.embodiment))[:1]]:
            for name, value in known.plain().items():
                if identity.plain()[name] != value:
                    got = identity.plain()[name]
                    raise ArtifactError(f"{root}: {name}: expected {value!r}, as it was begun, got {got!r}; choose another folder")

    def has(self, embodiment: str, key: str, fingerprint: str = "") -> bool:
        """Whether an episode is there already, staged or in the data set.

        Raises:
            ArtifactError: It is, but was made of a file that has changed since.
        """
        if embodiment not in self._there:
            root = self.root / embodiment
            recover(root)
            about = LeRobotReader(root).about if (root / INFO).is_file() else []
            self._there[embodiment] = {told["key"]: told.get("fingerprint", "") for told in about}
        there = self._there[embodiment]
        if key in there:
            if there[key] != fingerprint:
                raise ArtifactError(f"changed since it was converted to {self.root / embodiment}; use another folder")
            return True
        folder = self.staging(embodiment) / key
        return (folder / TOLD).is_file() and StagedEpisode.load(folder).about.get("fingerprint", "") == fingerprint

    def converted(self, origin: Provenance) -> bool:
        """Whether a recording is in one of the data sets already, or staged.

        Raises:
            ArtifactError: It is in a data set, but was converted with other settings, or its bag has changed since.
        """
        if self._told is None:
            self._told = self._read_told()
        of_all = [told for those in self._told.values() for told in those if "settings" in told]
        embodiment = origin.settings["embodiment"]
        earlier = [told for told in self._told.get(embodiment, []) if "settings" not in told]
        try:
            if is_converted(origin, of_all + earlier):
                return True
        except ArtifactError as error:
            raise ArtifactError(f"{self.root}: {error}") from None
        folder = self.staging(embodiment) / origin.key
        return (folder / TOLD).is_file() and StagedEpisode.load(folder).about.get("settings") == origin.settings

    def _read_told(self) -> dict[str, list[dict[str, Any]]]:
        """What our own data sets tell about their episodes, by embodiment."""
        for staging in (self.root / STAGING).glob("*"):
            recover(self.root / staging.name)
        files = [file for file in self.root.glob(f"*/{MANIFEST}") if not file.parent.parent.name.startswith(".")]
        return {file.parent.parent.name: LeRobotReader(file.parent.parent).about for file in files}

    def commit(self, embodiment: str = "*", keys: Container[str] | None = None) -> list[tuple[StagedEpisode, str]]:
        """Append what is staged to its data set; returns (episode, reason) of what does not fit.

        Args:
            embodiment: For one of them only.
            keys: Those episodes only; what others a run that was stopped has left stays staged.
        """
        refused = []
        for folder in sorted((self.root / STAGING).glob(embodiment)):
            root, episodes = self.root / folder.name, [e for e in staged(folder) if keys is None or e.key in keys]
            done = [episode.folder for episode in episodes]
            recover(root)
            old = LeRobotReader(root) if (root / INFO).is_file() else None
            there = {told["key"] for told in old.about} if old else set()
            episodes = [episode for episode in episodes if episode.key not in there]  # a crash between here and the end of this
            episodes.sort(key=lambda e: (str(e.about.get("source", "")), e.about.get("seed", -1), str(e.about.get("robot", ""))))
            fitting: list[StagedEpisode] = []
            for episode in episodes:
                like = old or (fitting[0] if fitting else episode)
                features = {name: f for name, f in like.features.items() if name not in DEFAULTS}
                why = misfit(episode, features, like.identity)
                if why:
                    refused.append((episode, why))
                else:
                    fitting.append(episode)
            append(root, fitting)
            for rest in [*done, *folder.glob(f"*{PART}")]:
                shutil.rmtree(rest, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are still staged
                folder.rmdir()
        with contextlib.suppress(OSError):  # others are still staged
            (self.root / STAGING).rmdir()
        return refused

    def write_mixture(self) -> list[Path]:
        """Write the list of all data sets; weights that somebody set stay. Returns their folders."""
        roots, entries = datasets_in(self.root), []
        for root in roots:
            reader = LeRobotReader(root)
            identity = reader.identity
            told = {name: getattr(identity, name) for name in ("embodiment", "embodiment_hash", "fps")}
            entries.append({"path": root.name, **told, "episodes": len(reader), "frames": reader.frames, "weight": _weight(root)})
        if entries:
            write_atomically(self.root / MIXTURE, yaml.safe_dump({"datasets": entries}, sort_keys=False).encode())
        return roots


def datasets_in(folder: Path, where: str = "*") -> list[Path]:
    """The data sets of a folder (``**``: with its subfolders). What is hidden is none: a run that was killed has left it."""
    return sorted(file.parent.parent for file in folder.glob(f"{where}/{INFO}") if not _hidden(file.relative_to(folder)))


def find_datasets(folders: Iterable[Path | str]) -> list[tuple[Path, float]]:
    """Data sets in ``folders``, searched with their subfolders, each with its weight in the mixture.

    What our own commands write beside data sets is passed over: ``folder/*`` names it too.

    Raises:
        ArtifactError: A folder does not exist, is a file or holds no data set.
    """
    found: dict[Path, float] = {}
    folders = list(map(Path, folders))
    files = [path for path in folders if path.is_file()]
    for file in files:
        if file.name not in BESIDE or files == folders:
            raise ArtifactError(f"{file}: is a file, expected a folder of data sets")
    for folder in folders:
        if folder in files:
            continue
        if not folder.is_dir():
            raise ArtifactError(f"{folder}: no such folder of data sets; generate or convert some first")
        roots = datasets_in(folder, "**")
        if not roots:
            raise ArtifactError(f"{folder}: holds no data set ({INFO}); generate or convert some first")
        found |= {root: _weight(root) for root in roots}
    return list(found.items())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _weight(root: Path) -> float:
    file = root.parent / MIXTURE
    if not file.is_file():
        return 1.0
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["datasets"]
        weight = float({entry["path"]: entry for entry in entries}.get(root.name, {}).get("weight", 1.0))
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{file}: not a mixture of data sets: {error!r}") from error
    if not weight > 0:
        raise ArtifactError(f"{file}: weight of {root.name}: expected a number greater than 0, got {weight}")
    return weight
