"""Simulated robot at a table with the objects of a task."""

from __future__ import annotations

import mujoco
import numpy as np
import pinocchio as pin

from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.control.arm_description import PANDA, Arm, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics, pose_to_se3, se3_to_pose
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.sim.appearance import randomise_appearance
from latent_policy_ros.sim.scene import scene_model
from latent_policy_ros.sim.simulation import CAMERAS, Simulation
from latent_policy_ros.sim.start import OFFSET, PINCH, grasp_frame, start_posture, start_rotation
from latent_policy_ros.sim.tasks.base import Task
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, load_task

IMAGE_SIZE = 96  # pixels, square
APPEARANCE_STREAM = 6007  # first entry of the appearance's random seed, which keeps it independent of the scene


class World(Simulation):
    """A simulation of one task. Equal seeds and calls give equal motions.

    Args:
        embodiment: Name of an embodiment with joints, or the embodiment.
        task: Name of a registered task, or the task.
        arm: Name of an arm, path of its YAML file, or the arm.
        cameras: Names of the cameras that are rendered; by default all.
        image_size: Width and height of images [pixels].

    Attributes:
        task: The task.

    Raises:
        LatentPolicyError: Unknown task or camera, or the embodiment or arm cannot be simulated.
    """

    def __init__(
        self,
        embodiment: str | Embodiment,
        task: str | Task = DEFAULT_TASK,
        arm: str | Arm = PANDA,
        *,
        cameras: tuple[str, ...] | None = None,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        e = embodiment if isinstance(embodiment, Embodiment) else load_embodiment(embodiment)
        if not e.hinges:
            raise LatentPolicyError(f"embodiment {e.name!r} (kind {e.kind}) cannot be simulated: it has no joints")
        self.task = task if isinstance(task, Task) else load_task(task)
        description = arm if isinstance(arm, Arm) else load_arm(arm)
        cameras = tuple(CAMERAS if cameras is None else cameras)
        if unknown := [camera for camera in cameras if camera not in CAMERAS]:
            raise LatentPolicyError(f"{e.name} has no camera {unknown[0]!r}; {available(CAMERAS)}")
        super().__init__(scene_model(e, description, self.task), e, ArmKinematics(e, description), cameras, image_size)
        self._goal_met_since: float | None = None
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start an episode at rest. Objects, initial pose of the robot and appearance are drawn from ``seed``."""
        rng = np.random.default_rng(seed)
        mujoco.mj_resetData(self.model, self.data)
        self.time, self._goal_met_since = 0.0, None
        self.task.reset(self, rng)
        hand_q = start_posture(self.embodiment, rng)
        self.place_robot(self._initial_arm_joints(hand_q, rng), hand_q)
        randomise_appearance(self.model, self.nominal, np.random.default_rng([APPEARANCE_STREAM, seed]))
        mujoco.mj_forward(self.model, self.data)

    def success(self) -> bool:
        """Whether the task is done: its goal is met, and has been for its ``hold_time``."""
        if self.task.hold_time <= 0.0:
            return self.task.success(self)
        return self._goal_met_since is not None and self.data.time - self._goal_met_since >= self.task.hold_time

    def _advance(self, steps: int) -> None:
        super()._advance(steps)
        if self.task.hold_time > 0.0:
            if not self.task.success(self):
                self._goal_met_since = None
            elif self._goal_met_since is None:
                self._goal_met_since = self.data.time

    def _initial_arm_joints(self, hand_q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Arm joints (n,) with the pinch point of ``hand_q`` near :data:`PINCH` and the approach axis down."""
        frame = grasp_frame(self.embodiment)
        position = PINCH + rng.uniform(-OFFSET, OFFSET, 3)
        rotation = start_rotation(frame, pose_to_se3(self.arm.fk(self.arm.home)).rotation, rng)
        pinch_point, _ = frame.measure(hand_q)
        return self.arm.ik(se3_to_pose(pin.SE3(rotation, position - rotation @ pinch_point)), self.arm.home)
