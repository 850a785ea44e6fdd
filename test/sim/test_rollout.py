"""A simulated robot keeps the policy's pace, whatever that is."""

import pytest

from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.paths import artifact
from latent_policy_ros.sim.evaluate import COMMAND_PERIOD, RobotRollout


@pytest.mark.parametrize("dt", [0.1, 0.05, 1 / 30, 0.01])
def test_time_goes_by_as_the_policy_counts_it(dt):
    robot = RobotRollout("panda_gripper", 1, LatentSpace.load(artifact("latents", "default")), 1, 0.0)
    for _ in range(12):
        robot.advance(dt)
    assert 12 * dt - 1e-6 <= robot.time < 12 * dt + COMMAND_PERIOD
    assert robot.world.time == pytest.approx(robot.time)
