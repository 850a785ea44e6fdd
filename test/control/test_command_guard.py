"""Command guard: limits, rates, holding the measured pose, and implausible measurements."""

import numpy as np
import pytest

from latent_policy_ros.control.command_guard import BRAKING, CommandGuard

DT = 0.01
NAMES = ("a", "b")


def make(**changes):
    settings = {"lower": [-1.0, 0.0], "upper": [1.0, 2.0], "max_velocity": [1.0, 2.0], "hold_after": 0.25} | changes
    settings.setdefault("max_acceleration", 10.0 * np.array(settings["max_velocity"]))
    return CommandGuard(NAMES, **settings)


def run(guard, command, measured, seconds, start=0.0, repeat=True):
    """Cycles of 10 ms; the command comes at each of them, or only at the first."""
    sent = []
    for k in range(round(seconds / DT)):
        sent.append(guard.filter(command if repeat or k == 0 else None, measured, start + k * DT))
    return sent


def test_measured_pose_is_held_before_any_command():
    out = make().filter(None, [0.3, 0.4], 0.0)
    assert out.holding and out.reason == "no command yet"
    np.testing.assert_array_equal(out.position, [0.3, 0.4])


def test_command_is_reached_at_maximum_speed():
    out = run(make(), [0.5, 0.1], [0.0, 0.0], 1.0)
    positions = np.array([o.position for o in out])
    assert np.all(np.abs(np.diff(positions, axis=0)) <= np.array([1.0, 2.0]) * DT + 1e-12)
    np.testing.assert_allclose(positions[-1], [0.5, 0.1])
    assert out[1].limited == ("a",) and out[-1].limited == ()  # b is near enough to be limited by its acceleration alone


def test_joints_that_move_together_stay_on_a_straight_line():
    guard, measured, sent = make(together=True), np.zeros(2), []
    for k in range(120):
        if k == 30:
            guard.hold("commanded to hold")
        measured = guard.filter([0.5, 0.25] if not 30 <= k < 60 else None, measured, k * DT).position
        sent.append(measured)
    np.testing.assert_allclose(np.array(sent)[:, 1], 0.5 * np.array(sent)[:, 0], atol=1e-12)
    np.testing.assert_allclose(sent[-1], [0.5, 0.25])


def test_commands_are_clamped_and_their_joints_listed():
    out = run(make(), [9.0, 1.0], [0.9, 1.0], 0.5)[-1]
    np.testing.assert_allclose(out.position, [1.0, 1.0])
    assert out.clamped == ("a",) and not out.holding


@pytest.mark.parametrize("bad, word", [([np.nan, 0.0], "a"), ([0.0, np.inf], "b"), ([0.0], "shape"), ([[0.0, 0.0]], "shape")])
def test_malformed_command_holds_the_measured_pose(bad, word):
    guard = make()
    run(guard, [0.5, 0.5], [0.0, 0.0], 0.1)
    out = guard.filter(bad, [0.05, 0.1], 0.1)
    assert out.holding and word in out.reason
    held = run(guard, None, [0.05, 0.1], 0.3, start=0.11)[-1]
    assert held.holding and word in held.reason
    np.testing.assert_allclose(held.position, [0.05, 0.1])
    again = guard.filter([0.5, 0.5], [0.05, 0.1], 0.41)
    assert not again.holding
    np.testing.assert_allclose(again.position, [0.051, 0.102])  # continues from the held pose, within the acceleration


def test_stale_command_holds_the_pose_measured_then():
    guard = make()
    run(guard, [0.5, 0.5], [0.0, 0.0], 0.2)
    assert not guard.filter(None, [0.1, 0.2], 0.44).holding
    out = guard.filter(None, [0.11, 0.21], 0.45)
    assert out.holding and "0.25 s" in out.reason
    held = run(guard, None, [0.11, 0.21], 0.5, start=0.46)[-1]
    np.testing.assert_allclose(held.position, [0.11, 0.21])
    later = run(guard, None, [0.15, 0.25], 0.2, start=1.0)[-1]  # small drift: the held pose stays
    np.testing.assert_allclose(later.position, [0.11, 0.21])


def test_a_moving_set_point_comes_to_rest_and_then_holds_the_measured_pose():
    """The robot follows its set point with a delay. It is neither stopped at once nor sent back to where the command ended."""
    guard, delay, sent = make(), 5, [np.zeros(2)] * 5
    for k in range(70):
        if k == 30:
            guard.hold("commanded to hold")
        out = guard.filter([0.9, 1.5] if k < 30 else None, sent[-delay], k * DT)
        sent.append(out.position)
    motion = np.array(sent)
    assert np.abs(np.diff(motion, n=2, axis=0) / DT**2).max() <= BRAKING * 20.0 + 1e-6
    way = motion[-1] - motion[delay + 29]
    assert (way > 0).all() and (way < 0.5 * np.array([1.0, 2.0]) / 10 + 1e-9).all()  # less than the way while braking without hold
    assert (motion.max(axis=0) - motion[-1]).max() < 0.03


@pytest.mark.parametrize("speed, longest", [(0.5, 0.08), (1.0, 0.12)])
def test_a_robot_that_lags_behind_its_set_point_is_stopped_by_the_way_back(speed, longest):
    """A robot that follows with a time constant of 0.1 s, and lags 0.01 rad behind even at rest, e.g. by gravity."""
    guard = CommandGuard(("a",), [-2.0], [2.0], [1.0], max_acceleration=[10.0])
    joint, path = 0.0, []
    for k in range(250):
        if k == 150:
            guard.hold("commanded to hold")
        sent = guard.filter([speed * k * DT] if k < 150 else None, [joint], k * DT).position[0]
        joint += DT / 0.1 * (sent - 0.01 - joint)
        path.append(joint)
    moving = np.flatnonzero(np.diff(path) / DT > 0.03)[-1] - 150
    assert moving * DT < longest and abs(path[-1] - path[150]) < 0.08 * speed
    assert np.abs(np.diff(path[-30:])).max() < 1e-5


def test_robot_moved_by_hand_is_not_pulled_back():
    guard = make()
    guard.filter(None, [0.0, 0.0], 0.0)
    for k, a in enumerate(np.linspace(0.0, 0.5, 51)):
        out = guard.filter(None, [a, 0.0], 0.01 * (k + 1))
    assert out.position[0] > 0.2
    assert run(guard, None, [0.5, 0.0], 0.4, start=0.6)[-1].position[0] > 0.3


def test_set_point_of_a_blocked_joint_stays_within_max_lead():
    guard = make(max_lead=0.1)
    blocked = run(guard, [0.8, 0.1], [0.0, 0.0], 1.0)[-1]
    np.testing.assert_allclose(blocked.position, [0.1, 0.1])
    assert not blocked.holding
    measured, sent = np.zeros(2), []
    for k in range(150):  # free again: it reaches its set point at once
        sent.append(guard.filter([0.8, 0.1], measured, 1.0 + k * DT).position)
        measured = sent[-1]
    assert np.abs(np.diff(sent, axis=0)).max() <= 0.02 + 1e-12 and np.allclose(sent[-1], [0.8, 0.1], atol=1e-4)
    pressing = run(make(), [0.8, 0.1], [0.0, 0.0], 1.0)[-1]  # a hand has no max_lead
    np.testing.assert_allclose(pressing.position, [0.8, 0.1], atol=1e-4)


def test_jump_of_the_measured_pose_ends_the_command():
    """A simulator was reset, or an encoder skipped: the old command is no longer valid."""
    guard = make()
    run(guard, [0.0, 0.5], [0.0, 0.5], 0.2)
    unconfirmed = run(guard, [0.0, 0.5], [0.9, 1.5], 0.02, start=0.2)
    assert all(out.position is None and out.reason == "measured pose jumped" for out in unconfirmed)
    out = guard.filter([0.0, 0.5], [0.9, 1.5], 0.22)
    assert out.holding and out.reason == "measured pose jumped"
    np.testing.assert_array_equal(out.position, [0.9, 1.5])
    assert abs(guard.filter([0.0, 0.5], [0.9, 1.5], 0.23).position[0] - 0.9) <= 0.01 + 1e-12


def test_a_single_wrong_measurement_moves_nothing():
    guard = make()
    sent = run(guard, [0.0, 0.5], [0.0, 0.5], 0.2)[-1].position
    assert guard.filter(None, [0.9, 1.5], 0.2).position is None
    out = guard.filter(None, [0.0, 0.5], 0.21)
    assert out.holding and out.reason == "measured pose jumped"
    np.testing.assert_array_equal(out.position, sent)


def test_nan_measurement_keeps_the_last_set_point():
    guard = make()
    assert guard.filter([0.1, 0.1], [np.nan, 0.0], 0.0).position is None
    sent = guard.filter([0.0, 0.1], [0.0, 0.0], 0.01).position
    out = guard.filter([0.5, 0.1], [np.nan, 0.0], 0.02)
    assert out.holding
    np.testing.assert_array_equal(out.position, sent)


def test_hold_last_keeps_the_last_set_point():
    guard = make()
    guard.filter([0.5, 0.1], [0.0, 0.0], 0.0)
    sent = guard.filter(None, [0.0, 0.0], 0.05).position
    for k in range(3):
        out = guard.hold_last("no measurement", 0.1 + k * DT)
        assert out.holding and out.reason == "no measurement"
        np.testing.assert_array_equal(out.position, sent)
    out = run(guard, None, [0.02, 0.0], 0.2, start=0.4)[-1]  # measured again: held there, and the earlier command is forgotten
    assert out.holding
    np.testing.assert_allclose(out.position, [0.02, 0.0], atol=1e-9)
    assert make().hold_last("no measurement", 0.0).position is None


def test_pose_far_beyond_limits_sends_nothing():
    """Degrees instead of radians: any set point would be as wrong."""
    guard = make()
    run(guard, [0.1, 0.1], [0.0, 0.0], 0.2)
    out = run(guard, [0.1, 0.1], [0.0, 25.0], 0.2, start=0.2)
    assert all(o.position is None and o.holding for o in out)
    assert "far beyond its limits: b 25, limits 0 to 2" in out[-1].reason
    assert guard.filter(None, [0.0, 2.3], 1.0).position is not None  # a little beyond a limit is possible


def test_late_loop_does_not_jump():
    guard = make(hold_after=5.0)
    guard.filter([0.9, 0.0], [0.0, 0.0], 0.0)
    assert guard.filter(None, [0.0, 0.0], 3.0).position[0] <= 0.05 + 1e-12


def test_relatch_threshold_scales_with_the_range():
    finger = CommandGuard(("finger",), [0.0], [0.04], [0.2])
    assert finger.relatch[0] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"lower": [2.0, 0.0]}, "a: the lower limit"),
        ({"max_velocity": [1.0, 0.0]}, "b: max_velocity"),
        ({"max_acceleration": [1.0, 0.0]}, "b: max_acceleration"),
        ({"upper": [1.0]}, "upper must be 2"),
        ({"hold_after": 0.0}, "hold_after"),
    ],
)
def test_wrong_settings_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        make(**changes)
