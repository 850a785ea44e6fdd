"""JointMatcher: selection of joints from messages by name. Names are matched in every message, because their order may change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latent_policy_ros.common.errors import NotFinite, ObservationRefused


class JointMatcher:
    """Selects joints from messages.

    Args:
        wanted: Names of the n joints, in the order of returned values.
        what: Name of the messages in errors.
    """

    def __init__(self, wanted: Sequence[str], what: str = "joint_states") -> None:
        self.wanted, self.what = tuple(wanted), what
        self._wanted = frozenset(self.wanted)
        self._names: tuple[str, ...] = ()
        self._columns: list[int] = []

    def concerns(self, names: Sequence[str]) -> bool:
        """Whether at least one wanted joint is among ``names``."""
        return not self._wanted.isdisjoint(names)

    def match(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> np.ndarray | None:
        """Select the positions of the wanted joints.

        Returns:
            (n,) in the order of ``wanted``; None for a message without any wanted joint, e.g. of another device.

        Raises:
            ObservationRefused: Joints are missing, named twice, or not finite, or there are more or fewer positions than names.
        """
        if len(positions) != len(names):
            if not self.concerns(names):
                return None
            raise ObservationRefused(f"{self.what} has {len(names)} names and {len(positions)} positions")
        if tuple(names) != self._names:
            if not self.concerns(names):
                return None
            self._set_columns(tuple(names))
        values = np.asarray(positions, dtype=np.float64)[self._columns]
        if not np.isfinite(values).all():
            raise NotFinite(f"{self.what} is not finite")
        return values

    def _set_columns(self, names: tuple[str, ...]) -> None:
        missing = [name for name in self.wanted if name not in names]
        if missing:
            raise ObservationRefused(f"{self.what} without {', '.join(missing)}")
        if len([name for name in names if name in self._wanted]) != len(self.wanted):
            raise ObservationRefused(f"{self.what} names a joint twice")
        self._names, self._columns = names, [names.index(name) for name in self.wanted]
