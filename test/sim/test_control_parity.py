"""Parity of a simulated rollout with controllers that are driven as driver nodes drive them."""

from contextlib import suppress

import numpy as np
import pytest
from servos import ServoWorld, action_chunks

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.control.arm_controller import ArmController
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.control.joint_controller import JointController
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import RobotDecoder
from latent_policy_ros.sim.evaluation import RobotRollout

LATENCY, SECONDS = 0.08, 2.0


@pytest.fixture(scope="module")
def space():
    return LatentSpace.load(artifact("latents", "default"))


def recorded(world):
    """Every set point that a world is sent, as (hand, arm) lists."""
    sent = ([], [])
    for name, points in zip(("set_hand_target", "set_arm_target"), sent):
        write = getattr(world, name)
        setattr(world, name, lambda q, write=write, points=points: (points.append(np.array(q)), write(q)))
    return sent


@pytest.mark.parametrize("embodiment", ["mimic_hand", "panda_gripper"])
def test_a_rollout_sends_what_the_controllers_do_at_the_rates_of_the_nodes(space, embodiment):
    """Commands at 50 Hz and at once when a chunk arrives, control at 100 Hz, and one command to hold at the end."""
    world = ServoWorld(embodiment)
    rollout_sent = recorded(world)
    rollout = RobotRollout(world, 0, space, latency=LATENCY)
    for chunk in action_chunks(space, embodiment):
        rollout.add_chunk(chunk)
    rollout.advance(SECONDS)

    world = ServoWorld(embodiment)
    e, sent = world.embodiment, recorded(world)
    decoder, arm = RobotDecoder(space, e), ArmController(world.arm)
    hand = JointController(CommandGuard.of(e))

    def control():
        now = world.clock()
        world.set_hand_target(hand.cycle(world.hand_q, now, now).position)
        world.set_arm_target(arm.cycle(world.arm_q, now, now).position)

    control()
    chunks, following = action_chunks(space, embodiment), False
    for step in range(round(SECONDS * 100)):
        now = world.clock.now = step / 100
        arrived = False
        while chunks and chunks[0].stamp + LATENCY <= now + 1e-9:
            with suppress(ActionRefused):
                decoder.accept(chunks.pop(0), now)
                arrived = True
        if arrived or step % 2 == 0:
            command = decoder.command(now)
            if command is not None:
                hand.set_command(e.joint_names, command.q, now - command.observed, 0.03)
                arm.set_wrist_command(command.wrist_pose, age=now - command.observed)
            elif following:
                hand.set_command(e.joint_names, None)
                arm.set_command((), None)
            following = command is not None
        control()

    assert rollout.events["decoder: refused"] == 1
    assert hand.output.reason == "commanded to hold" == rollout.hand_controller.output.reason
    for ours, theirs in zip(sent, rollout_sent):
        assert np.ptp(theirs, axis=0).max() > 0.01
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9)
