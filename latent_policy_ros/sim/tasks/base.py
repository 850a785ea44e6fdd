"""Interface of a simulated task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import mujoco
    import numpy as np

    from latent_policy_ros.sim.simulation import Simulation
    from latent_policy_ros.sim.tasks.motion import Plan


class Task(ABC):
    """A manipulation task: its objects, their initial state, a success criterion and a scripted expert.

    A task has no state of its own: all state is in the simulation that every method receives.

    Attributes:
        name: Name under which the task is registered, e.g. ``cube_in_box``.
        text: Instruction in words, stored with demonstrations and shown to language-conditioned policies.
        hold_time: Time for which :meth:`success` must be true without interruption before the task counts as done [s].
    """

    name: ClassVar[str]
    text: ClassVar[str]
    hold_time: ClassVar[float] = 0.0

    @abstractmethod
    def furnish(self, spec: mujoco.MjSpec) -> None:
        """Add the task's bodies to a scene that has a table and lights. The world frame is the arm's base frame."""

    @abstractmethod
    def reset(self, sim: Simulation, rng: np.random.Generator) -> None:
        """Place the objects for a new episode. All randomness comes from ``rng``, so that a seed determines the scene."""

    @abstractmethod
    def success(self, sim: Simulation) -> bool:
        """Return whether the goal is met in the current state."""

    @abstractmethod
    def expert(self, sim: Simulation) -> Plan:
        """Plan a solution of the episode to which ``sim`` was just reset."""
