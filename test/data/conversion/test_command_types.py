"""Command types: conversion of command messages, the command in force, and a message type of another package."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from latent_policy_ros.common import registry
from latent_policy_ros.common.errors import LatentPolicyError, ObservationRefused
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.conversion import command_types
from latent_policy_ros.data.conversion.command_stream import CommandStream, JointReader
from latent_policy_ros.data.conversion.command_types import (
    COMMAND_TYPES,
    FLOAT64MULTIARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    CommandPoint,
    CommandType,
)
from latent_policy_ros.data.conversion.mapping_file import load_mapping
from latent_policy_ros.data.conversion.sources import JointSource
from latent_policy_ros.data.lerobot.reader import LeRobotReader

T0 = 1_700_000_000.0
PERCENTAGES = "sensor_msgs/msg/ChannelFloat32"
PERCENT = CommandType(PERCENTAGES, lambda message: [CommandPoint(np.asarray(message.values) / 100)], named=False)
NO_COMMAND_TYPE = "a string"


@pytest.fixture
def register(monkeypatch):
    """Registers a command type as another installed package does."""

    def run(attribute):
        point = EntryPoint("percent", f"{__name__}:{attribute}", COMMAND_TYPES.group)
        monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == COMMAND_TYPES.group else [])
        fresh = registry.Registry(COMMAND_TYPES.kind, COMMAND_TYPES.group, COMMAND_TYPES._builtin)
        monkeypatch.setattr(command_types, "COMMAND_TYPES", fresh)

    return run


def trajectory(*points):
    points = [
        SimpleNamespace(positions=q, time_from_start=SimpleNamespace(sec=int(t), nanosec=round(t % 1 * 1e9))) for t, q in points
    ]
    return SimpleNamespace(joint_names=["b", "a"], points=points)


def reader(command_type=JOINT_TRAJECTORY, joints=("a", "b"), rename=(), **source):
    return JointReader(JointSource(("/command",), **source), command_type, joints, dict(rename), "command")


def test_trajectory_points_are_in_force_until_the_next():
    stream, points = CommandStream(("a", "b"), 1.0), reader(scale={"b": (10.0, 0.0)})
    stream.push(5.0, points, trajectory((0.5, (1, 2)), (1.0, (3, 4))), None)
    np.testing.assert_array_equal(stream.held(5.2, 0.1), [2, 10])
    np.testing.assert_array_equal(stream.held(5.7, 0.1), [4, 30])
    assert stream.held(4.9, 0.1) is None and stream.held(6.2, 0.1) is None and stream.held(6.05, 0.1) is not None
    stream.push(5.6, points, trajectory(), np.array([7.0, 8.0]))
    assert stream.holding and points.joint_order == ("b", "a")
    np.testing.assert_array_equal(stream.held(99.0, 0.1), [7, 8])


@pytest.mark.parametrize(("message", "text"), [
    (trajectory((3.0, (1, 2)), (0.1, (1, 2))), "a point at 0.1 s after one at 3 s"),
    (trajectory((1.0, (1, np.nan))), "command is not finite"),
])  # fmt: skip
def test_invalid_trajectories_are_refused(message, text):
    with pytest.raises(ObservationRefused, match=text):
        CommandStream(("a", "b"), 1.0).push(1.0, reader(), message, None)


def test_commands_for_some_of_the_joints_are_merged_by_name():
    stream = CommandStream(("a", "b"), 1.0)
    one, other = reader(JOINT_STATE), reader(JOINT_STATE, limit=0.5)
    assert stream.push(1.0, one, SimpleNamespace(name=["a"], position=[]), None) is None  # velocities only
    stream.push(1.0, one, SimpleNamespace(name=["a", "x"], position=[1.0, 9.0]), None)
    assert stream.lacking == ("b",) and stream.held(1.1, 0.2) is None
    stream.push(1.0, other, SimpleNamespace(name=["b"], position=[2.0]), None)
    np.testing.assert_array_equal(stream.held(1.1, 0.2), [1, 2])
    stream.push(1.2, one, SimpleNamespace(name=["a"], position=[3.0]), None)
    np.testing.assert_array_equal(stream.held(1.4, 0.2), [3, 2])  # b has a limit of its own
    assert stream.held(1.55, 0.4) is None
    stream.push(1.6, one, SimpleNamespace(name=["b", "a"], position=[5.0, 4.0]), None)
    np.testing.assert_array_equal(stream.held(1.6, 0.2), [4, 5])


def test_a_command_for_one_joint_replaces_the_rest_of_a_trajectory_for_it():
    stream = CommandStream(("a", "b"), 1.0)
    stream.push(1.0, reader(), trajectory((0.5, (1, 2)), (1.0, (3, 4)), (2.0, (5, 6))), None)
    stream.push(1.2, reader(JOINT_STATE), SimpleNamespace(name=["b"], position=[9.0]), None)
    np.testing.assert_array_equal(stream.held(1.6, 1.0), [4, 9])
    np.testing.assert_array_equal(stream.newest, [6, 9])
    stream.push(1.7, reader(), trajectory((0.5, (7, 8))), None)
    np.testing.assert_array_equal(stream.held(1.8, 1.0), [8, 7])


def test_arrays_need_as_many_numbers_as_names():
    stream, array = CommandStream(("a",), 1.0), reader(FLOAT64MULTIARRAY, ("a",), {"m": "a"}, order=("m", "other"))
    stream.push(1.0, array, SimpleNamespace(data=[1.0, 2.0]), None)
    np.testing.assert_array_equal(stream.newest, [1.0])
    with pytest.raises(ObservationRefused, match=r"3 numbers, expected 2 \(command.order of the mapping\)"):
        stream.push(1.0, array, SimpleNamespace(data=[1.0, 2.0, 3.0]), None)
    with pytest.raises(ObservationRefused, match="numbers without names; list their joints in `command.order`"):
        stream.push(1.0, reader(JOINT_STATE), SimpleNamespace(name=[], position=[1.0]), None)


def test_a_command_type_of_another_package_is_converted(register, tmp_path, recording, converted):
    register("PERCENT")
    made, types = recording(seconds=1), message_types().types
    for event in made.on("hand_command"):
        positions = np.array(100 * event.message.points[0].positions, np.float32)
        event.message = types[PERCENTAGES](name="percent", values=positions)
    robot = {
        "embodiment": "faive_hand", "cameras": {"front": "/left/front/image_raw"}, "state": {"topic": "/left/joint_states"},
        "command": {"topic": "/left/hand_command", "order": list(made.joints)},
    }  # fmt: skip
    file = tmp_path / "rig.yaml"
    file.write_text(yaml.safe_dump({"robots": {"left": robot}}))
    report, out = converted(made.write(tmp_path / "bag"), mapping=load_mapping(file))
    assert report.written == 1, report.left_out
    action = LeRobotReader(out / "faive_hand").columns(0)["action"]
    np.testing.assert_allclose(action[0], made.state(T0 - 0.02) + 0.01, atol=1e-5)


def test_an_entry_point_must_refer_to_a_command_type(register):
    register("NO_COMMAND_TYPE")
    with pytest.raises(LatentPolicyError, match="command type 'percent': expected a CommandType, got str"):
        command_types.command_types()
