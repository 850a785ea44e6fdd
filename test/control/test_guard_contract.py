"""The contract of the command guard, for any commands, measurements and times (property tests)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latent_policy_ros.control.command_guard import BRAKING, MAX_PERIOD, CommandGuard

N, VELOCITY, ACCELERATION, ROUNDING = 2, 2.0, 15.0, 1e-9
LEADS = st.sampled_from([np.inf, 0.3, 0.05])
ANY_NUMBER = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.floats(-3, 4), st.sampled_from([1e300, -1e300, 5e-324, 0.0, -0.0])
)
POSITION = st.one_of(st.lists(ANY_NUMBER, min_size=N, max_size=N), st.lists(ANY_NUMBER, max_size=4))
TIMES = st.one_of(ANY_NUMBER, st.floats(0, 0.5))
TRAJECTORY = st.lists(st.tuples(st.lists(ANY_NUMBER, min_size=N, max_size=N), TIMES), min_size=1, max_size=4)
COMMAND = st.one_of(  # positions and the times in which to reach them
    st.just((None, 0.0)), st.tuples(POSITION, TIMES), TRAJECTORY.map(lambda points: tuple(map(list, zip(*points)))),
    TRAJECTORY.map(lambda points: ([position for position, _ in points], [0.05 * k for k in range(len(points))])),
)  # fmt: skip
DURATION = st.one_of(st.floats(-1, 3), st.floats(0, 0.03))
contract = settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


def cycles(measured):
    return st.lists(st.tuples(COMMAND, st.lists(measured, min_size=N, max_size=N), DURATION), min_size=1, max_size=20)


def run(sequence, lead, continuous=False):
    """(result, measured, time since the previous cycle, at most MAX_PERIOD) of each cycle of one guard with limits [0, 1]."""
    guard = CommandGuard(
        ("a", "b"), np.zeros(N), np.ones(N), np.full(N, VELOCITY), 0.25, max_lead=lead,
        max_acceleration=np.full(N, ACCELERATION), together=np.isfinite(lead),
    )  # fmt: skip
    now, joints, made = 0.0, np.full(N, 0.5), []
    for (command, reach_in), measured, duration in sequence:
        measured, before, now = np.array(measured), now, now + duration
        if continuous:
            measured = joints = joints + np.clip(measured - joints, -0.02, 0.02)
        points = None if command is None else np.array(command, float)
        result = guard.filter(points, measured, now, reach_in=np.array(reach_in))
        made.append((result, measured, min(max(0.0, now - before), MAX_PERIOD)))
    return made


def bounds(measured):
    return np.minimum(0.0, measured), np.maximum(1.0, measured)


def consecutive(made):
    """(previous, present) of set points without a cycle between them in which nothing was sent, with time and measured joints."""
    for (first, _, _), (second, measured, elapsed) in zip(made, made[1:]):
        if first.position is not None and second.position is not None:
            yield first.position, second.position, elapsed, measured


@contract
@given(cycles(ANY_NUMBER), LEADS)
def test_set_points_are_finite_whatever_is_measured(sequence, lead):
    for result, _, _ in run(sequence, lead):
        assert result.position is None or np.isfinite(result.position).all()


@contract
@given(cycles(st.floats(-0.5, 1.5)), LEADS)
def test_set_points_are_within_the_limits_or_between_a_limit_and_the_measured_joint(sequence, lead):
    for result, measured, _ in run(sequence, lead):
        if result.position is not None:
            low, high = bounds(measured)
            assert (result.position >= low).all() and (result.position <= high).all()


@contract
@given(cycles(st.floats(0.0, 1.0)), LEADS)
def test_no_step_exceeds_the_velocity_while_following_and_holding(sequence, lead):
    for before, after, elapsed, _ in consecutive(run(sequence, lead)):
        assert (np.abs(after - before) <= VELOCITY * elapsed + ROUNDING).all()


@contract
@given(cycles(st.floats(-0.5, 1.5)), LEADS)
def test_a_larger_step_only_follows_a_joint_that_returns_into_its_limits(sequence, lead):
    for before, after, elapsed, measured in consecutive(run(sequence, lead)):
        allowed = np.clip(before, *bounds(measured))
        assert (np.abs(after - allowed) <= VELOCITY * elapsed + ROUNDING).all()


@contract
@given(cycles(st.floats(0.0, 1.0)), LEADS, st.booleans())
def test_the_velocity_changes_by_at_most_acceleration_times_time(sequence, lead, continuous):
    """``BRAKING`` times as much while holding, or where the distance to a limit requires it."""
    made, velocity, skipped = run(sequence, lead, continuous), np.zeros(N), 0.0  # it starts at rest
    for (first, _, _), (second, _, elapsed) in zip(made, made[1:]):
        if first.position is None or second.position is None:
            velocity, skipped = None, 0.0
        elif elapsed <= 1e-6:  # the rounding of positions is larger than the bound in shorter times
            skipped += elapsed
        else:
            present, bound = (second.position - first.position) / elapsed, ACCELERATION * (elapsed + skipped)
            if velocity is not None:
                room = np.where(velocity > 0, 1.0 - first.position, first.position)
                braking = second.holding | (velocity**2 / (2 * ACCELERATION) + np.abs(velocity) * elapsed >= room - 1e-9)
                most = np.where(braking, BRAKING, 1.0) * bound + 1e-9 + 1e-15 / elapsed
                assert (np.abs(present - velocity) <= most).all()
            velocity, skipped = present, 0.0


@contract
@given(cycles(st.floats(-0.5, 1.5)), LEADS)
def test_a_set_point_starts_at_the_measured_pose_or_continues(sequence, lead):
    sent, elapsed = None, 0.0
    for result, measured, duration in run(sequence, lead):
        elapsed += duration
        if result.position is None:
            continue
        continued = (
            sent is not None and np.abs(result.position - np.clip(sent, *bounds(measured))).max() <= VELOCITY * elapsed + ROUNDING
        )
        assert continued or np.abs(result.position - measured).max() <= VELOCITY * duration + ROUNDING
        sent, elapsed = result.position, 0.0


@pytest.mark.parametrize("lead", [np.inf, 0.05])
def test_without_commands_a_robot_that_follows_comes_to_rest_where_it_is(lead):
    guard = CommandGuard(("a",), np.zeros(1), np.ones(1), np.full(1, VELOCITY), max_lead=lead)
    joint, path = 0.1, []
    for k in range(100):
        joint += 0.4 * (guard.filter(np.ones(1) if k < 20 else None, np.array([joint]), 0.01 * k).position[0] - joint)
        path.append(joint)
    assert max(path) < 0.95 and abs(np.diff(path)[-30:]).max() < 1e-4
