"""Provenance of episodes: the bag and the settings each was converted from, and whether that was done before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.reader import Bag, content_fingerprint, file_fingerprint
from latent_policy_ros.data.conversion.bag_metadata import outcome, task_of
from latent_policy_ros.data.conversion.mapping import RobotTopics, TopicMapping
from latent_policy_ros.data.lerobot.staging import short_hash

STORED = "key", "robot", "place", "fingerprint", "settings"  # what `is_converted` reads of an episode
MAX_CHANGES = 3  # changed settings that an error lists


@dataclass(frozen=True)
class Provenance:
    """Source and settings of one robot's episode.

    Attributes:
        robot: Name of the robot.
        key: Identifies the episode by the content of the bag, independent of its path.
        place: Identifies the episode by the path of the bag.
        files: Changes when the files of the bag change. Data sets of earlier versions have only this one.
        settings: Everything that determines the episode: the mapping with its defaults, and task and outcome of the bag.
    """

    robot: str
    key: str
    place: str
    files: str
    settings: Map[str, Any]

    @classmethod
    def of(cls, bag: Bag, robot: RobotTopics, mapping: TopicMapping, fps: int) -> Provenance:
        """The provenance of an episode that will be converted from an open bag."""
        settings = {
            **robot.settings(), "fps": fps, "limits": mapping.limits.model_dump(), "stamps": mapping.stamps,
            "on_hole": mapping.on_hole, "episodes": mapping.episodes and vars(mapping.episodes),
            "task": task_of(bag, robot, mapping.task), "success": outcome(bag, robot, mapping.outcome) is True,
        }  # fmt: skip
        return cls(
            robot.robot, short_hash(content_fingerprint(bag.path), robot.robot), short_hash(str(bag.path.resolve()), robot.robot),
            file_fingerprint(bag.path), json.loads(json.dumps(settings)),
        )  # fmt: skip

    def part_key(self, number: int) -> str:
        """The key of one of several episodes of a recording; the first has the key of the recording."""
        return f"{self.key}-{number}" if number else self.key

    def to_dict(self) -> dict[str, Any]:
        """JSON values that are stored with an episode, beside its key."""
        return {"robot": self.robot, "place": self.place, "fingerprint": self.files, "settings": self.settings}


def is_converted(provenance: Provenance, episodes: Iterable[Map[str, Any]]) -> bool:
    """Whether an episode is in a collection.

    Args:
        provenance: Of the episode.
        episodes: Stored provenance (:meth:`Provenance.to_dict` and ``key``) of the episodes of the collection.

    Raises:
        ArtifactError: It was converted with other settings, or its bag changed since; lists the differences.
    """
    changed = False
    for stored in episodes:
        if "settings" not in stored:  # written by an earlier version
            if (stored.get("fingerprint"), stored.get("robot")) == (provenance.files, provenance.robot):
                return True
        elif stored["key"] == provenance.key:
            if changes := _changes(stored["settings"], provenance.settings):
                raise ArtifactError(f"was converted with other settings: {changes}; convert to another folder, or delete this one")
            return True
        changed |= stored.get("place", stored["key"]) == provenance.place
    if changed:
        raise ArtifactError("changed since it was converted; use another folder")
    return False


def _changes(before: Map[str, Any], now: Map[str, Any]) -> str:
    """Differences of two settings in words; empty if there are none. Settings that no longer exist are ignored."""
    one, other = _flat({name: value for name, value in before.items() if name in now}), _flat(now)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    changes = [f"{name} was {one.get(name)!r}, is {other.get(name)!r}" for name in names[:MAX_CHANGES]]
    return "; ".join(changes) + (f" (and {len(names) - MAX_CHANGES} more)" if len(names) > MAX_CHANGES else "")


def _flat(settings: Map[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
