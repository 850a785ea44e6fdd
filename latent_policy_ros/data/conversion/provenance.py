"""Where an episode comes from and what decided how it became: whether a recording was converted before, and in the same way."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags.reader import Bag, content_mark, file_mark
from latent_policy_ros.data.conversion.mapping import Mapping, RobotTopics
from latent_policy_ros.data.conversion.topic_resolution import outcome
from latent_policy_ros.data.lerobot.staging import key_of

SHOWN = 3  # changes that an error names


@dataclass(frozen=True)
class Origin:
    """One robot's part of one bag.

    Attributes:
        robot: Its name.
        key: Names it among all by what the bag holds, wherever the bag lies.
        place: Names it by where the bag lies.
        files: Changes when the bag's files do: all that data sets of earlier versions know of their bags.
        settings: All that decides what becomes of it: the mapping with its defaults, and what the bag says of task and outcome.
    """

    robot: str
    key: str
    place: str
    files: str
    settings: Map[str, Any]

    @classmethod
    def of(cls, bag: Bag, robot: RobotTopics, mapping: Mapping, fps: int) -> Origin:
        """Of an open bag."""
        e = robot.embodiment
        settings = {
            **vars(robot), "embodiment": e.name, "embodiment_hash": e.content_hash, "fps": fps,
            "limits": mapping.limits.model_dump(), "stamps": mapping.stamps,
            "task": bag.custom.get("task") or mapping.task, "success": outcome(bag, robot) is not False,
        }  # fmt: skip
        return cls(
            robot.robot, key_of(content_mark(bag.path), robot.robot), key_of(str(bag.path.resolve()), robot.robot),
            file_mark(bag.path), json.loads(json.dumps(settings)),
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """What an episode keeps of it, beside its key."""
        return {"robot": self.robot, "place": self.place, "fingerprint": self.files, "settings": self.settings}


def is_among(origin: Origin, episodes: Iterable[Map[str, Any]]) -> bool:
    """Whether a recording is among the episodes of a collection, by what is told about them.

    Raises:
        ArtifactError: It is, but was converted with other settings, or its bag has changed since; says what is different.
    """
    changed = False
    for told in episodes:
        if "settings" not in told:  # by an earlier version
            if (told.get("fingerprint"), told.get("robot")) == (origin.files, origin.robot):
                return True
        elif told["key"] == origin.key:
            if changes := _changes(told["settings"], origin.settings):
                raise ArtifactError(f"was converted with other settings: {changes}; convert to another folder, or delete this one")
            return True
        changed |= told.get("place", told["key"]) == origin.place
    if changed:
        raise ArtifactError("changed since it was converted; use another folder")
    return False


def _changes(before: Map[str, Any], now: Map[str, Any]) -> str:
    """What is different in two settings, in words; empty if nothing is."""
    one, other = _flat({name: value for name, value in before.items() if name in now}), _flat(now)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    told = [f"{name} was {one.get(name)!r}, is {other.get(name)!r}" for name in names[:SHOWN]]
    return "; ".join(told) + (f" (and {len(names) - SHOWN} more)" if len(names) > SHOWN else "")


def _flat(settings: Map[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = {f"{name}.{key}": of for key, of in value.items()} if isinstance(value, dict) else {name: value}
        flat |= inner
    return flat
