"""A folder of data sets, one for each embodiment, with the mixture that training reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from ..errors import ArtifactError
from ..latent.artifacts import write_atomically
from .lerobot_layout import DEFAULTS, INFO
from .lerobot_reader import LeRobotReader
from .lerobot_writer import append, misfit, recover
from .staging import TOLD, StagedEpisode, staged

STAGING, MIXTURE = ".staging", "mixture.yaml"


class Collection:
    """Data sets in ``root``, and the episodes that are staged for them.

    Args:
        root: The folder; made if missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._there: dict[str, dict[str, str]] = {}

    def staging(self, embodiment: str) -> Path:
        """Where finished episodes of an embodiment wait."""
        return self.root / STAGING / embodiment

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

    def commit(self) -> list[tuple[StagedEpisode, str]]:
        """Append everything that is staged to its data set; returns (episode, reason) of what does not fit."""
        refused = []
        for folder in sorted((self.root / STAGING).glob("*")):
            root, episodes = self.root / folder.name, staged(folder)
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
        shutil.rmtree(self.root / STAGING, ignore_errors=True)
        return refused

    def write_mixture(self) -> list[Path]:
        """Write the list of all data sets, of equal weight as training draws them; returns their folders."""
        roots = sorted(file.parent.parent for file in self.root.glob(f"*/{INFO}") if not file.parent.parent.name.startswith("."))
        entries = []
        for root in roots:
            reader = LeRobotReader(root)
            identity = reader.identity
            told = {name: getattr(identity, name) for name in ("embodiment", "embodiment_hash", "latent_id", "fps")}
            entries.append({"path": root.name, **told, "episodes": len(reader), "frames": reader.frames, "weight": 1.0})
        if entries:
            write_atomically(self.root / MIXTURE, yaml.safe_dump({"datasets": entries}, sort_keys=False).encode())
        return roots
