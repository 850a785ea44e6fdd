"""TransformChain: the pose of one tf frame in another, composed from the messages of /tf and /tf_static."""

from __future__ import annotations

from typing import Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.common.transformations import quaternion_conjugate, quaternion_matrix, quaternion_multiply
from latent_policy_ros.observations.messages import to_seconds, transform_array
from latent_policy_ros.observations.observation import normalize_pose
from latent_policy_ros.observations.streams import Stream

HISTORY = 2.0  # [s] of moving transforms that are kept, for those that arrive later
MAX_GAP = 0.5  # [s] between two messages of a moving transform that are interpolated, by default
ROUNDING = 1e-6  # [s] of differences between stamps


class TransformChain:
    """Composes the transforms between two frames at the stamps of the moving ones, as soon as all are known at that time.

    A moving transform is interpolated between its messages, and not extrapolated: the latest pose is that of the latest time
    that all moving transforms have in common.

    Args:
        parent: Frame in which the pose is given, e.g. ``base``.
        child: Frame whose pose is given, e.g. ``tool0``.
        max_gap: Longest time between two messages that are interpolated [s]. There is no pose within a longer gap, unless the
            transform is the same before and after it.
    """

    def __init__(self, parent: str, child: str, max_gap: float = MAX_GAP) -> None:
        self.parent, self.child = parent.lstrip("/"), child.lstrip("/")
        self._max_gap, self._keep = max_gap, max(HISTORY, 2 * max_gap)
        self._above: dict[str, str] = {}  # frame: its parent
        self._static: dict[str, np.ndarray] = {}  # frame: its pose in its parent
        self._moving: dict[str, Stream[np.ndarray]] = {}
        self._parents: dict[str, tuple[str, str]] = {}  # frames whose parent changed: the first two parents
        self._pending: set[float] = set()  # stamps at which some transforms are not known yet

    @property
    def known(self) -> tuple[str, ...]:
        """Names of all frames seen so far."""
        return tuple(sorted({*self._above, *self._above.values()}))

    @property
    def connected(self) -> bool:
        """Whether transforms lead from one frame to the other."""
        return self._links() is not None

    @property
    def moves(self) -> bool:
        """Whether a transform between the frames is not static."""
        return any(frame in self._moving for links in self._links() or () for frame in links)

    @property
    def conflict(self) -> str:
        """What is wrong if a frame between the two frames had several parents; empty otherwise."""
        frames = [frame for links in self._links() or () for frame in links if frame in self._parents]
        if not frames:
            return ""
        parents = " and ".join(self._parents[frames[0]])
        return f"frame {frames[0]} has the parents {parents}; expected one publisher of its transform"

    def tree(self, frame: str) -> tuple[str, ...]:
        """Names of the frames that transforms connect with a frame."""
        root = self._to_root(frame)[-1]
        return tuple(name for name in self.known if self._to_root(name)[-1] == root)

    def push(self, message: Any, static: bool = False, at: float | None = None) -> list[tuple[float, np.ndarray]]:
        """Add a tf2_msgs/TFMessage, or a geometry_msgs/TransformStamped.

        Args:
            message: The message.
            static: Whether it is one of ``/tf_static``.
            at: Time [s] that replaces the stamps of its transforms.

        Returns:
            Stamps [s], ascending, and poses (7,) that the message makes known: x y z [m], qx qy qz qw. Empty if the frames are
            not connected, if no transform of the message is between them, and while there is a ``conflict``.

        Raises:
            ObservationRefused: A transform between the frames is not valid; it is left out.
        """
        stamps: dict[str, float] = {}
        refused: dict[str, ObservationRefused] = {}
        for transform in message.transforms if hasattr(message, "transforms") else (message,):
            child, parent = transform.child_frame_id.lstrip("/"), transform.header.frame_id.lstrip("/")
            try:
                pose = normalize_pose(transform_array(transform.transform), f"transform from {parent} to {child}")
            except ObservationRefused as error:
                refused[child] = error
                continue
            self._set_parent(child, parent)
            if static:
                self._static[child] = pose
            else:
                stamps[child] = to_seconds(transform.header.stamp) if at is None else at
                stream = self._moving.setdefault(child, Stream(self._keep))
                stream.push(stamps[child], pose)
            (self._moving if static else self._static).pop(child, None)
        links = self._links()
        frames = [*links[0], *links[1]] if links else []
        for frame in frames:
            if frame in refused:
                raise refused[frame]
        return self._due({stamps[frame] for frame in frames if frame in stamps}) if links and not self.conflict else []

    def _due(self, stamps: set[float]) -> list[tuple[float, np.ndarray]]:
        """The poses that became known, with new stamps of transforms between the frames."""
        up, down = self._links() or ([], [])
        newest = [self._moving[frame].newest or 0.0 for frame in (*up, *down) if frame in self._moving]
        if not newest:
            return []
        self._pending |= stamps
        due = sorted(stamp for stamp in self._pending if stamp <= min(newest))
        self._pending = {stamp for stamp in self._pending if stamp > max(min(newest), max(newest) - self._keep)}
        found = []
        for stamp in due:
            one, other = self._pose_of(down, stamp), self._pose_of(up, stamp)
            if one is not None and other is not None:
                found.append((stamp, compose(_inverse(one), other)))
        return found

    def _set_parent(self, child: str, parent: str) -> None:
        before = self._above.get(child, parent)
        self._above[child] = parent
        if parent != before:
            self._parents.setdefault(child, (before, parent))
            self._static.pop(child, None)
            self._moving.pop(child, None)

    def _links(self) -> tuple[list[str], list[str]] | None:
        """The frames from either end up to the first common one, without it; None if there is none."""
        up, down = self._to_root(self.child), self._to_root(self.parent)
        common = next((frame for frame in up if frame in down), None)
        return None if common is None else (up[: up.index(common)], down[: down.index(common)])

    def _to_root(self, frame: str) -> list[str]:
        """The frame and all frames above it."""
        path = [frame]
        while path[-1] in self._above and self._above[path[-1]] not in path:
            path.append(self._above[path[-1]])
        return path

    def _pose_of(self, links: list[str], stamp: float) -> np.ndarray | None:
        """Pose of the first frame of a path in the frame above the last one; None if it is not known at that time."""
        pose = np.array([0.0, 0, 0, 0, 0, 0, 1])
        for frame in links:
            link = self._moving_pose(self._moving[frame], stamp) if frame in self._moving else self._static[frame]
            if link is None:
                return None
            pose = compose(link, pose)
        return pose

    def _moving_pose(self, stream: Stream[np.ndarray], stamp: float) -> np.ndarray | None:
        before, after = stream.held(stamp), stream.following(stamp)
        if before is None or before[0] == stamp:
            return None if before is None else before[1]
        if after is None:
            return None
        gap = after[0] - before[0]
        if gap > self._max_gap + ROUNDING and not np.array_equal(before[1], after[1]):
            return None
        return _between(before[1], after[1], (stamp - before[0]) / gap)


def compose(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The pose (7,) ``one * other``: ``other`` is given in the frame whose pose is ``one``."""
    return np.concatenate([one[:3] + _rotate(one[3:], other[:3]), quaternion_multiply(one[3:], other[3:])])


def _between(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """The pose (7,) at a share of the way; the quaternion is interpolated linearly, and normalised."""
    sign = np.where(one[3:] @ other[3:] < 0.0, -1.0, 1.0)
    target = np.concatenate((other[:3], sign * other[3:]))
    pose = one + share * (target - one)
    pose[3:] /= np.linalg.norm(pose[3:])
    return pose


def _rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return quaternion_matrix(quaternion)[:3, :3] @ vector


def _inverse(pose: np.ndarray) -> np.ndarray:
    back = np.asarray(quaternion_conjugate(pose[3:]))
    return np.concatenate([-_rotate(back, pose[:3]), back])
