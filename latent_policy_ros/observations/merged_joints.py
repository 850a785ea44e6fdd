"""MergedJoints: joints of one robot whose measurements may come in parts, e.g. of arm and gripper in separate messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from latent_policy_ros.observations.joint_matcher import Selection
from latent_policy_ros.observations.streams import Stream


class MergedJoints:
    """A history of joint positions, merged by joint from messages that each hold some of the joints.

    Messages with the same joints are one part. Offers the methods of a :class:`~latent_policy_ros.observations.streams.Stream`
    that :class:`~latent_policy_ros.observations.observation_buffer.ObservationBuffer` uses.

    Args:
        names: Names of the n joints.
        keep: Duration of the history before the newest stamp of each part [s].
    """

    def __init__(self, names: Sequence[str], keep: float) -> None:
        self.names, self._keep = tuple(names), keep
        self._parts: dict[tuple[int, ...], Stream[np.ndarray]] = {}
        self._limits: dict[tuple[int, ...], float] = {}

    def push(self, stamp: float, found: Selection, limit: float = 0.0) -> None:
        """Add the joints of a message.

        Args:
            stamp: Time of measurement [s].
            found: The joints.
            limit: Largest age at which these joints are used [s], e.g. of a topic that is sent on changes only; 0 leaves
                the choice to the caller of ``nearest``.
        """
        part = self._parts.get(found.joints)
        if part is None:
            part = self._parts[found.joints] = Stream(self._keep)
        self._limits[found.joints] = limit
        part.push(stamp, found.values)

    def __len__(self) -> int:
        return max(map(len, self._parts.values()), default=0)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Stamps and values of the first part."""
        return iter(next(iter(self._parts.values()), ()))

    def clear(self) -> None:
        """Discard everything stored."""
        self._parts.clear()

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of the joints that no message held so far."""
        known = {joint for part in self._parts for joint in part}
        return tuple(name for joint, name in enumerate(self.names) if joint not in known)

    @property
    def newest(self) -> float | None:
        """Stamp up to which all joints are known; None while some are not."""
        if not self._parts or self.lacking:
            return None
        newest = [float("-inf")] * len(self.names)
        for joints, stream in self._parts.items():
            for joint in joints:
                newest[joint] = max(newest[joint], stream.newest or 0.0)
        return min(newest)

    @property
    def newest_value(self) -> np.ndarray | None:
        """Newest positions (n,), each from the newest message that held the joint; None while some are not known."""
        parts = sorted(self._parts.items(), key=lambda item: item[1].newest or 0.0)
        if len(parts) == 1 and len(parts[0][0]) == len(self.names):
            return parts[0][1].newest_value
        values = np.full(len(self.names), np.nan)
        for joints, stream in parts:
            values[list(joints)] = stream.newest_value
        return None if np.isnan(values).any() else values

    def nearest(self, stamp: float, slack: float = 0.0) -> tuple[float, np.ndarray] | None:
        """Positions (n,) measured nearest to ``stamp``, with the stamp of the part that is furthest from it.

        Parts with a limit of their own have the newest positions up to ``stamp`` instead: a later change has not happened yet.
        None while joints are not known, or if such a part is older than its limit and than ``slack`` [s].
        """
        if len(self._parts) == 1:
            ((joints, stream),) = self._parts.items()
            if len(joints) == len(self.names) and not self._limits[joints]:
                return stream.nearest(stamp)
        parts = []
        for joints, stream in self._parts.items():
            limit = self._limits[joints]
            found = stream.held(stamp) if limit else stream.nearest(stamp)
            if found is not None:
                parts.append((abs(found[0] - stamp), limit, found[0], joints, found[1]))
        values, stamps = np.full(len(self.names), np.nan), np.full(len(self.names), stamp)
        for offset, limit, at, joints, positions in sorted(parts, key=lambda part: -part[0]):
            if not limit or offset <= max(limit, slack):
                values[list(joints)] = positions
                stamps[list(joints)] = stamp if limit else at
        if np.isnan(values).any():
            return None
        return float(stamps[np.abs(stamps - stamp).argmax()]), values
