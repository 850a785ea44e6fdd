"""Joint message types: conversion of joint commands, and of measured joints, in bags to points of a trajectory.

An installed package adds a message type through the entry point group ``latent_policy_ros.command_types``; the entry point
refers to a :class:`CommandType`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError, ObservationRefused
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.observations.messages import to_seconds


@dataclass(frozen=True)
class CommandPoint:
    """One commanded or measured joint position.

    Attributes:
        positions: One number for each joint, in the unit of the message.
        names: Names of the joints as in the message; None if the message has none.
        time_from_start: Time after receipt at which the positions are to be reached [s].
    """

    positions: Sequence[float]
    names: Sequence[str] | None = None
    time_from_start: float = 0.0


@dataclass(frozen=True)
class CommandType:
    """A message type of joint commands.

    Attributes:
        message_type: E.g. ``trajectory_msgs/msg/JointTrajectory``.
        read: Converts a message to its points in order of time. No points command the robot to hold its measured position;
            None ignores the message, e.g. one of velocities only.
        named: Whether messages name their joints. If not, the mapping lists the joints in ``order``; a single number without
            ``order`` is the joint of a gripper that has one.
        measures: Whether messages can also be measurements.
        ends: Values at the closed and at the open gripper that a mapping without ``closed`` and ``open`` uses; None: the values
            are in the unit of the mapping.
    """

    message_type: str
    read: Callable[[Any], Sequence[CommandPoint] | None]
    named: bool = True
    measures: bool = True
    ends: tuple[float, float] | None = None


#: Messages with one number in ``data``.
NUMBERS = "Float32", "Float64", "UInt8", "UInt16", "UInt32", "Int8", "Int16", "Int32"
ARRAYS = "Float32MultiArray", "Float64MultiArray", "UInt8MultiArray", "UInt16MultiArray", "Int16MultiArray", "Int32MultiArray"
COMMAND_TYPES = Registry(
    "command type",
    "latent_policy_ros.command_types",
    {
        "joint_trajectory": f"{__name__}:JOINT_TRAJECTORY",
        "joint_state": f"{__name__}:JOINT_STATE",
        "dynamic_joint_state": f"{__name__}:DYNAMIC_JOINT_STATE",
        "gripper_command": f"{__name__}:GRIPPER_COMMAND",
        "bool": f"{__name__}:BOOL",
        **{name.lower(): f"{__name__}:{name.upper()}" for name in (*NUMBERS, *ARRAYS)},
    },
)


def command_types() -> dict[str, CommandType]:
    """All registered command types by ROS message type.

    Raises:
        LatentPolicyError: An entry point does not refer to a CommandType, or a message type is registered twice.
    """
    found: dict[str, CommandType] = {}
    for name in COMMAND_TYPES.names():
        entry = COMMAND_TYPES.load(name)
        if not isinstance(entry, CommandType):
            raise LatentPolicyError(f"command type {name!r}: expected a CommandType, got {type(entry).__name__}")
        if entry.message_type in found:
            raise LatentPolicyError(f"command type {name!r}: {entry.message_type} is registered already")
        found[entry.message_type] = entry
    return found


def _trajectory(message: Any) -> list[CommandPoint]:
    return [CommandPoint(p.positions, message.joint_names, to_seconds(p.time_from_start)) for p in message.points]


def _joint_state(message: Any) -> list[CommandPoint] | None:
    if not len(message.position):
        return None
    return [CommandPoint(message.position, message.name if len(message.name) else None)]


def _dynamic_joint_state(message: Any) -> list[CommandPoint] | None:
    positions, names = [], []
    if len(message.joint_names) != len(message.interface_values):
        counts = f"{len(message.joint_names)} names and {len(message.interface_values)} sets of values"
        raise ObservationRefused(f"DynamicJointState has {counts}")
    for name, values in zip(message.joint_names, message.interface_values):
        if len(values.interface_names) != len(values.values):
            counts = f"{len(values.interface_names)} interfaces and {len(values.values)} values"
            raise ObservationRefused(f"DynamicJointState has {counts} of {name}")
        if "position" in values.interface_names:
            names.append(name)
            positions.append(values.values[list(values.interface_names).index("position")])
    return [CommandPoint(positions, names)] if names else None


def _gripper_command(message: Any) -> list[CommandPoint]:
    return [CommandPoint([message.position])]


def _number(message: Any) -> list[CommandPoint]:
    return [CommandPoint([float(message.data)])]


def _array(message: Any) -> list[CommandPoint]:
    return [CommandPoint(message.data)]


JOINT_TRAJECTORY = CommandType("trajectory_msgs/msg/JointTrajectory", _trajectory, measures=False)
JOINT_STATE = CommandType("sensor_msgs/msg/JointState", _joint_state)
DYNAMIC_JOINT_STATE = CommandType("control_msgs/msg/DynamicJointState", _dynamic_joint_state)
GRIPPER_COMMAND = CommandType("control_msgs/msg/GripperCommand", _gripper_command, named=False)
BOOL = CommandType("std_msgs/msg/Bool", _number, named=False, ends=(1.0, 0.0))
FLOAT32 = CommandType("std_msgs/msg/Float32", _number, named=False)
FLOAT64 = CommandType("std_msgs/msg/Float64", _number, named=False)
UINT8 = CommandType("std_msgs/msg/UInt8", _number, named=False)
UINT16 = CommandType("std_msgs/msg/UInt16", _number, named=False)
UINT32 = CommandType("std_msgs/msg/UInt32", _number, named=False)
INT8 = CommandType("std_msgs/msg/Int8", _number, named=False)
INT16 = CommandType("std_msgs/msg/Int16", _number, named=False)
INT32 = CommandType("std_msgs/msg/Int32", _number, named=False)
FLOAT32MULTIARRAY = CommandType("std_msgs/msg/Float32MultiArray", _array, named=False)
FLOAT64MULTIARRAY = CommandType("std_msgs/msg/Float64MultiArray", _array, named=False)
UINT8MULTIARRAY = CommandType("std_msgs/msg/UInt8MultiArray", _array, named=False)
UINT16MULTIARRAY = CommandType("std_msgs/msg/UInt16MultiArray", _array, named=False)
INT16MULTIARRAY = CommandType("std_msgs/msg/Int16MultiArray", _array, named=False)
INT32MULTIARRAY = CommandType("std_msgs/msg/Int32MultiArray", _array, named=False)
