"""CommandStream: the joint command in force at any time of a recording."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.data.conversion.command_types import CommandPoint, CommandType
from latent_policy_ros.data.conversion.sources import JointSource
from latent_policy_ros.observations.joint_matcher import JointMatcher, Selection
from latent_policy_ros.observations.streams import Stream


class NoNames(ObservationRefused):
    """Numbers without joint names, and no ``order`` in the mapping."""


class JointReader:
    """Reads the points of one source: names, units and value map.

    Args:
        source: The topic.
        command_type: Type of its messages.
        joints: The n joints that are selected.
        rename: {joint name in messages: joint name of the robot}.
        path: Path of the source in the mapping, for errors.
    """

    def __init__(
        self, source: JointSource, command_type: CommandType, joints: Sequence[str], rename: Mapping[str, str], path: str
    ) -> None:
        self.source, self.type, self.path = source, command_type, path
        self._matcher = JointMatcher(joints, path)
        self._rename, self._order = rename, tuple(rename.get(name, name) for name in source.order)
        factors = [source.scale.get(name, (1.0, 0.0)) for name in joints]
        self._plain = all(factor == (1.0, 0.0) for factor in factors)
        self._factors = np.array([factor for factor, _ in factors])
        self._offsets = np.array([offset for _, offset in factors])
        self._renamed: dict[tuple[str, ...], tuple[str, ...]] = {}
        #: Joint names of the newest message, renamed; empty before the first that has any.
        self.joint_order: tuple[str, ...] = ()

    def points(self, message: Any) -> Sequence[CommandPoint] | None:
        """The points of a message; None for a message that is ignored."""
        return self.type.read(message)

    def select(self, point: CommandPoint) -> Selection | None:
        """The robot's joints of a point [rad or m]; None without any.

        Raises:
            ObservationRefused: As of :meth:`~latent_policy_ros.observations.joint_matcher.JointMatcher.select`, or another count
                of numbers than ``order`` names.
        """
        if point.names is None:
            if not self._order:
                raise NoNames(f"numbers without names; list their joints in `{self.path}.order` of the mapping")
            if len(point.positions) != len(self._order):
                text = f"{len(point.positions)} numbers, expected {len(self._order)} ({self.path}.order of the mapping)"
                raise ObservationRefused(text)
            names = self._order
        else:
            key = tuple(point.names)
            names = self._renamed.get(key, ())
            if not names:
                names = self._renamed[key] = tuple(self._rename.get(name, name) for name in key)
        found = self._matcher.select(names, point.positions)
        if found is None:
            return None
        self.joint_order = names
        if self._plain:
            return found
        joints = list(found.joints)
        return Selection(found.joints, found.values * self._factors[joints] + self._offsets[joints])


class CommandStream:
    """Joint commands of one robot, merged by joint from one or more topics, and from messages for some of the joints.

    A command is in force from its time of receipt. Its stamp is ignored, because it may refer to an observation or to a
    deadline. Each point of a trajectory is in force until its ``time_from_start``, when the next one follows; a new
    command replaces the rest of the previous one for its joints. A command without points holds the measured position.

    Args:
        joints: The n joints, in the order of returned values.
        keep: Duration of the history before the newest receipt [s]; future points are kept regardless.
    """

    def __init__(self, joints: Sequence[str], keep: float) -> None:
        self.joints, self._keep = tuple(joints), keep
        #: For each set of joints: values, time at which they are reached, and time of receipt [s].
        self._parts: dict[tuple[int, ...], Stream[tuple[np.ndarray, float, float]]] = {}
        self._limits: dict[tuple[int, ...], float] = {}

    def push(self, received: float, reader: JointReader, message: Any, measured: np.ndarray | None) -> Selection | None:
        """Add a command; returns its first point.

        Args:
            received: Time of receipt [s].
            reader: Reader of the topic; must select from the joints of this stream.
            message: Of the reader's type.
            measured: Newest measured joints (n,), which a command without points holds; None if unknown.

        Raises:
            ObservationRefused: As of :meth:`JointReader.select`, or points that are not in order of time.
        """
        points = reader.points(message)
        if points is None:
            return None
        if not points:
            for part in list(self._parts) or [tuple(range(len(self.joints)))]:
                if measured is not None:
                    stream = self._part(part, received, reader.source.limit)
                    stream.push(received, (measured[list(part)], math.inf, received))
            return None
        selected: list[tuple[float, float, Selection]] = []
        after = 0.0
        for point in points:
            begins, after = after, point.time_from_start
            if after < begins:
                raise ObservationRefused(f"command has a point at {after:g} s after one at {begins:g} s")
            if (found := reader.select(point)) is not None:
                selected.append((begins, after, found))
        if not selected:
            return None
        first = selected[0][2]
        stream = self._part(first.joints, received, reader.source.limit)
        for begins, after, found in selected:
            stream.push(received + begins, (found.values, received + after, received))
        return first

    def held(self, stamp: float, max_age: float) -> np.ndarray | None:
        """The command (n,) in force at ``stamp``.

        None if there is none for a joint, or if it ended more than ``max_age`` [s] before; limits of sources have precedence.
        """
        parts = []
        for joints, stream in self._parts.items():
            found = stream.held(stamp)
            if found is not None:
                limit = self._limits[joints] or max_age
                if stamp - found[1][1] <= limit:
                    parts.append((found[1][2], joints, found[1][0]))
        if len(parts) == 1 and len(parts[0][1]) == len(self.joints):
            return parts[0][2]
        values = np.full(len(self.joints), np.nan)
        for _, joints, positions in sorted(parts, key=lambda part: part[0]):
            values[list(joints)] = positions
        return None if np.isnan(values).any() else values

    @property
    def newest(self) -> np.ndarray:
        """The newest command (n,), NaN for joints without one."""
        values = np.full(len(self.joints), np.nan)
        newest = [(value[2], joints, value[0]) for joints, stream in self._parts.items() if (value := stream.newest_value)]
        for _, joints, positions in sorted(newest, key=lambda part: part[0]):
            values[list(joints)] = positions
        return values

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of the joints without any command so far."""
        known = {joint for part in self._parts for joint in part}
        return tuple(name for joint, name in enumerate(self.joints) if joint not in known)

    @property
    def holding(self) -> bool:
        """Whether the newest commands of all joints hold the measured position, which needs no repetition."""
        values = [stream.newest_value for stream in self._parts.values()]
        return bool(values) and all(value is not None and value[1] == math.inf for value in values)

    def _part(self, joints: tuple[int, ...], received: float, limit: float) -> Stream[tuple[np.ndarray, float, float]]:
        """The history of some joints, without commands that a new one replaces."""
        if joints not in self._parts:
            self._parts[joints] = Stream(math.inf)
        self._limits[joints] = limit
        stream = self._parts[joints]
        stream.forget_after(received)
        stream.forget_before(received - self._keep)
        return stream
