"""Commands as they come in bags: which one is in force at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.observations.joint_matcher import JointMatcher
from latent_policy_ros.observations.messages import to_seconds
from latent_policy_ros.observations.streams import Stream


class CommandStream:
    """The commands of one robot.

    A command counts from its receipt, whatever its stamp: stamps of commands tell of observations, of deadlines, or of
    nothing. The points of a trajectory follow each other by their ``time_from_start``, until which each is in force, and a new
    trajectory ends an old one. A trajectory without points means: hold what you measure.

    Args:
        joints: The n joints, in the order of the values handed out.
        rename: {the messages' name of a joint: ours}.
        order: The messages' names of the numbers of a Float64MultiArray.
        scale: {joint: factor to rad or m}; others are in these.
        keep: Seconds of history before the newest receipt; what is yet to come is kept, however far ahead it lies.
    """

    def __init__(
        self, joints: Sequence[str], rename: Mapping[str, str], order: Sequence[str], scale: Mapping[str, float], keep: float,
    ) -> None:  # fmt: skip
        self._matcher = JointMatcher(joints, "command")
        self._rename, self._scale = rename, np.array([scale.get(name, 1.0) for name in joints])
        self._order = [rename.get(name, name) for name in order]
        self._keep = keep
        self._stream: Stream[tuple[np.ndarray, float]] = Stream(math.inf)  # with the time [s] at which it is reached
        self.joint_order: tuple[str, ...] = ()

    def push(self, received: float, message: Any, measured: np.ndarray | None) -> None:
        """Take a JointTrajectory, JointState or Float64MultiArray.

        Raises:
            ObservationRefused: Joints are missing or not finite, or there are other numbers than joints.
        """
        self._stream.forget_after(received)
        self._stream.forget_before(received - self._keep)
        if hasattr(message, "points"):
            self._push_trajectory(received, message, measured)
        elif hasattr(message, "position"):
            self._put(received, self._match(message.name, message.position))
        else:
            if len(message.data) != len(self._order):
                raise ObservationRefused(f"command has {len(message.data)} numbers, expected {len(self._order)} (see order)")
            self._put(received, self._match(self._order, message.data, renamed=True))

    def held(self, stamp: float, max_age: float) -> np.ndarray | None:
        """The command (n,) in force at ``stamp``; None if there is none, or its time is over for more than ``max_age`` [s]."""
        found = self._stream.held(stamp)
        if found is None:
            return None
        _, (values, until) = found
        return values if stamp - until <= max_age else None

    @property
    def newest(self) -> np.ndarray | None:
        """The newest command (n,)."""
        newest = self._stream.newest
        return None if newest is None else self._stream.held(newest)[1][0]

    @property
    def holding(self) -> bool:
        """Whether the newest command is to hold, which needs no repetition."""
        newest = self._stream.newest
        return newest is not None and self._stream.held(newest)[1][1] == math.inf

    def _push_trajectory(self, received: float, message: Any, measured: np.ndarray | None) -> None:
        if not message.points:
            if measured is not None:
                self._stream.push(received, (measured, math.inf))
            return
        after = 0.0
        for point in message.points:
            begins, after = after, to_seconds(point.time_from_start)
            if after < begins:
                raise ObservationRefused(f"command has a point at {after:g} s after one at {begins:g} s")
            values = self._match(message.joint_names, point.positions)
            self._stream.push(received + begins, (values, received + after))

    def _match(self, names: Sequence[str], positions: Sequence[float], renamed: bool = False) -> np.ndarray:
        ours = names if renamed else [self._rename.get(name, name) for name in names]
        self.joint_order = tuple(ours)
        values = self._matcher.match(ours, positions)
        if values is None:
            raise ObservationRefused(f"command is for {', '.join(names) or 'no joint'}: none of ours")
        return values * self._scale

    def _put(self, stamp: float, values: np.ndarray) -> None:
        self._stream.push(stamp, (values, stamp))
