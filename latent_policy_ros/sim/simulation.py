"""State and control of a simulated robot and the bodies around it."""

from __future__ import annotations

import copy

import mujoco
import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.transformations import quaternion_from_matrix, quaternion_matrix
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.drivers.cameras.camera_calibration import CameraCalibration
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.sim.render import SceneRenderer

SERVO_STEPS = 5  # physics steps between two updates of the servos' set points: 10 ms
CAMERAS = {"front": "front", "wrist": "robot/wrist"}  # name of a camera -> its name in the MuJoCo model

_TO_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])  # MuJoCo's cameras look along -z, with +y up in the image


class Simulation:
    """A simulated robot: joint targets in, measurements and images out.

    Args:
        model: Scene with the robot, whose bodies, joints and actuators have the prefix ``robot/``.
        embodiment: End-effector of the robot.
        arm: Kinematics of the arm with this end-effector.
        cameras: Names of the cameras that are rendered.
        image_size: Width and height of images [pixels].

    Attributes:
        nominal: The model as given, which may be shared with other simulations.
        model: A copy of it, with an appearance of its own.
        embodiment, arm, cameras, image_size: The arguments.
        data: State of the simulation.
        time: Simulated time since the last reset [s].
    """

    def __init__(
        self, model: mujoco.MjModel, embodiment: Embodiment, arm: ArmKinematics, cameras: tuple[str, ...], image_size: int
    ) -> None:
        self.nominal, self.model, self.embodiment, self.arm = model, copy.copy(model), embodiment, arm
        self.cameras, self.image_size = cameras, image_size
        self.data = mujoco.MjData(self.model)
        self.time = 0.0
        self._renderer: SceneRenderer | None = None
        self._arm = _Servos(model, arm.joint_names, arm.max_velocity)
        self._hand = _Servos(model, embodiment.joint_names, embodiment.max_velocity)
        self._hinges = model.jnt_qposadr[[model.joint(f"robot/{name}").id for name in embodiment.hinge_names]]
        bodies = [model.body(body).name for body in model.geom_bodyid]
        self._is_robot = np.array([name.startswith("robot/") for name in bodies])

    def place_robot(self, arm_q: np.ndarray, hand_q: np.ndarray) -> None:
        """Set the joints of arm (n,) and end-effector (n,), and make them the targets."""
        self._arm.set_position(self.data, arm_q)
        self.data.qpos[self._hinges] = self.embodiment.coupling @ hand_q
        self._hand.set_position(self.data, hand_q)

    def set_arm_target(self, q: np.ndarray) -> np.ndarray:
        """Set the target (n,) [rad or m] of the arm's servos, which approach it within the joints' velocity limits.

        Returns:
            The target after clipping to the joint limits.

        Raises:
            LatentPolicyError: Wrong shape or not finite.
        """
        return self._arm.set_target(q)

    def set_hand_target(self, q: np.ndarray) -> np.ndarray:
        """Set the target (n,) of the end-effector's servos, as :meth:`set_arm_target` does for the arm."""
        return self._hand.set_target(q)

    def step(self, duration: float) -> None:
        """Advance by ``duration`` [s]. A remainder shorter than a physics step is carried over to the next call."""
        self.time += duration
        while (left := round((self.time - self.data.time) / self.model.opt.timestep)) > 0:
            self._advance(min(SERVO_STEPS, left))

    def _advance(self, steps: int) -> None:
        """Update the servos' set points and advance by some physics steps."""
        for servos in (self._arm, self._hand):
            servos.advance(self.data, steps * self.model.opt.timestep)
        mujoco.mj_step(self.model, self.data, steps)

    @property
    def arm_q(self) -> np.ndarray:
        """Measured joints of the arm (n,) [rad or m]."""
        return self.data.qpos[self._arm.position]

    @property
    def arm_target(self) -> np.ndarray:
        """Target of the arm's servos (n,) [rad or m]."""
        return self._arm.target.copy()

    @property
    def arm_velocity(self) -> np.ndarray:
        """Measured velocities of the arm (n,) [rad/s or m/s]."""
        return self.data.qvel[self._arm.velocity]

    @property
    def hand_q(self) -> np.ndarray:
        """Measured actuated joints of the end-effector (n,)."""
        return self.data.qpos[self._hand.position]

    @property
    def hand_velocity(self) -> np.ndarray:
        """Measured velocities of the end-effector's actuated joints (n,)."""
        return self.data.qvel[self._hand.velocity]

    @property
    def wrist_pose(self) -> np.ndarray:
        """Pose (7,) of the hand frame in the base frame: forward kinematics of the measured joints, as on a real robot."""
        return self.arm.fk(self.arm_q)

    def body_pose(self, name: str) -> np.ndarray:
        """Pose (7,) of a body in the world frame: x y z [m], qx qy qz qw.

        Raises:
            KeyError: The scene has no such body.
        """
        body = self.data.body(name)
        return np.concatenate([body.xpos, np.roll(body.xquat, -1)])

    def body_speed(self, name: str) -> float:
        """Linear speed of a free body [m/s]."""
        start = self.model.body(name).dofadr[0]
        return float(np.linalg.norm(self.data.qvel[start : start + 3]))

    def place_body(self, name: str, pose: np.ndarray) -> None:
        """Place a free body or a mocap body at ``pose`` (7,), for :meth:`Task.reset`; its velocity is left as it is.

        Raises:
            LatentPolicyError: The body has neither a free joint nor mocap.
        """
        body, position, quaternion = self.model.body(name), pose[:3], np.roll(pose[3:], 1)
        if body.mocapid[0] >= 0:
            self.data.mocap_pos[body.mocapid[0]], self.data.mocap_quat[body.mocapid[0]] = position, quaternion
        elif body.jntnum[0] == 1 and self.model.jnt_type[body.jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE:
            start = self.model.jnt_qposadr[body.jntadr[0]]
            self.data.qpos[start : start + 7] = [*position, *quaternion]
        else:
            raise LatentPolicyError(f"body {name!r} cannot be placed: expected a free joint or mocap=True")

    def robot_touches(self, name: str) -> bool:
        """Whether any part of the robot is in contact with the body ``name``."""
        pairs = self.data.contact.geom[: self.data.ncon]
        with_body = pairs[(self.model.geom_bodyid[pairs] == self.model.body(name).id).any(axis=1)]
        return bool(self._is_robot[with_body].any())

    def render(self, camera: str, size: int | None = None) -> np.ndarray:
        """Return the current image of ``camera``: RGB (size, size, 3) uint8, by default of ``image_size``.

        Raises:
            LatentPolicyError: The robot has no such camera.
            HardwareError: OpenGL is not available.
        """
        if camera not in self.cameras:
            raise LatentPolicyError(f"{self.embodiment.name} has no camera {camera!r}; {available(self.cameras)}")
        if self._renderer is None:
            self._renderer = SceneRenderer(self.model, self.nominal)
        size = size or self.image_size
        return self._renderer.image(self.data, CAMERAS[camera], size, size)

    def calibration(self, camera: str, size: int | None = None) -> CameraCalibration:
        """Intrinsics of ``camera`` for images of :meth:`render`, in the current appearance."""
        size, fov = size or self.image_size, self.model.cam_fovy[self.model.camera(CAMERAS[camera]).id]
        return CameraCalibration.pinhole(size, size, np.radians(fov))

    def camera_pose(self, camera: str) -> tuple[str, np.ndarray]:
        """Link of the arm that carries ``camera``, and the pose (7,) of its optical frame in that link, in the current appearance.

        The optical frame has z forward, x right and y down in the image.
        """
        found, model = self.model.camera(CAMERAS[camera]).id, self.model
        body = model.cam_bodyid[found]
        T = _transform(model.cam_pos[found], model.cam_quat[found]) @ _TO_OPTICAL
        if body == 0:  # the world frame is that of the arm's base
            link = self.arm.base
        else:
            T = _transform(model.body_pos[body], model.body_quat[body]) @ T
            link = model.body(model.body_parentid[body]).name.removeprefix("robot/")
        return link, np.concatenate([T[:3, 3], quaternion_from_matrix(T)])


def _transform(position: np.ndarray, wxyz: np.ndarray) -> np.ndarray:
    """The transform (4, 4) of a position [m] and a quaternion in MuJoCo's order."""
    T = quaternion_matrix(np.roll(wxyz, -1))
    T[:3, 3] = position
    return T


class _Servos:
    """Position servos of some joints, with their targets and velocity limits."""

    def __init__(self, model: mujoco.MjModel, names: tuple[str, ...], max_velocity: np.ndarray) -> None:
        ids = [model.joint(f"robot/{name}").id for name in names]
        self.names, self.max_velocity = names, max_velocity
        self.position, self.velocity = model.jnt_qposadr[ids], model.jnt_dofadr[ids]
        self.actuators = np.array([model.actuator(f"robot/{name}").id for name in names])
        self.lower, self.upper = model.actuator_ctrlrange[self.actuators].T
        self.target = np.zeros(len(names))

    def set_position(self, data: mujoco.MjData, q: np.ndarray) -> None:
        """Set the joints to ``q`` and make it the target."""
        data.qpos[self.position] = q
        self.target = np.clip(q, self.lower, self.upper)
        data.ctrl[self.actuators] = self.target

    def set_target(self, q: np.ndarray) -> np.ndarray:
        q = np.asarray(q, float)
        if q.shape != self.target.shape or not np.isfinite(q).all():
            raise LatentPolicyError(f"target: expected {len(self.names)} finite numbers for {', '.join(self.names)}, got {q}")
        self.target = np.clip(q, self.lower, self.upper)
        return self.target.copy()

    def advance(self, data: mujoco.MjData, duration: float) -> None:
        """Move the set points towards the target, by at most what the velocity limits allow in ``duration`` [s]."""
        limit, current = self.max_velocity * duration, data.ctrl[self.actuators]
        data.ctrl[self.actuators] = np.clip(self.target, current - limit, current + limit)
