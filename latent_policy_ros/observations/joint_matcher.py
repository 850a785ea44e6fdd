"""JointMatcher: selection of joints from messages by name. Names are matched in every message, because their order may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.common.errors import NotFinite, ObservationRefused


@dataclass(frozen=True)
class Selection:
    """Some of the wanted joints.

    Attributes:
        joints: Their indices among the wanted joints, (k,), ascending.
        values: Their values, (k,).
    """

    joints: tuple[int, ...]
    values: np.ndarray


class JointMatcher:
    """Selects joints from messages.

    Args:
        wanted: Names of the n joints, in the order of returned values.
        what: Name of the messages in errors.
    """

    def __init__(self, wanted: Sequence[str], what: str = "joint_states") -> None:
        self.wanted, self.what = tuple(wanted), what
        self._wanted = frozenset(self.wanted)
        self._known: dict[tuple[str, ...], tuple[tuple[int, ...], list[int]]] = {}  # names: joints, their columns

    def concerns(self, names: Sequence[str]) -> bool:
        """Whether at least one wanted joint is among ``names``."""
        return not self._wanted.isdisjoint(names)

    def select(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> Selection | None:
        """Select the wanted joints of a message, which may hold only some of them.

        Returns:
            The selection; None for a message without any wanted joint, e.g. of another device, and for one that has no
            positions, e.g. velocities only.

        Raises:
            ObservationRefused: Positions without names, more or fewer positions than names, joints that are named twice or
                not finite.
        """
        key = tuple(names)
        if len(positions) != len(key):
            if not len(positions) or (key and not self.concerns(key)):
                return None
            if not key:
                raise ObservationRefused(f"{self.what} has {len(positions)} positions and no names")
            raise ObservationRefused(f"{self.what} has {len(key)} names and {len(positions)} positions")
        if key not in self._known:
            if not self.concerns(key):
                return None
            self._known[key] = self._columns(key)
        joints, columns = self._known[key]
        values = np.asarray(positions, dtype=np.float64)[columns]
        if not np.isfinite(values).all():
            raise NotFinite(f"{self.what} is not finite")
        return Selection(joints, values)

    def match(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> np.ndarray | None:
        """Select the positions of all wanted joints.

        Returns:
            (n,) in the order of ``wanted``; None as of :meth:`select`.

        Raises:
            ObservationRefused: As of :meth:`select`, or joints are missing.
        """
        found = self.select(names, positions)
        if found is None:
            return None
        if len(found.joints) != len(self.wanted):
            missing = [name for name in self.wanted if name not in names]
            raise ObservationRefused(f"{self.what} without {', '.join(missing)}")
        return found.values

    def _columns(self, names: tuple[str, ...]) -> tuple[tuple[int, ...], list[int]]:
        present = [name for name in self.wanted if name in names]
        if len([name for name in names if name in self._wanted]) != len(present):
            raise ObservationRefused(f"{self.what} names a joint twice")
        return tuple(self.wanted.index(name) for name in present), [names.index(name) for name in present]
