"""Joints on a clock that tests control: the world of a simulated rollout, and the drivers of real nodes."""

import numpy as np

from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.drivers.mock import MockDriver
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.policy import ActionChunk


class Clock:
    """A steady clock that moves only when it is told to [s]."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Servos(MockDriver):
    """A mock driver whose measurements are stamped by the same clock that moves it, from ``epoch`` [s] on."""

    def __init__(self, joint_names, start, clock: Clock, epoch: float = 0.0) -> None:
        super().__init__(joint_names, start, clock=clock)
        self._epoch = epoch
        self.connect()

    def read(self) -> JointReading:
        reading = super().read()
        return JointReading(self._epoch + self._clock(), reading.position, reading.velocity)


class ServoWorld:
    """What a rollout needs of a simulated robot, with servos for physics."""

    def __init__(self, embodiment: str) -> None:
        self.embodiment = e = load_embodiment(embodiment)
        self.arm, self.clock = ArmKinematics(e), Clock()
        self._hand = Servos(e.joint_names, e.rest, self.clock)
        self._arm = Servos(self.arm.joint_names, self.arm.home, self.clock)
        self.set_hand_target, self.set_arm_target = self._hand.write, self._arm.write

    @property
    def hand_q(self) -> np.ndarray:
        return self._hand.read().position

    @property
    def arm_q(self) -> np.ndarray:
        return self._arm.read().position

    def step(self, duration: float) -> None:
        self.clock.now += duration


def action_chunks(space, embodiment: str, epoch: float = 0.0, count: int = 12) -> list[ActionChunk]:
    """Chunks of all kinds, 0.1 s apart, the first at ``epoch``: near and far wrists, joints at their limits, one not finite.

    The horizon ends between two cycles of the control loop, so that rounding of stamps decides nothing.
    """
    rng = np.random.default_rng(7)
    e = load_embodiment(embodiment)
    arm = ArmKinematics(e)
    home, rest = arm.fk(arm.home), space.encode(embodiment, e.to_action(e.rest))
    chunks = []
    for k in range(count):
        latents = (rest + rng.normal(scale=0.3 * k, size=(3, space.dim))).astype(np.float32)
        wrist = np.tile(home, (3, 1))
        wrist[:, :3] += rng.uniform(-0.04, 0.04, (3, 3)) * k  # later ones are beyond the straight approach
        if k == 5:
            latents[1, 0] = np.nan
        chunks.append(ActionChunk(epoch + 0.1 * k, 0.097, latents, wrist, space.latent_id, "test", k))
    return chunks
