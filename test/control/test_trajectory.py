"""Trajectories: set points follow the times of their points, within the limits of velocity and acceleration."""

import numpy as np
import pytest

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.control.joint_controller import JointController
from latent_policy_ros.control.trajectory import Trajectory

DT, NAMES = 0.01, ("a", "b")
VELOCITY, ACCELERATION = np.array([2.0, 2.0]), np.array([20.0, 20.0])


@pytest.fixture(params=[False, True], ids=["fingers", "arm"])
def controller(request):
    guard = CommandGuard(
        NAMES, [-1.0, -1.0], [1.0, 1.0], VELOCITY, max_acceleration=ACCELERATION, together=request.param,
        max_lead=0.3 if request.param else np.inf,
    )  # fmt: skip
    controller = JointController(guard)
    controller.cycle(np.zeros(2), 0.0, 0.0)
    return controller


def run(controller, seconds, start=DT, each=lambda now: None):
    """Cycles in which the joints are at once at their set point: times and set points."""
    times, sent, measured = start + DT * np.arange(round(seconds / DT)), [], controller.output.position
    for now in times:
        each(now)
        measured = controller.cycle(measured, now, now).position
        sent.append(measured)
    return times, np.array(sent)


def limits_hold(sent):
    velocity = np.diff(np.vstack([np.zeros((2, 2)), sent]), axis=0) / DT
    assert (np.abs(velocity) <= VELOCITY + 1e-9).all()
    assert (np.abs(np.diff(velocity, axis=0)) <= ACCELERATION * DT + 1e-9).all()


def test_position_and_velocity_of_a_trajectory():
    path = Trajectory(np.array([1.0, 2.0, 4.0]), np.array([[0.0], [1.0], [0.0]]))
    for time, position, velocity in ((0.0, 0.0, 0.0), (1.5, 0.5, 1.0), (3.0, 0.5, -0.5), (4.0, 0.0, 0.0), (9.0, 0.0, 0.0)):
        np.testing.assert_allclose([float(value[0]) for value in path.at(time)], [position, velocity])
    assert path.end == 4.0


def test_set_points_follow_the_times_of_the_points(controller):
    """Up in 1 s, down in 2 s, from one command: set points stay on the lines between the points, off the corners."""
    controller.set_command(NAMES[::-1], [[-0.2, 0.4], [0.2, -0.4]], reach_in=[1.0, 3.0])
    times, sent = run(controller, 4.0)
    expected = np.interp(times + DT, [DT, 1.0 + DT, 3.0 + DT], [0.0, 0.4, -0.4])
    away = np.min(np.abs(times[:, None] - [0.0, 1.0, 3.0]), axis=1) > 0.15
    np.testing.assert_allclose(sent[away, 0], expected[away], atol=2e-3)
    np.testing.assert_allclose(sent[:, 0], expected, atol=0.02)
    np.testing.assert_allclose(sent[:, 1], -0.5 * sent[:, 0], atol=2e-3)
    np.testing.assert_allclose(sent[-1], [-0.4, 0.2], atol=1e-3)
    limits_hold(sent)
    assert controller.holding and controller.output.reason == "no command for 0.15 s"


def test_a_point_far_ahead_is_approached_slowly_and_a_late_one_within_the_limits(controller):
    controller.set_command(NAMES, [0.4, 0.0], reach_in=2.0)
    times, sent = run(controller, 1.0)
    assert abs(sent[-1][0] - 0.2) < 0.01  # half of the time is over
    controller.set_command(NAMES, [[0.3, 0.0], [-0.5, 0.0]], reach_in=[-0.5, -0.1])  # both should have been reached already
    _, late = run(controller, 0.14, 1.0 + DT)
    assert late[-1][0] < 0.1
    limits_hold(np.vstack([sent, late]))


def test_overlapping_trajectories_are_followed_evenly(controller):
    """A plan of 0.5 s every 0.1 s, of which some are lost: no velocity beyond that of the plan, and no stop."""
    wave = lambda t: np.stack([0.5 * np.sin(2.0 * t), 0.25 * np.sin(2.0 * t)], axis=-1)

    def plan(now):
        step = round(now / DT)
        if step % 10 == 0 and step % 40 != 0:
            ahead = np.arange(0.0, 0.5, 0.05)
            controller.set_command(NAMES, wave(now + ahead), reach_in=ahead)

    times, sent = run(controller, 3.0, each=plan)
    following = times > 0.4
    assert not controller.holding
    np.testing.assert_allclose(sent[following], wave(times[following] + DT), atol=0.01)
    velocity = np.diff(sent[following], axis=0) / DT
    assert np.abs(np.diff(velocity, axis=0)).max() < 0.06  # within a plan it is 0.05
    limits_hold(sent)


def test_a_motion_is_stopped_by_a_hold_and_by_a_new_command(controller):
    controller.set_command(NAMES, [[0.8, 0.0]], reach_in=[2.0])
    run(controller, 0.5)
    controller.set_command(NAMES, None)
    _, sent = run(controller, 0.5, 0.5 + DT)
    assert controller.output.reason == "commanded to hold" and np.ptp(sent[-20:], axis=0).max() < 1e-6 and sent[-1][0] < 0.3


@pytest.mark.parametrize(
    "points, times, words",
    [
        ([[0.1, 0.1], [0.2, 0.2]], [1.0, 1.0], "time_from_start of point 1 is not larger than that of point 0"),
        ([[0.1, 0.1], [0.2]], [1.0, 2.0], "2 joint names but 1 positions"),
        ([[0.0, 0.0]] * 1001, np.arange(1001.0), "got 1001 points, expected at most 1000"),
    ],
)
def test_unusable_trajectories_are_refused_and_hold(controller, points, times, words):
    controller.set_command(NAMES, [0.5, 0.5])
    with pytest.raises(ActionRefused, match=words):
        controller.set_command(NAMES, points, reach_in=times)
    assert controller.cycle(np.zeros(2), DT, DT).reason == "command unusable"


@pytest.mark.parametrize("points", [[[0.1, 0.0], [np.nan, 0.0]], [[np.inf, 0.0], [0.1, 0.0]]])
def test_a_point_that_is_not_finite_holds(controller, points):
    controller.set_command(NAMES, points, reach_in=[1.0, 2.0])
    out = controller.cycle(np.zeros(2), DT, DT)
    assert out.holding and out.reason == "command not finite at a"


def test_points_beyond_the_limits_are_clamped(controller):
    controller.set_command(NAMES, [[0.0, 0.5], [0.0, 1.5]], reach_in=[0.5, 1.5])
    _, sent = run(controller, 1.0)
    assert controller.output.clamped == ("b",)
    _, sent = run(controller, 0.6, 1.0 + DT)
    np.testing.assert_allclose(sent[-1], [0.0, 1.0], atol=1e-6)
