"""One robot at its table, simulated: commands in, measurements and images out, and whether the task is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.control.arm_description import grasp_point
from latent_policy_ros.control.arm_kinematics import ArmKinematics, pose_to_se3
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.sim import scene
from latent_policy_ros.sim.render import SceneRenderer, mujoco

IMAGE_SIZE = 96  # pixels, square
PHYSICS_STEPS = 5  # per update of the servos' targets: 10 ms
HOME_PINCH = np.array([0.46, 0.0, 0.22])  # where a person's pinch would be at the start [m]
HOME_OFFSET = 0.03  # m, each axis, at random: demonstrations then begin all over this cube
SETTLED = 0.05  # m/s: slower than this, the cube rests
TASK = "pick up the red cube and put it into the blue box"


@dataclass(frozen=True)
class Layout:
    """Where an episode begins: cube (x, y, yaw) and box (x, y) on the table, and the robot's seven joints."""

    cube: np.ndarray
    box: np.ndarray
    arm: np.ndarray


class World:
    """A Panda with an end-effector, a cube and a box. The same seed and the same calls give the same motion.

    Args:
        embodiment: Name of an embodiment with joints (or the Embodiment).
        cameras: Names of the cameras to offer; by default all that such a robot has.
        image_size: Width and height of images [pixels].

    Attributes:
        cameras: Names that :meth:`render` takes.
        time: Simulated time since reset [s].
    """

    def __init__(self, embodiment: str | Embodiment, cameras: tuple[str, ...] | None = None, image_size: int = IMAGE_SIZE) -> None:
        e = self.embodiment = embodiment if isinstance(embodiment, Embodiment) else load_embodiment(embodiment)
        if not e.hinges:
            raise LatentPolicyError(f"embodiment {e.name!r} (of kind {e.kind}) has no joints to simulate")
        self.arm = ArmKinematics(e)
        self.model = scene.scene_model(e, self.arm.T_flange_hand.homogeneous)
        self.data = mujoco.MjData(self.model)
        offered = scene.scene_cameras(e)
        self.cameras = offered if cameras is None else tuple(cameras)
        for camera in self.cameras:
            if camera not in offered:
                raise LatentPolicyError(f"camera {camera!r}: {e.name} has none of that name; {available(offered)}")
        self.image_size = image_size
        self._renderer: SceneRenderer | None = None
        self._arm = _Joints(self.model, self.arm.joint_names, self.arm.max_velocity)
        self._hand = _Joints(self.model, e.joint_names, e.max_velocity)
        self._hinges = _Joints(self.model, e.hinge_names, None)
        self._cube, self._box = self.model.body("cube").id, self.model.body("box").id
        names = [self.model.body(body).name for body in self.model.geom_bodyid]
        self._robot_geoms = np.array([n.startswith("robot/") for n in names])
        self._cube_geom = self.model.geom("cube").id
        self.time, self.layout = 0.0, None
        self.reset(0)

    def reset(self, seed: int) -> Layout:
        """Start an episode: cube, box and start pose are drawn from ``seed``; everything stands still."""
        rng = np.random.default_rng(seed)
        cube = np.array([rng.uniform(*scene.CUBE_X), rng.uniform(*scene.CUBE_Y), rng.uniform(-1, 1) * scene.CUBE_YAW])
        box = np.array([rng.uniform(*scene.BOX_X), rng.uniform(*scene.BOX_Y)])
        self.layout = Layout(cube, box, self._start(rng.uniform(-HOME_OFFSET, HOME_OFFSET, 3)))
        mujoco.mj_resetData(self.model, self.data)
        self.time = 0.0
        start = self.model.jnt_qposadr[self.model.joint("cube").id]
        half = cube[2] / 2
        self.data.qpos[start : start + 7] = [cube[0], cube[1], scene.CUBE / 2, np.cos(half), 0, 0, np.sin(half)]
        self.data.mocap_pos[0] = [*box, 0.0]
        self._arm.place(self.data, self.layout.arm)
        self._hinges.place(self.data, self.embodiment.coupling @ self.embodiment.rest)
        self._hand.place(self.data, self.embodiment.rest)
        mujoco.mj_forward(self.model, self.data)
        return self.layout

    def _start(self, offset: np.ndarray) -> np.ndarray:
        pose = self.arm.fk(self.arm.home)
        pose[:3] = HOME_PINCH + offset - pose_to_se3(pose).rotation @ grasp_point(self.embodiment)
        return self.arm.ik(pose, self.arm.home)

    def set_arm_target(self, q: np.ndarray) -> np.ndarray:
        """Send the arm's joints to ``q`` (7,) [rad]; returns what was set after limits. The servos go there at no more
        than the joints' velocity limits."""
        return self._arm.aim(q)

    def set_hand_target(self, q: np.ndarray) -> np.ndarray:
        """Send the end-effector's joints to ``q`` (n,); returns what was set after limits."""
        return self._hand.aim(q)

    def step(self, duration: float) -> None:
        """Advance by ``duration`` [s] (what is less than a physics step is carried over to the next call)."""
        self.time += duration
        while (left := round((self.time - self.data.time) / scene.TIMESTEP)) > 0:
            steps = min(PHYSICS_STEPS, left)
            self._arm.drive(self.data, steps * scene.TIMESTEP)
            self._hand.drive(self.data, steps * scene.TIMESTEP)
            mujoco.mj_step(self.model, self.data, steps)

    @property
    def arm_q(self) -> np.ndarray:
        """Measured joints of the arm (7,) [rad]."""
        return self.data.qpos[self._arm.position]

    @property
    def arm_target(self) -> np.ndarray:
        """Where the arm was sent last (7,) [rad]."""
        return self._arm.target.copy()

    @property
    def arm_velocity(self) -> np.ndarray:
        """Measured velocities of the arm (7,) [rad/s]."""
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
        """Measured pose (7,) of the hand frame in the base frame, by the arm's kinematics, as on the real robot."""
        return self.arm.fk(self.arm_q)

    @property
    def cube_pose(self) -> np.ndarray:
        """Pose (7,) of the cube's centre: x y z [m], qx qy qz qw."""
        return self._pose(self._cube)

    @property
    def box_pose(self) -> np.ndarray:
        """Pose (7,) of the box: the centre of its underside."""
        return self._pose(self._box)

    def _pose(self, body: int) -> np.ndarray:
        return np.concatenate([self.data.xpos[body], np.roll(self.data.xquat[body], -1)])

    def render(self, camera: str, size: int | None = None) -> np.ndarray:
        """What `camera` sees now: RGB (size, size, 3) uint8, by default of image_size.

        Raises:
            LatentPolicyError: This robot has no such camera, or (HardwareError) this machine no OpenGL.
        """
        if camera not in self.cameras:
            raise LatentPolicyError(f"camera {camera!r}: {self.embodiment.name} has none of that name; {available(self.cameras)}")
        if self._renderer is None:
            self._renderer = SceneRenderer(self.model)
        size = size or self.image_size
        return self._renderer.image(self.data, scene.CAMERAS[camera], size, size)

    def success(self) -> bool:
        """Whether the cube rests inside the box, let go of by the robot."""
        offset = self.data.xpos[self._cube] - self.data.xpos[self._box]
        inside = np.abs(offset[:2]).max() < scene.BOX_INNER / 2 and offset[2] < scene.BOX_HEIGHT
        start = self.model.jnt_dofadr[self.model.joint("cube").id]
        return bool(inside and np.linalg.norm(self.data.qvel[start : start + 3]) < SETTLED and not self.touching())

    def touching(self) -> bool:
        """Whether any part of the robot touches the cube."""
        pairs = self.data.contact.geom[: self.data.ncon]
        with_cube = pairs[(pairs == self._cube_geom).any(axis=1)]
        return bool(self._robot_geoms[with_cube].any())


class _Joints:
    """Some joints of the model by name, their servos, and where these are told to go."""

    def __init__(self, model: mujoco.MjModel, names: tuple[str, ...], max_velocity: np.ndarray | None) -> None:
        ids = [model.joint(f"robot/{name}").id for name in names]
        self.names = names
        self.position, self.velocity = model.jnt_qposadr[ids], model.jnt_dofadr[ids]
        self.max_velocity = max_velocity
        if max_velocity is not None:
            self.servo = np.array([model.actuator(f"robot/{name}").id for name in names])
            self.lower, self.upper = model.actuator_ctrlrange[self.servo].T
            self.target = np.zeros(len(names))

    def place(self, data: mujoco.MjData, q: np.ndarray) -> None:
        """Put the joints at ``q`` at once, and tell their servos to stay there."""
        data.qpos[self.position] = q
        if self.max_velocity is not None:
            self.target = np.clip(q, self.lower, self.upper)
            data.ctrl[self.servo] = self.target

    def aim(self, q: np.ndarray) -> np.ndarray:
        q = np.asarray(q, float)
        if q.shape != self.target.shape or not np.isfinite(q).all():
            raise LatentPolicyError(f"target: expected {len(self.names)} finite numbers for {', '.join(self.names)}, got {q}")
        self.target = np.clip(q, self.lower, self.upper)
        return self.target.copy()

    def drive(self, data: mujoco.MjData, seconds: float) -> None:
        """Move the servos' set points towards the target, at the velocity limit."""
        reach, now = self.max_velocity * seconds, data.ctrl[self.servo]
        data.ctrl[self.servo] = np.clip(self.target, now - reach, now + reach)
