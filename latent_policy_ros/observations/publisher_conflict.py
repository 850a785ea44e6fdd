"""PublisherConflict: detection of two publishers of the same joints or pose, whose values contradict each other."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from latent_policy_ros.observations.joint_matcher import Selection

JUMP = 0.1  # share of a joint's range; smaller changes are not looked at
MIN_REVERSALS = 3  # jumps of one joint, each back from the one before, that are a conflict
WINDOW = 2.0  # [s] within which they must happen
CONFLICT = "two publishers"  # begins the description of a conflict
POSE = dict.fromkeys(("x", "y", "z"), (0.5, 3.0))  # range [m] and velocity [m/s] of the coordinates of a wrist pose
POSE |= dict.fromkeys(("qx", "qy", "qz", "qw"), (1.0, 3.0))  # and of its quaternion: at most 6 rad/s
UNKNOWN_RANGE, UNKNOWN_VELOCITY = 1.0, 6.3  # [rad or m], [rad/s or m/s] of joints without limits


class PublisherConflict:
    """Finds joints that jump forth and back faster than they can move: nobody's gripper closes in 5 ms and opens again.

    Args:
        names: Names of the n joints.
        ranges: Range of each joint [rad or m]; 0 if it is unknown.
        velocities: Largest velocity of each joint [rad/s or m/s]; 0 if it is unknown, infinity to look at reversals only.
    """

    def __init__(self, names: Sequence[str], ranges: Sequence[float], velocities: Sequence[float]) -> None:
        self.names = tuple(names)
        self._ranges = np.array([of or UNKNOWN_RANGE for of in ranges])
        self._velocities = np.array([of or UNKNOWN_VELOCITY for of in velocities])
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        n = len(self.names)
        self._indices: dict[tuple[int, ...], np.ndarray] = {}
        self._stamps, self._values, self._signs = np.full(n, -np.inf), np.full(n, np.nan), np.zeros(n, int)
        self._reversals: deque[tuple[float, int, float, float]] = deque()  # stamp, joint, values before and after

    def push(self, stamp: float, found: Selection) -> str:
        """Add measured joints; returns what is wrong, or an empty text. Messages need not be in the order of their stamps."""
        joints = self._indices.get(found.joints)
        if joints is None:
            joints = self._indices[found.joints] = np.array(found.joints)
        since = stamp - self._stamps[joints]
        if since.min() < -WINDOW:  # the clock was set back
            self.clear()
        change = found.values - self._values[joints]
        self._stamps[joints], self._values[joints] = stamp, found.values
        if (np.abs(change) > JUMP * self._ranges[joints]).any():
            self._add_jumps(stamp, joints, change, since)
        return self.text(stamp) if self._reversals else ""

    def _add_jumps(self, stamp: float, joints: np.ndarray, change: np.ndarray, since: np.ndarray) -> None:
        allowed = JUMP * self._ranges[joints] + self._velocities[joints] * np.abs(since)
        for k in np.flatnonzero(np.abs(change) > allowed):
            joint, sign = int(joints[k]), 1 if change[k] > 0 else -1
            if self._signs[joint] == -sign:
                now = float(self._values[joint])
                self._reversals.append((stamp, joint, now - float(change[k]), now))
            self._signs[joint] = sign

    def text(self, now: float) -> str:
        """The conflict within the last 2 s in words; empty without one."""
        while self._reversals and self._reversals[0][0] < now - WINDOW:
            self._reversals.popleft()
        counts: dict[int, int] = {}
        for _, joint, before, after in self._reversals:
            counts[joint] = counts.get(joint, 0) + 1
            if counts[joint] >= MIN_REVERSALS:
                return f"{CONFLICT}: {self.names[joint]} alternates between {before:.4g} and {after:.4g}"
        return ""


class PoseConflict(PublisherConflict):
    """As PublisherConflict, of poses, see :func:`whole_pose`. The sign of the quaternion does not count."""

    def __init__(self) -> None:
        super().__init__(tuple(POSE), *zip(*POSE.values()))

    def push(self, stamp: float, found: Selection) -> str:
        values = np.array(found.values)
        if values[3:] @ self._values[3:] < 0:
            values[3:] *= -1
        return super().push(stamp, Selection(found.joints, values))


def whole_pose(pose: np.ndarray) -> Selection:
    """A pose (7,), x y z [m], qx qy qz qw, as :class:`PoseConflict` takes it."""
    return Selection(tuple(range(len(POSE))), pose)


class SortedConflict:
    """A PublisherConflict of messages that overtake each other on their way: they are sorted by the time of sending.

    Args:
        conflict: Receives the messages in order.
        window: Longest delay between two messages that are sorted [s].
    """

    def __init__(self, conflict: PublisherConflict, window: float) -> None:
        self._conflict, self._window = conflict, window
        self._waiting: list[tuple[float, int, Selection]] = []
        self._count = 0

    def push(self, sent: float, found: Selection) -> Iterator[tuple[float, str]]:
        """Add joints that were sent at a time [s]; yields the time and the text of each conflict that is known by now."""
        heapq.heappush(self._waiting, (sent, self._count, found))
        self._count += 1
        return self._settle(sent - self._window)

    def finish(self) -> Iterator[tuple[float, str]]:
        """Yield the remaining conflicts at the end of the messages."""
        return self._settle(math.inf)

    def _settle(self, until: float) -> Iterator[tuple[float, str]]:
        while self._waiting and self._waiting[0][0] <= until:
            sent, _, found = heapq.heappop(self._waiting)
            if text := self._conflict.push(sent, found):
                yield sent, text
