"""Command message types: conversion of joint commands in bags to points of a trajectory.

An installed package adds a message type through the entry point group ``latent_policy_ros.command_types``; the entry point
refers to a :class:`CommandType`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.observations.messages import to_seconds


@dataclass(frozen=True)
class CommandPoint:
    """One commanded joint position.

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
        read: Converts a message to its points in order of time. No points command the robot to hold its measured position.
        named: Whether messages name their joints. If not, the mapping lists the joints in ``command.order``.
    """

    message_type: str
    read: Callable[[Any], Sequence[CommandPoint]]
    named: bool = True


COMMAND_TYPES = Registry(
    "command type",
    "latent_policy_ros.command_types",
    {
        "joint_trajectory": f"{__name__}:JOINT_TRAJECTORY",
        "joint_state": f"{__name__}:JOINT_STATE",
        "float64_array": f"{__name__}:FLOAT64_ARRAY",
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


def _joint_state(message: Any) -> list[CommandPoint]:
    return [CommandPoint(message.position, message.name)]


def _array(message: Any) -> list[CommandPoint]:
    return [CommandPoint(message.data)]


JOINT_TRAJECTORY = CommandType("trajectory_msgs/msg/JointTrajectory", _trajectory)
JOINT_STATE = CommandType("sensor_msgs/msg/JointState", _joint_state)
FLOAT64_ARRAY = CommandType("std_msgs/msg/Float64MultiArray", _array, named=False)
