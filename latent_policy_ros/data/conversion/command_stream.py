"""CommandStream: the joint command in force at any time of a recording."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.data.conversion.command_types import CommandType
from latent_policy_ros.observations.joint_matcher import JointMatcher
from latent_policy_ros.observations.streams import Stream


class CommandStream:
    """Joint commands of one robot.

    A command is in force from its time of receipt. Its stamp is ignored, because it may refer to an observation or to a
    deadline. Each point of a trajectory is in force until its ``time_from_start``, when the next one follows; a new
    trajectory replaces the rest of the previous one. A command without points holds the measured position.

    Args:
        command_type: Message type of the commands.
        joints: The n joints, in the order of returned values.
        rename: {joint name in messages: joint name of the embodiment}.
        order: Joint names, as in messages, of the numbers of a message without names.
        scale: {joint: factor to rad or m}; 1 for joints that are not listed.
        keep: Duration of the history before the newest receipt [s]; future points are kept regardless.
    """

    def __init__(
        self, command_type: CommandType, joints: Sequence[str], rename: Mapping[str, str], order: Sequence[str],
        scale: Mapping[str, float], keep: float,
    ) -> None:  # fmt: skip
        self._type = command_type
        self._matcher = JointMatcher(joints, "command")
        self._rename, self._scale = rename, np.array([scale.get(name, 1.0) for name in joints])
        self._order = [rename.get(name, name) for name in order]
        self._keep = keep
        self._stream: Stream[tuple[np.ndarray, float]] = Stream(math.inf)  # values, time at which they are reached [s]
        #: Joint names of the newest message, renamed; empty before the first that has any.
        self.joint_order: tuple[str, ...] = ()

    def push(self, received: float, message: Any, measured: np.ndarray | None) -> None:
        """Add a command.

        Args:
            received: Time of receipt [s].
            message: Of the command type.
            measured: Newest measured joints (n,), which a command without points holds; None if unknown.

        Raises:
            ObservationRefused: Missing joints, numbers that are not finite, another count than that of the joints, or points
                that are not in order of time.
        """
        self._stream.forget_after(received)
        self._stream.forget_before(received - self._keep)
        points = self._type.read(message)
        if not points and measured is not None:
            self._stream.push(received, (measured, math.inf))
        after = 0.0
        for point in points:
            begins, after = after, point.time_from_start
            if after < begins:
                raise ObservationRefused(f"command has a point at {after:g} s after one at {begins:g} s")
            self._stream.push(received + begins, (self._match(point.names, point.positions), received + after))

    def held(self, stamp: float, max_age: float) -> np.ndarray | None:
        """The command (n,) in force at ``stamp``; None if there is none, or if it ended more than ``max_age`` [s] before."""
        found = self._stream.held(stamp)
        if found is None:
            return None
        _, (values, until) = found
        return values if stamp - until <= max_age else None

    @property
    def newest(self) -> np.ndarray | None:
        """The newest command (n,); None before the first."""
        value = self._stream.newest_value
        return None if value is None else value[0]

    @property
    def holding(self) -> bool:
        """Whether the newest command holds the measured position, which needs no repetition."""
        value = self._stream.newest_value
        return value is not None and value[1] == math.inf

    def _match(self, names: Sequence[str] | None, positions: Sequence[float]) -> np.ndarray:
        if names is None:
            if len(positions) != len(self._order):
                raise ObservationRefused(
                    f"command has {len(positions)} numbers, expected {len(self._order)} (command.order of the mapping)"
                )
            known = self._order
        else:
            known = [self._rename.get(name, name) for name in names]
        self.joint_order = tuple(known)
        values = self._matcher.match(known, positions)
        if values is None:
            raise ObservationRefused(f"command is for other joints: {', '.join(names or known) or 'none'}")
        return values * self._scale
