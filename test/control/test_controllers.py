"""Joint and arm controllers: commands by name, command age, frozen measurements, workspace, straight approach."""

from collections import Counter

import numpy as np
import pytest

from latent_policy_ros.common.errors import ActionRefused, LatentPolicyError
from latent_policy_ros.control.arm_controller import APPROACH, IK_ITERATIONS, IK_TOLERANCE, MAX_LEAD, ArmController, Workspace
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.control.joint_controller import CONTROL_RATE, JointController
from latent_policy_ros.embodiments import load_embodiment

DT = 1.0 / CONTROL_RATE
NAMES = ("a", "b")


@pytest.fixture
def events():
    return Counter()


@pytest.fixture
def joints(events):
    guard = CommandGuard(NAMES, [-1.0, -1.0], [1.0, 1.0], [1.0, 1.0])
    return JointController(guard, report=lambda event, detail: events.update([event]))


@pytest.fixture(scope="module")
def kinematics():
    return ArmKinematics(load_embodiment("mimic_hand"))


@pytest.fixture
def arm(kinematics, events):
    return ArmController(kinematics, report=lambda event, detail: events.update([event]))


def cycles(controller, count, measured, start=0.0, each=lambda: None):
    """Run cycles in which the joints are at once at their set point; returns the set points."""
    sent = []
    for k in range(count):
        each()
        measured = controller.cycle(measured, start + k * DT, start + k * DT).position
        sent.append(measured)
    return np.array(sent)


def test_commands_before_the_first_measurement_are_ignored(joints, arm):
    assert not joints.set_command(NAMES, [0.5, 0.5])
    assert not arm.set_wrist_command(np.full(7, np.nan))
    assert joints.cycle([0.1, 0.2], 0.0, 0.0).position.tolist() == [0.1, 0.2]


def test_joints_are_matched_by_name(joints):
    joints.cycle([0.0, 0.0], 0.0, 0.0)
    assert joints.set_command(["b", "a"], [0.2, 0.1])
    sent = cycles(joints, 60, [0.0, 0.0], DT, lambda: joints.set_command(["b", "a"], [0.2, 0.1]))
    np.testing.assert_allclose(sent[-1], [0.1, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    "names, position, words",
    [
        (["a"], [0.1], "missing: b; unknown: -; repeated: -"),
        (["a", "b", "c"], [0.1, 0.2, 0.3], "missing: -; unknown: c"),
        (["a", "a"], [0.1, 0.2], "missing: b; unknown: -; repeated: a"),
        (["a", "b"], [0.1], "2 joint names but 1 positions"),
    ],
)
def test_a_command_for_other_joints_is_refused_and_holds(joints, events, names, position, words):
    joints.cycle([0.0, 0.0], 0.0, 0.0)
    joints.set_command(NAMES, [0.5, 0.5])
    with pytest.raises(ActionRefused, match=words):
        joints.set_command(names, position)
    out = joints.cycle([0.0, 0.0], DT, DT)
    assert out.holding and out.reason == "command unusable" and events["held"] == 1


@pytest.mark.parametrize("age", [2.1, -2.1])
def test_a_command_of_another_time_is_refused_and_changes_nothing(joints, arm, kinematics, age):
    for controller, start, command in (
        (joints, np.zeros(2), lambda c, **age: c.set_command(NAMES, [0.5, 0.5], **age)),
        (arm, kinematics.home, lambda c, **age: c.set_wrist_command(kinematics.fk(kinematics.home), **age)),
    ):
        controller.cycle(start, 0.0, 0.0)
        command(controller)
        with pytest.raises(ActionRefused, match="2.100 s (ago|in the future), expected at most 2 s"):
            controller.set_command(("other",), [np.nan], age)
        with pytest.raises(ActionRefused, match="command stamp"):
            command(controller, age=age)
        assert not controller.cycle(start, DT, DT).holding


def test_a_command_without_position_holds(joints, events):
    joints.cycle([0.0, 0.0], 0.0, 0.0)
    joints.set_command(NAMES, [0.5, 0.5])
    cycles(joints, 5, [0.0, 0.0], DT)
    joints.set_command(NAMES, None)
    out = joints.cycle([0.04, 0.04], 0.07, 0.07)
    assert out.reason == "commanded to hold" and not events
    np.testing.assert_allclose([joints.cycle([0.04, 0.04], t, t).position for t in np.arange(0.08, 0.4, DT)][-1], 0.04)


def test_frozen_measurements_stop_the_set_point(joints, events):
    joints.cycle([0.0, 0.0], 0.0, 0.0)
    sent = []
    for k in range(1, 70):
        joints.set_command(NAMES, [0.9, 0.9])
        sent.append(joints.cycle([0.0, 0.0], 0.0, k * DT).position)  # its stamp stays
    assert joints.output.reason == "no new measurement for 0.3 s" and events["measurement frozen"] > 10
    assert np.ptp(sent[-15:], axis=0).max() == 0.0 and sent[-1][0] > 0.2


def test_clamped_commands_are_reported_once_each(joints, events):
    joints.cycle([0.9, 0.0], 0.0, 0.0)
    for _ in range(3):
        joints.set_command(NAMES, [3.0, 0.0])
        cycles(joints, 2, [0.9, 0.0], DT)
    assert events["clamped to limits"] == 3


def test_reset_forgets_commands_and_measurements(joints):
    joints.cycle([0.0, 0.0], 0.0, 0.0)
    joints.set_command(NAMES, [0.5, 0.5])
    joints.reset(1.0)
    assert joints.measured is None and joints.holding and not joints.set_command(NAMES, [0.5, 0.5])
    assert joints.cycle([0.3, 0.3], 1.0, 1.0).position.tolist() == [0.3, 0.3]


def test_an_arm_reaches_its_wrist_command(arm, kinematics, events):
    goal = kinematics.fk(kinematics.home) + [0.1, 0.05, -0.1, 0, 0, 0, 0]
    arm.cycle(kinematics.home, 0.0, 0.0)
    sent = cycles(arm, 200, kinematics.home, DT, lambda: arm.set_wrist_command(goal))
    np.testing.assert_allclose(kinematics.fk(sent[-1]), goal, atol=1e-3)
    assert not events


def test_a_far_wrist_command_is_approached_in_short_steps_along_a_line(arm, kinematics):
    start = kinematics.fk(kinematics.home)
    goal = start + [0.1, 0.3, -0.2, 0, 0, 0, 0]
    arm.cycle(kinematics.home, 0.0, 0.0)
    arm.set_wrist_command(goal)
    shift, way = kinematics.fk(arm._solution)[:3] - start[:3], (goal - start)[:3]
    np.testing.assert_allclose(shift, APPROACH[0] * way / np.linalg.norm(way), atol=5e-3)
    distances = []

    def command():
        arm.set_wrist_command(goal)
        distances.append(np.linalg.norm((kinematics.fk(arm._solution) - kinematics.fk(arm.measured))[:3]))

    sent = cycles(arm, 300, kinematics.home, DT, command)
    assert max(distances) < APPROACH[0] + 0.01
    np.testing.assert_allclose(kinematics.fk(sent[-1])[:3], goal[:3], atol=2e-3)


def test_the_set_point_of_a_blocked_arm_stays_near_the_measured_joints(arm, kinematics):
    """A wrist command is approached in short steps, a command of joints is limited by the guard."""
    home, leads = kinematics.home, []
    pose = kinematics.fk(home) + [0.1, 0.3, -0.2, 0, 0, 0, 0]
    for send in (lambda: arm.set_wrist_command(pose), lambda: arm.set_command(arm.names, home + 0.6)):
        arm.reset(0.0)
        for k in range(200):
            arm.cycle(home, k * DT, k * DT)
            send()
        leads.append(np.abs(arm.output.position - home).max())
    assert 0.05 < leads[0] <= MAX_LEAD[1] + 1e-9
    assert leads[1] == pytest.approx(MAX_LEAD[1])


@pytest.mark.parametrize(
    "change, frame, words",
    [
        ({}, "map", "frame_id: expected panda_link0, got map"),
        ({0: 7.0}, "", "7 m from the arm's base, expected at most 2 m"),
        ({1: np.nan}, "", "wrist pose"),
        ({3: 0, 4: 0, 5: 0, 6: 0}, "", "quaternion"),
    ],
)
def test_an_unusable_wrist_command_is_refused_and_holds(arm, kinematics, events, change, frame, words):
    pose = kinematics.fk(kinematics.home)
    arm.cycle(kinematics.home, 0.0, 0.0)
    arm.set_wrist_command(pose, "panda_link0")
    for index, value in change.items():
        pose[index] = value
    with pytest.raises(ActionRefused, match=words):
        arm.set_wrist_command(pose, frame)
    assert arm.cycle(kinematics.home, DT, DT).reason == "wrist command unusable" and events["held"] == 1


def test_wrist_commands_are_clipped_to_the_workspace(kinematics, events):
    wrist = kinematics.fk(kinematics.home)
    floor = wrist[2] - 0.03
    arm = ArmController(kinematics, workspace=Workspace((-2, 2, -2, 2, floor, 2)), report=lambda e, _: events.update([e]))
    arm.cycle(kinematics.home, 0.0, 0.0)
    sent = cycles(arm, 150, kinematics.home, DT, lambda: arm.set_wrist_command(wrist - [0, 0, 0.1, 0, 0, 0, 0]))
    heights = [kinematics.fk(q)[2] for q in sent]
    assert min(heights) > floor - 2e-3 and abs(heights[-1] - floor) < 2e-3
    assert events["wrist command outside the workspace"] == 150


def test_joint_commands_do_not_leave_the_workspace(kinematics, events):
    floor = kinematics.fk(kinematics.home)[2] - 0.05
    arm = ArmController(kinematics, workspace=Workspace((-2, 2, -2, 2, floor, 2)), report=lambda e, _: events.update([e]))
    lower = kinematics.home + np.array([0, 0.4, 0, -0.3, 0, 0, 0])
    assert kinematics.fk(lower)[2] < floor - 0.1
    arm.cycle(kinematics.home, 0.0, 0.0)
    sent = cycles(arm, 150, kinematics.home, DT, lambda: arm.set_command(kinematics.joint_names, lower))
    assert min(kinematics.fk(q)[2] for q in sent) > floor - 0.015 and events["held"] > 0


def test_a_wrist_command_after_a_joint_command_starts_at_the_measured_joints(arm, kinematics):
    home, turned = kinematics.home, kinematics.home + np.array([0.5, 0, 0, 0, 0, 0, 0])
    arm.cycle(home, 0.0, 0.0)
    arm.set_wrist_command(kinematics.fk(home))
    sent = cycles(arm, 100, home, DT, lambda: arm.set_command(kinematics.joint_names, turned))
    goal = kinematics.fk(sent[-1])
    arm.set_wrist_command(goal)
    np.testing.assert_allclose(arm._solution, kinematics.solve(goal, sent[-1], IK_ITERATIONS, IK_TOLERANCE).q, atol=1e-9)


@pytest.mark.parametrize("bounds", [(0, 1, 0, 1), (0, 1, 0, 1, 1, 0), (0, 1, 0, 1, 0, np.nan)])
def test_wrong_workspaces_are_refused(bounds):
    with pytest.raises(LatentPolicyError, match="workspace: expected lowest and highest x, y, z"):
        Workspace(bounds)
