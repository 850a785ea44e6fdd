"""Folder of data sets, one for each embodiment, with a staging area and the mixture that training samples from."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Container, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from latent_policy_ros.common.artifacts import canonical_json, write_atomically
from latent_policy_ros.common.bounded_reader import read_text
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.path_names import path_name
from latent_policy_ros.common.yaml_file import parse_yaml
from latent_policy_ros.data.conversion.provenance import STORED, Provenance, is_converted
from latent_policy_ros.data.lerobot.layout import INFO, MANIFEST, SEPARATE, STATE, WHOLE, WRIST, joint_names
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import EPISODE_FILE, PART_SUFFIX, DatasetIdentity, StagedEpisode, staged_episodes
from latent_policy_ros.data.lerobot.writer import append_episodes, incompatibility, recover_dataset

STAGING, MIXTURE, REPORT, SETTINGS = ".staging", "mixture.yaml", "report.json", "conversion.json"
OWN_FILES = MIXTURE, REPORT, SETTINGS  # written by this package beside data sets


class DatasetCollection:
    """The data sets of a folder, and the episodes staged for them.

    Args:
        root: The folder; created if it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._fingerprints: dict[str, dict[str, str]] = {}  # {embodiment: {key of an episode: fingerprint of its source}}
        self._metadata: dict[str, list[dict[str, Any]]] | None = None  # {embodiment: provenance of the episodes}

    @property
    def has_episodes(self) -> bool:
        """Whether a data set or the staging area holds an episode."""
        return bool(list_datasets(self.root)) or any(any(staged_episodes(folder)) for folder in (self.root / STAGING).glob("*"))

    def staging_folder(self, embodiment: str) -> Path:
        """Folder of the staged episodes of an embodiment."""
        return self.root / STAGING / path_name(embodiment, "name of the embodiment")

    def layout(self, embodiment: str, requested: str) -> str:
        """The layout of the data set of an embodiment; ``requested`` if there is none yet, or one without wrist poses."""
        root = self.root / embodiment
        recover_dataset(root)
        features = LeRobotReader(root).features if (root / INFO).is_file() else {}
        if WRIST in features:
            return SEPARATE
        return WHOLE if features and joint_names(features, STATE) != tuple(features[STATE]["names"]) else requested

    def check_identity(self, identity: DatasetIdentity) -> None:
        """Check that episodes of ``identity`` can be appended.

        Raises:
            ArtifactError: The data set or the staged episodes have another identity.
        """
        root = self.root / path_name(identity.embodiment, "name of the embodiment")
        recover_dataset(root)
        known = [LeRobotReader(root).identity] if (root / INFO).is_file() else []
        known += [episode.identity for episode in islice(staged_episodes(self.staging_folder(identity.embodiment)), 1)]
        got = identity.to_dict()
        for existing in known:
            for name, value in existing.to_dict().items():
                if got[name] != value:
                    raise ArtifactError(
                        f"{root}: {name}: expected {value!r}, as in the data set, got {got[name]!r}; choose another folder"
                    )

    def has_episode(self, embodiment: str, key: str, fingerprint: str = "") -> bool:
        """Whether an episode is in the data set or staged.

        Raises:
            ArtifactError: The episode is in the data set, but its source has another fingerprint now.
        """
        if embodiment not in self._fingerprints:
            root = self.root / path_name(embodiment, "name of the embodiment")
            recover_dataset(root)
            metadata = LeRobotReader(root).read_metadata() if (root / INFO).is_file() else ()
            self._fingerprints[embodiment] = {episode["key"]: episode.get("fingerprint", "") for episode in metadata}
        known = self._fingerprints[embodiment]
        if key in known:
            if known[key] != fingerprint:
                raise ArtifactError(f"changed since it was converted to {self.root / embodiment}; use another folder")
            return True
        folder = self.staging_folder(embodiment) / key
        return (folder / EPISODE_FILE).is_file() and StagedEpisode.load(folder).metadata.get("fingerprint", "") == fingerprint

    def has_recording(self, provenance: Provenance) -> bool:
        """Whether a recording is in one of the data sets, or staged.

        Raises:
            ArtifactError: It is in a data set, but was converted with other settings, or its bag changed since.
        """
        if self._metadata is None:
            self._metadata = self._read_metadata()
        with_settings = [episode for episodes in self._metadata.values() for episode in episodes if "settings" in episode]
        embodiment = provenance.settings["embodiment"]
        without_settings = [episode for episode in self._metadata.get(embodiment, []) if "settings" not in episode]
        try:
            if is_converted(provenance, with_settings + without_settings):
                return True
        except ArtifactError as error:
            raise ArtifactError(f"{self.root}: {error}") from None
        folder = self.staging_folder(embodiment) / provenance.key
        return (folder / EPISODE_FILE).is_file() and StagedEpisode.load(folder).metadata.get("settings") == provenance.settings

    def _read_metadata(self) -> dict[str, list[dict[str, Any]]]:
        """Stored provenance of all episodes by embodiment, from the data sets of this package; equal settings are one object."""
        for staging in (self.root / STAGING).glob("*"):
            recover_dataset(self.root / staging.name)
        files = [file for file in self.root.glob(f"*/{MANIFEST}") if not file.parent.parent.name.startswith(".")]
        settings: dict[str, Any] = {}

        def shared(episode: dict[str, Any]) -> dict[str, Any]:
            stored = {name: episode[name] for name in STORED if name in episode}
            if "settings" in stored:
                stored["settings"] = settings.setdefault(canonical_json(stored["settings"]), stored["settings"])
            return stored

        return {(root := file.parent.parent).name: [*map(shared, LeRobotReader(root).read_metadata())] for file in files}

    def commit(self, embodiment: str = "*", keys: Container[str] | None = None) -> list[tuple[StagedEpisode, str]]:
        """Append staged episodes to their data sets.

        Args:
            embodiment: Commit the episodes of this embodiment; default: all.
            keys: Commit the episodes of these recordings and leave others staged; None: all.

        Returns:
            Incompatible episodes, each with the reason. They are removed from the staging area.
        """
        refused = []
        for folder in sorted((self.root / STAGING).glob(embodiment)):
            root = self.root / folder.name
            recover_dataset(root)
            old = LeRobotReader(root) if (root / INFO).is_file() else None
            committed = {episode["key"] for episode in old.read_metadata()} if old else set()
            done: list[Path] = []
            waiting: list[tuple[Any, Path]] = []  # order and folder of episodes; the episodes themselves may not fit in memory
            for episode in staged_episodes(folder):
                if keys is None or episode.key.partition("-")[0] in keys:
                    done.append(episode.folder)
                    if episode.key not in committed:  # staged copies remain if a previous call crashed
                        waiting.append((_commit_order(episode), episode.folder))
            compatible: list[Path] = []
            reference: LeRobotReader | StagedEpisode | None = old
            for _, path in sorted(waiting):
                episode = StagedEpisode.load(path)
                reference = reference or episode
                if reason := incompatibility(episode, reference.features, reference.identity):
                    refused.append((episode, reason))
                else:
                    compatible.append(path)
            append_episodes(root, map(StagedEpisode.load, compatible))
            for path in [*done, *folder.glob(f"*{PART_SUFFIX}")]:
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # not empty: other episodes are staged
                folder.rmdir()
        with contextlib.suppress(OSError):  # not empty
            (self.root / STAGING).rmdir()
        return refused

    def write_mixture(self) -> list[Path]:
        """Write the list of all data sets, keeping weights that were set by hand; returns the data sets' folders."""
        roots, entries = list_datasets(self.root), []
        for root in roots:
            reader = LeRobotReader(root)
            identity = {name: getattr(reader.identity, name) for name in ("embodiment", "embodiment_hash", "fps")}
            size = {"episodes": len(reader), "frames": reader.frames}
            entries.append({"path": root.name, **identity, **size, "weight": _weight(root)})
        if entries:
            write_atomically(self.root / MIXTURE, yaml.safe_dump({"datasets": entries}, sort_keys=False).encode())
        return roots


def list_datasets(folder: Path, pattern: str = "*") -> list[Path]:
    """Data sets in the subfolders of ``folder`` (``**``: at any depth). Hidden folders are skipped: a crash may leave them."""
    files = [file for file in folder.glob(f"{pattern}/{INFO}") if not _is_hidden(file.relative_to(folder))]
    return sorted(file.parent.parent for file in files)


def find_datasets(folders: Iterable[Path | str]) -> list[tuple[Path, float]]:
    """Data sets in ``folders`` at any depth, each with its weight in the mixture.

    Files that this package writes beside data sets are skipped, because the shell's ``folder/*`` includes them.

    Raises:
        ArtifactError: A folder does not exist, is a file, or holds no data set.
    """
    found: dict[Path, float] = {}
    paths = [Path(folder) for folder in folders]
    files = [path for path in paths if path.is_file()]
    for file in files:
        if file.name not in OWN_FILES or files == paths:
            raise ArtifactError(f"{file}: is a file, expected a folder of data sets")
    for folder in paths:
        if folder in files:
            continue
        if not folder.is_dir():
            raise ArtifactError(
                f"{folder}: no such folder of data sets; create one with latent-policy dataset from-sim or from-bags"
            )
        roots = list_datasets(folder, "**")
        if not roots:
            raise ArtifactError(f"{folder}: no data set ({INFO}); create one with latent-policy dataset from-sim or from-bags")
        found |= {root: _weight(root) for root in roots}
    return list(found.items())


def _commit_order(episode: StagedEpisode) -> tuple[str, int, str, list[int]]:
    metadata = episode.metadata
    return (
        str(metadata.get("source", "")), metadata.get("seed", -1), str(metadata.get("robot", "")), list(metadata.get("part", ()))
    )  # fmt: skip


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _weight(root: Path) -> float:
    """Weight of a data set in the mixture beside it; 1 without a mixture."""
    file = root.parent / MIXTURE
    if not file.is_file():
        return 1.0
    try:
        entries = parse_yaml(read_text(file))["datasets"]
        weight = float({entry["path"]: entry for entry in entries}.get(root.name, {}).get("weight", 1.0))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{file}: not a mixture of data sets: {error!r}") from error
    if not weight > 0:
        raise ArtifactError(f"{file}: weight of {root.name}: expected a number greater than 0, got {weight}")
    return weight
