"""ChunkBuffer and RobotDecoder: interpolation, blending, staleness, refused chunks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from random_latents import random_space

from latent_policy_ros.common.errors import ActionRefused, ArtifactError
from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.chunking import ChunkBuffer
from latent_policy_ros.policy.decoder import RobotDecoder


def chunk(stamp=0.0, value=None, latent_id="id", sequence=0, horizon=16, dim=4) -> ActionChunk:
    """A chunk whose latents (and x positions) are the scheduled times of its steps, or ``value``."""
    times = stamp + 0.1 * np.arange(horizon) if value is None else np.full(horizon, value)
    poses = np.zeros((horizon, 7))
    poses[:, 0], poses[:, 6] = times, 1
    return ActionChunk(stamp, 0.1, np.tile(times[:, None], (1, dim)), poses, latent_id, "policy", sequence)


def test_late_steps_are_dropped_and_steps_interpolated():
    buffer = ChunkBuffer()
    buffer.add(chunk(10.0), 10.0)
    latent, pose = buffer.sample(10.13)
    assert np.allclose(latent, 10.13) and np.allclose(pose, [10.13, 0, 0, 0, 0, 0, 1])


def test_a_new_chunk_replaces_the_previous_ones_smoothly():
    buffer = ChunkBuffer(blend=0.2)
    for k in range(3):
        buffer.add(chunk(0.1 * k, value=float(k)), 0.1 * k)
    values = []
    for step in range(21):
        values.append(buffer.sample(0.2 + 0.01 * step)[0][0])
    halves = 0.5 * 0.0 + 0.5 * 1.0  # of the first two, when the third arrives
    assert np.isclose(values[0], halves) and np.isclose(values[-1], 2.0) and (np.diff(values) > 0).all()
    follower = ChunkBuffer(blend=0.0)
    follower.add(chunk(0.0, value=0.0), 0.0)
    follower.add(chunk(0.1, value=1.0), 0.1)
    assert np.allclose(follower.sample(0.1)[0], 1.0)


def test_actions_and_their_velocities_are_continuous():
    """Chunks that contradict each other arrive 80 ms after their observations, at irregular times."""
    rng, buffer, dt, samples = np.random.default_rng(0), ChunkBuffer(max_age=0.5), 1e-3, []
    arrivals = np.cumsum([0.0, 0.1, 0.13, 0.07, 0.1, 0.2, 0.1])
    chunks = [(t, replace(chunk(t - 0.08), latents=rng.normal(size=(16, 4)))) for t in arrivals]
    for t in np.arange(0.0, 0.9, dt):
        while chunks and chunks[0][0] <= t + 1e-9:
            buffer.add(chunks.pop(0)[1], t)
        samples.append(buffer.sample(t)[0])
    velocity = np.diff(samples, axis=0) / dt
    assert np.abs(velocity).max() < 60  # a step between chunks would be 1 / dt
    assert np.abs(np.diff(velocity, axis=0)).max() < 2.0  # a kink would be 1 / 0.1 s


def test_no_action_without_a_fresh_chunk():
    buffer = ChunkBuffer(max_age=0.25)
    assert buffer.sample(0.0) is None
    buffer.add(chunk(5.0), 5.0)
    assert buffer.sample(4.8) is None
    assert buffer.sample(5.25) is not None
    assert buffer.sample(5.26) is None


def test_chunks_before_a_gap_are_dropped():
    buffer = ChunkBuffer()
    buffer.add(chunk(0.0, value=0.0), 0.0)
    buffer.add(chunk(1.0, value=1.0), 1.0)
    assert np.allclose(buffer.sample(1.0)[0], 1.0)


def test_blending_treats_opposite_quaternions_as_equal():
    first, second = chunk(0.0, value=0.0), chunk(0.1, value=0.0)
    second.wrist_poses[:, 3:] *= -1
    buffer = ChunkBuffer()
    buffer.add(first, 0.0)
    buffer.add(second, 0.1)
    assert np.allclose(np.abs(buffer.sample(0.15)[1][6]), 1.0)


NAMES = ("j0", "j1", "j2")


@pytest.fixture
def robot() -> RobotDecoder:
    hand = SimpleNamespace(name="hand", content_hash="01" * 32, action_names=NAMES, to_joints=lambda x: 2 * x)
    return RobotDecoder(random_space(), hand)


def own_chunk(robot, **kwargs) -> ActionChunk:
    return chunk(latent_id=robot.latent_space.latent_id, **kwargs)


def test_command_is_decoded_for_the_robot(robot):
    robot.accept(own_chunk(robot, stamp=3.0), now=3.0)
    command = robot.command(3.15)
    assert np.allclose(command.q, 2 * robot.latent_space.decode("hand", np.full(4, 3.15)))
    assert command.observed == 3.0 and np.isclose(command.wrist_pose[0], 3.15)
    assert robot.command(3.51) is None


def test_foreign_latent_space_is_refused_with_both_ids(robot):
    with pytest.raises(ActionRefused, match=f"'foreign'.*'{robot.latent_space.latent_id}'"):
        robot.accept(chunk(latent_id="foreign"), now=0.0)
    assert robot.command(0.0) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": np.zeros((16, 5))}, r"latents: expected \(horizon, 4\), got \(16, 5\)"),
        ({"latents": np.zeros((0, 4)), "wrist_poses": np.zeros((0, 7))}, r"latents: expected"),
        ({"latents": np.full((16, 4), np.nan)}, "latents: NaN or infinity, first at step 0, component 0"),
        ({"wrist_poses": np.full((16, 7), np.inf)}, "wrist_poses: NaN or infinity"),
        ({"wrist_poses": np.zeros((15, 7))}, r"wrist_poses: expected \(16, 7\), got \(15, 7\)"),
        ({"wrist_poses": np.zeros((16, 7))}, "expected unit quaternions, got length 0.000 at step 0"),
        ({"dt": 0.0}, "dt > 0"),
        ({"stamp": float("nan")}, "finite stamp"),
    ],
)
def test_malformed_chunk_is_refused_and_the_previous_one_kept(robot, change, message):
    robot.accept(own_chunk(robot, stamp=1.0), now=1.0)
    before = robot.command(1.1)
    with pytest.raises(ActionRefused, match=message):
        robot.accept(replace(own_chunk(robot, stamp=1.05, sequence=1), **change), now=1.1)
    assert np.array_equal(robot.command(1.1).q, before.q)


def test_chunks_out_of_order_are_refused(robot):
    robot.accept(own_chunk(robot, stamp=1.0, sequence=4), now=1.0)
    with pytest.raises(ActionRefused, match="latent action 3: out of order: its observation is 0.100 s older than that of 4"):
        robot.accept(own_chunk(robot, stamp=0.9, sequence=3), now=1.1)


def test_restarted_policy_may_count_from_zero(robot):
    robot.accept(own_chunk(robot, stamp=1.0, sequence=400), now=1.0)
    robot.accept(own_chunk(robot, stamp=2.0, sequence=0), now=2.0)
    assert robot.command(2.0).observed == 2.0


def test_chunk_from_the_future_is_refused(robot):
    with pytest.raises(ActionRefused, match="stamp is 4.000 s in the future"):
        robot.accept(own_chunk(robot, stamp=9.0), now=5.0)
    robot.accept(own_chunk(robot, stamp=100.0), now=100.0)
    robot.accept(own_chunk(robot, stamp=1.0), now=1.0)
    assert robot.command(1.0).observed == 1.0


def test_tolerance_for_the_future_does_not_grow_with_dt(robot):
    with pytest.raises(ActionRefused, match="stamp is 100.000 s in the future"):
        robot.accept(replace(own_chunk(robot, stamp=105.0), dt=1e9), now=5.0)
    robot.accept(own_chunk(robot, stamp=5.0), now=5.0)
    assert robot.command(5.0).observed == 5.0


def test_second_source_is_refused_while_the_first_is_fresh(robot):
    robot.accept(own_chunk(robot, stamp=1.0), now=1.0)
    other = replace(own_chunk(robot, stamp=1.1), policy_id="human_hand")
    with pytest.raises(ActionRefused, match="policy_id: got 'human_hand' while 'policy' drives this robot; stop one of the two"):
        robot.accept(other, now=1.1)
    robot.accept(replace(other, stamp=1.4), now=1.4)  # the first has stopped
    assert robot.command(1.4).observed == 1.4


def test_stale_chunks_of_another_source_do_not_block(robot):
    for k in range(5):  # a bag is played while the policy runs, and arrives first
        now = 20.0 + 0.1 * k
        with pytest.raises(ActionRefused, match=r"latent action 0: stamp is 1[67]\.\d+ s old, expected at most 0.5 s"):
            robot.accept(replace(own_chunk(robot, stamp=3.0 + 0.1 * k), policy_id="bag"), now=now)
        robot.accept(own_chunk(robot, stamp=now - 0.05), now=now)
        assert robot.command(now).observed == now - 0.05


@pytest.mark.parametrize("foreign", [False, True], ids=["silence", "policy with the old clock"])
def test_old_chunk_is_not_executed_after_the_clock_was_set_back(robot, foreign):
    robot.accept(own_chunk(robot, stamp=100.0), now=100.0)
    for k in range(60):
        now = 95.0 + 0.1 * k
        if foreign:
            with pytest.raises(ActionRefused, match="in the future"):
                robot.accept(own_chunk(robot, stamp=now + 5.0), now=now)
        assert robot.command(now) is None


def test_other_version_of_the_embodiment_is_refused():
    with pytest.raises(ArtifactError, match="the embodiment is now ffff"):
        RobotDecoder(random_space(), SimpleNamespace(name="hand", content_hash="ff" * 32, action_names=NAMES))


def test_commands_end_when_chunks_stop_arriving_and_simulated_time_stands_still(robot):
    robot.accept(own_chunk(robot, stamp=10.0), now=10.0, steady=500.0)
    assert robot.command(10.0, steady=500.19) is not None
    assert robot.command(10.0, steady=500.21) is None


def test_commands_end_when_chunks_stop_arriving(robot):
    robot.accept(own_chunk(robot, stamp=10.0), now=10.2)  # late but valid
    assert robot.command(10.39) is not None
    assert robot.command(10.41) is None
    robot.accept(own_chunk(robot, stamp=10.4), now=10.5)
    assert robot.command(10.6) is not None
