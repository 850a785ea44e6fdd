"""TransformChain: the pose of one tf frame in another, composed from the messages of /tf and /tf_static."""

from __future__ import annotations

from typing import Any

import numpy as np

from latent_policy_ros.common.transformations import quaternion_conjugate, quaternion_matrix, quaternion_multiply
from latent_policy_ros.observations.messages import to_seconds, transform_array


class TransformChain:
    """Composes the newest transforms between two frames.

    Args:
        parent: Frame in which the pose is given, e.g. ``base``.
        child: Frame whose pose is given, e.g. ``tool0``.
    """

    def __init__(self, parent: str, child: str) -> None:
        self.parent, self.child = parent.lstrip("/"), child.lstrip("/")
        self._above: dict[str, tuple[str, np.ndarray, float]] = {}  # frame: its parent, pose in it, stamp (-inf: static)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of all frames seen so far."""
        return tuple(sorted({*self._above, *(parent for parent, _, _ in self._above.values())}))

    @property
    def connected(self) -> bool:
        """Whether transforms lead from one frame to the other."""
        return not set(self._to_root(self.child)).isdisjoint(self._to_root(self.parent))

    def push(self, message: Any, static: bool = False) -> tuple[float, np.ndarray] | None:
        """Add a tf2_msgs/TFMessage.

        Returns:
            Stamp [s] and pose (7,): x y z [m], qx qy qz qw; None if the frames are not connected, or no transform of the
            message is between them.
        """
        changed = set()
        for transform in message.transforms:
            child = transform.child_frame_id.lstrip("/")
            stamp = -np.inf if static else to_seconds(transform.header.stamp)
            self._above[child] = transform.header.frame_id.lstrip("/"), transform_array(transform.transform), stamp
            changed.add(child)
        up, down = self._to_root(self.child), self._to_root(self.parent)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            return None
        links = up[: up.index(common)], down[: down.index(common)]
        stamps = [self._above[frame][2] for frame in (*links[0], *links[1])]
        moving = [stamp for stamp in stamps if np.isfinite(stamp)]
        if not moving or changed.isdisjoint((*links[0], *links[1])):
            return None
        pose = compose(_inverse(self._pose_of(links[1])), self._pose_of(links[0]))
        return max(moving), pose

    def _to_root(self, frame: str) -> list[str]:
        """The frame and all frames above it."""
        path = [frame]
        while path[-1] in self._above and self._above[path[-1]][0] not in path:
            path.append(self._above[path[-1]][0])
        return path

    def _pose_of(self, links: list[str]) -> np.ndarray:
        """Pose of the first frame of a path in the frame above the last one."""
        pose = np.array([0.0, 0, 0, 0, 0, 0, 1])
        for frame in links:
            pose = compose(self._above[frame][1], pose)
        return pose


def compose(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The pose (7,) ``one * other``: ``other`` is given in the frame whose pose is ``one``."""
    return np.concatenate([one[:3] + _rotate(one[3:], other[:3]), quaternion_multiply(one[3:], other[3:])])


def _rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return quaternion_matrix(quaternion)[:3, :3] @ vector


def _inverse(pose: np.ndarray) -> np.ndarray:
    back = np.asarray(quaternion_conjugate(pose[3:]))
    return np.concatenate([-_rotate(back, pose[:3]), back])
