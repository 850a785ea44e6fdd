"""Joints are matched by name, in every single message: a robot may change its order, and some do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused


class JointMatcher:
    """Picks the wanted joints out of messages.

    Args:
        wanted: The n joints, in the order in which they are handed out.
        what: What the messages are, for errors.
    """

    def __init__(self, wanted: Sequence[str], what: str = "joint_states") -> None:
        self.wanted, self.what = tuple(wanted), what
        self._wanted = frozenset(self.wanted)
        self._names: tuple[str, ...] = ()
        self._columns: list[int] = []

    def concerns(self, names: Sequence[str]) -> bool:
        """Whether any of our joints is among ``names``."""
        return not self._wanted.isdisjoint(names)

    def match(self, names: Sequence[str], positions: Sequence[float]) -> np.ndarray | None:
        """The wanted positions (n,), in any order given; None if the message has none of our joints (it is another's).

        Raises:
            ObservationRefused: Some of our joints are missing, named twice, or not finite.
        """
        if len(positions) != len(names):
            if not self.concerns(names):
                return None
            raise ObservationRefused(f"{self.what} has {len(names)} names and {len(positions)} positions")
        if tuple(names) != self._names:
            if not self.concerns(names):
                return None
            self._learn(tuple(names))
        values = np.asarray(positions, dtype=np.float64)[self._columns]
        if not np.isfinite(values).all():
            raise ObservationRefused(f"{self.what} is not finite")
        return values

    def _learn(self, names: tuple[str, ...]) -> None:
        missing = [name for name in self.wanted if name not in names]
        if missing:
            raise ObservationRefused(f"{self.what} without {', '.join(missing)}")
        if len([name for name in names if name in self._wanted]) != len(self.wanted):
            raise ObservationRefused(f"{self.what} names a joint twice")
        self._names, self._columns = names, [names.index(name) for name in self.wanted]
