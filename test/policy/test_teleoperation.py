"""Teleoperation: latent space against retargeting, transitions, missing measurements."""

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.embodiments.human.keypoints import to_hand_frame
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import RobotDecoder
from latent_policy_ros.policy.teleoperation import HandToRobot, NotReady, encode_hand
from latent_policy_ros.retargeting import Retargeter, generate_motion

WRIST = np.array([0.4, 0.0, 0.4, 1.0, 0.0, 0.0, 0.0])
MOTION = to_hand_frame(generate_motion(11, 4.0, 60.0).keypoints)  # at half its speed, which a gripper can follow


@pytest.fixture(scope="module")
def space():
    return LatentSpace.load(artifact("latents", "default"))


def through_the_latents(space, robot, keypoints, ease=0.0, fps=30.0, wrist=WRIST):
    """Decoded commands for every frame."""
    follower, decoder, made = HandToRobot(robot, space, ease), RobotDecoder(space, robot), []
    for t, frame in enumerate(keypoints):
        now = 100.0 + t / fps
        decoder.accept(follower.chunk(encode_hand(space, frame), now, 0.2, robot.rest, wrist), now)
        made.append(decoder.command(now + 0.01))
    return made


@pytest.mark.parametrize("back", [40.0, 100.1])  # to before the start, and into the transition
def test_clock_set_back_restarts_from_the_measured_pose(back):
    robot = load_embodiment("mimic_hand")
    follower = HandToRobot(robot, None, ease=1.0)
    for t in range(60):
        q = follower.joints(MOTION[t], 100.0 + t / 30, robot.rest)
    measured = q.copy()
    assert np.abs(measured - robot.rest).max() > 0.1
    np.testing.assert_allclose(follower.joints(MOTION[60], back, measured), measured)
    wanted = [follower.joints(MOTION[60], back + t / 30, measured) for t in range(1, 60)][-1]
    there = Retargeter(robot).retarget_sequence(np.repeat(MOTION[60:61], 200, axis=0)[None])[0, -1]
    np.testing.assert_allclose(wanted, there, atol=0.05)


@pytest.mark.parametrize("name", ["mimic_hand", "faive_hand", "panda_gripper"])
def test_latent_teleoperation_is_close_to_retargeting(space, name):
    robot = load_embodiment(name)
    made = np.array([c.q for c in through_the_latents(space, robot, MOTION)])
    wanted = Retargeter(robot).retarget_sequence(MOTION[None], 1 / 30)[0]
    kinematics = HandKinematics(robot)
    apart = np.linalg.norm(kinematics.fingertips(made) - kinematics.fingertips(wanted), axis=-1)
    moves = wanted.std(axis=0) > 0.02 if name != "panda_gripper" else np.array([True])
    same = [np.corrcoef(made[:, j], wanted[:, j])[0, 1] for j in np.flatnonzero(moves)]
    assert apart.mean() < 0.012 and np.median(same) > 0.85 and moves.sum() >= 0.6 * len(robot.joint_names)


def test_wrist_is_held_at_the_pose_measured_at_the_start(space):
    robot = load_embodiment("mimic_hand")
    follower, latent = HandToRobot(robot, space), encode_hand(space, MOTION[0])
    first = follower.chunk(latent, 1.0, 0.2, robot.rest, WRIST)
    sagged = WRIST + np.array([0, 0, -0.05, 0, 0, 0, 0])
    assert np.array_equal(follower.chunk(latent, 1.1, 0.2, robot.rest, sagged).wrist_poses[0], WRIST)
    assert first.sequence == 1 and follower.following
    follower.release()
    assert not follower.following
    again = follower.chunk(latent, 9.0, 0.2, robot.rest, sagged)
    assert np.array_equal(again.wrist_poses[0], sagged) and again.sequence == 3  # never decreases


def test_chunk_expires_after_valid_for(space):
    robot = load_embodiment("mimic_hand")
    decoder = RobotDecoder(space, robot)
    decoder.accept(HandToRobot(robot, space).chunk(encode_hand(space, MOTION[0]), 5.0, 0.2, robot.rest, WRIST), 5.01)
    assert decoder.command(5.15) is not None and decoder.command(5.25) is None


@pytest.mark.parametrize("mode", ["latent", "direct"])
def test_transition_from_the_measured_pose(space, mode):
    robot = load_embodiment("mimic_hand")
    measured = robot.lower + 0.9 * (robot.upper - robot.lower)  # far from the pose of the hand
    follower, decoder, made = HandToRobot(robot, space, ease=0.5), RobotDecoder(space, robot), []
    times = 10.0 + np.arange(100) / 100
    still = MOTION[0]
    for now in times:
        if mode == "direct":
            made.append(follower.joints(still, now, measured))
        else:
            decoder.accept(follower.chunk(encode_hand(space, still), now, 0.2, measured, WRIST), now)
            made.append(decoder.command(now).q)
    made = np.array(made)
    if mode == "direct":
        retargeter = Retargeter(robot)
        wanted, start = [retargeter.retarget(still) for _ in times][-1], measured  # its steady state
    else:
        wanted = space.decode("mimic_hand", encode_hand(space, still))
        start = space.decode("mimic_hand", space.encode("mimic_hand", measured))
    assert np.abs(wanted - start).max() > 0.7
    assert np.allclose(made[0], start, atol=1e-5) and np.allclose(made[times > 10.51], wanted, atol=0.1)
    assert np.abs(np.diff(made, axis=0)).max() < 0.12  # at 100 Hz; without a transition it is a whole joint range
    follower.release()
    assert np.allclose(follower.joints(still, 20.0, wanted), wanted, atol=0.05)


def test_missing_measurements_are_an_error(space):
    robot = load_embodiment("mimic_hand")
    follower, latent = HandToRobot(robot, space), encode_hand(space, MOTION[0])
    with pytest.raises(NotReady, match="no wrist pose"):
        follower.chunk(latent, 1.0, 0.2, robot.rest, None)
    with pytest.raises(NotReady, match="no joint states"):
        follower.chunk(latent, 1.0, 0.2, None, WRIST)
    with pytest.raises(NotReady, match="no joint states"):
        follower.joints(MOTION[0], 1.0, None)
    assert not follower.following


@pytest.mark.parametrize("lost", ["joints", "wrist"])
def test_lost_measurements_release_the_robot(space, lost):
    robot = load_embodiment("mimic_hand")
    follower, latent = HandToRobot(robot, space), encode_hand(space, MOTION[0])
    follower.chunk(latent, 1.0, 0.2, robot.rest, WRIST)
    with pytest.raises(NotReady):
        follower.chunk(latent, 2.0, 0.2, None if lost == "joints" else robot.rest, None if lost == "wrist" else WRIST)
    assert not follower.following
    moved = WRIST + np.array([0, 0.2, 0, 0, 0, 0, 0])
    chunk = follower.chunk(latent, 3.0, 0.2, robot.upper, moved)
    assert np.array_equal(chunk.wrist_poses[0], moved)
    assert np.allclose(chunk.latents[0], space.encode("mimic_hand", robot.to_action(robot.upper)), atol=1e-6)


def test_joint_velocity_is_limited():
    robot = load_embodiment("mimic_hand")
    follower = HandToRobot(robot, ease=0.0)
    fast = MOTION[::6]  # six times as fast
    made = np.array([follower.joints(frame, 1.0 + t / 30, robot.rest) for t, frame in enumerate(fast)])
    assert (np.abs(np.diff(made, axis=0)) <= robot.max_velocity / 30 + 1e-9).all() and np.ptp(made, axis=0).max() > 0.5


def test_latent_space_without_human_hand_is_refused(space):
    alone = LatentSpace({"mimic_hand": space.codec("mimic_hand")})
    with pytest.raises(ArtifactError, match="no embodiment 'human_hand'"):
        HandToRobot(load_embodiment("mimic_hand"), alone)


def test_chunk_without_latent_space_is_refused(space):
    robot = load_embodiment("mimic_hand")
    with pytest.raises(ValueError, match=r"mimic_hand: chunk\(\) requires a latent space"):
        HandToRobot(robot).chunk(encode_hand(space, MOTION[0]), 1.0, 0.2, robot.rest, WRIST)
