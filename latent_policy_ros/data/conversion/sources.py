"""Sources of a mapping: topics of joints and poses, with their units, order, value map and time limit."""

from __future__ import annotations

import math
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from latent_policy_ros.common.config import Config, Names, Positive, Text, Whole, field_errors
from latent_policy_ros.common.config_messages import validation_error
from latent_policy_ros.common.yaml_file import describe
from latent_policy_ros.embodiments import Embodiment

M = TypeVar("M", bound=Config)

UNITS = {"rad": 1.0, "deg": math.pi / 180, "m": 1.0, "mm": 1e-3}
Unit = Literal["rad", "deg", "m", "mm"]
JOINT_KINDS = {"deg": "revolute", "mm": "prismatic"}  # kind of joint that a unit other than rad and m belongs to
TF, TF_STATIC = "/tf", "/tf_static"
NEXT_STATE = "next_state"  # in place of a topic: the next measured state is the action
SAME = "same"  # a frame that is the robot's base frame under another name


@dataclass(frozen=True)
class JointSource:
    """A topic of measured or commanded joints.

    Attributes:
        topics: Names of the topic; the first that is in the bag is used.
        order: Joint names, as in the bag, of the numbers of messages without names.
        scale: {joint: (factor, offset)} from the values of the bag to rad or m; (1, 0) for joints that are not listed.
        ends: Value of the bag at the closed and at the open gripper; None without a value map.
        limit: Largest time difference [s]; 0 uses that of the mapping's ``limits``.
    """

    topics: tuple[str, ...]
    order: tuple[str, ...] = ()
    scale: Map[str, tuple[float, float]] = field(default_factory=dict)
    ends: tuple[float, float] | None = None
    limit: float = 0.0

    def mapped(self, ends: tuple[float, float], embodiment: Embodiment) -> dict[str, tuple[float, float]]:
        """``scale`` with a value map of the end-effector's joints."""
        closed, opened = ends
        factor = (embodiment.action_open - embodiment.action_closed) / (opened - closed)
        return {**self.scale, **dict.fromkeys(embodiment.joint_names, (factor, embodiment.action_closed - factor * closed))}


@dataclass(frozen=True)
class PoseSource:
    """A topic of poses: ``topic``, or the pose of frame ``frames[1]`` in ``frames[0]`` composed from tf on that topic."""

    topic: str
    frames: tuple[str, str] | None = None


class SourceMapping(Config):
    """A topic of joints of a robot in a bag."""

    topic: Text = Field(description="Topic.")
    order: Names = Field((), description="The bag's joint names of the numbers of messages without names, in their order.")
    units: Unit = Field("rad", description="Unit of the end-effector's joints of that kind: deg of hinges, mm of slides.")
    more_units: Unit | None = Field(None, description="Unit of `more_joints`; required if `units` is deg or mm.")
    closed: Union[float, bool, None] = Field(
        None, description="Value of the bag at the closed gripper, e.g. 255 or true; the joint is interpolated up to `open`."
    )
    open: Union[float, bool, None] = Field(None, description="Value of the bag at the open gripper, e.g. 0 or false.")
    limit: Positive | None = Field(None, description="Largest time difference [s]. Default: that of `limits`.")

    @model_validator(mode="after")
    def _check(self) -> SourceMapping:
        if (self.closed is None) != (self.open is None):
            raise field_errors([("closed" if self.closed is None else "open", "missing: expected both `closed` and `open`")])
        if self.closed is not None and self.closed == self.open:
            raise field_errors([("open", f"equal to `closed` ({self.closed}); expected another value")])
        return self

    def source(self, embodiment: Embodiment, more_joints: Sequence[str]) -> JointSource:
        """The topic with the factors of an embodiment."""
        scale: dict[str, float] = {}
        if self.units in JOINT_KINDS:
            scale |= dict.fromkeys(joints_of_kind(embodiment, JOINT_KINDS[self.units]), UNITS[self.units])
        if self.more_units in JOINT_KINDS:
            scale |= dict.fromkeys(more_joints, UNITS[self.more_units])
        ends = None if self.closed is None or self.open is None else (float(self.closed), float(self.open))
        plain = JointSource(
            (self.topic,), self.order, {name: (factor, 0.0) for name, factor in scale.items()}, ends, self.limit or 0.0
        )
        if ends is None:
            return plain
        return JointSource(plain.topics, plain.order, plain.mapped(ends, embodiment), ends, plain.limit)


class NextState(Config):
    """Actions of a recording without commands: the measured state some frames later."""

    next_state: Whole = Field(1, gt=0, description="Number of frames between a state and the action that leads to it.")


class PoseMapping(Config):
    """A topic of poses of a robot in a bag."""

    topic: Text = Field(TF, description="Topic; with `frames`, one of tf messages, together with `/tf_static`.")
    frames: Names = Field((), description="Base frame and wrist frame, whose pose is composed from the tf messages.")

    @model_validator(mode="after")
    def _check(self) -> PoseMapping:
        if len(self.frames) not in (0, 2):
            raise field_errors([("frames", f"expected two frames, base and wrist, got {', '.join(self.frames)}")])
        return self

    @property
    def source(self) -> PoseSource:
        """The topic."""
        return PoseSource(self.topic, (self.frames[0], self.frames[1]) if self.frames else None)


def _model(model: type[M], value: Any, info: ValidationInfo) -> M:
    if isinstance(value, model):
        return value
    return model.model_validate({"topic": value} if isinstance(value, str) else value, context=info.context)


def _sources(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, list):
        return [_model(SourceMapping, value, info)]
    if not value:
        raise ValueError("expected a source or a list of sources, got none")
    found, lines = [], []
    for number, item in enumerate(value):
        try:
            found.append(_model(SourceMapping, item, info))
        except ValidationError as error:
            lines += [((number, *e["loc"]), e["msg"]) for e in error.errors(include_url=False)]
    if lines:
        raise validation_error(lines)
    return found


def _command(value: Any, info: ValidationInfo) -> Any:
    if value == NEXT_STATE or (isinstance(value, dict) and NEXT_STATE in value):
        return NextState.model_validate({} if isinstance(value, str) else value, context=info.context)
    return _sources(value, info)


def _pose(value: Any, info: ValidationInfo) -> Any:
    return _model(PoseMapping, value, info) if value else None


def _frame(value: Any) -> Any:
    if value == SAME:
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    if not isinstance(value, (list, tuple)) or len(value) != 7 or not all(isinstance(v, (int, float)) for v in value):
        raise ValueError(f"expected `{SAME}` or 7 numbers (x y z [m], qx qy qz qw), got {describe(value)}")
    if abs(math.hypot(*value[3:]) - 1.0) > 0.01:
        raise ValueError(f"expected a quaternion of norm 1, got {math.hypot(*value[3:]):.3g}")
    return tuple(map(float, value))


Sources = Annotated[list[SourceMapping], BeforeValidator(_sources)]
Command = Annotated[Union[list[SourceMapping], NextState], BeforeValidator(_command)]
Pose = Annotated[Union[PoseMapping, None], BeforeValidator(_pose)]
Frame = Annotated[tuple[float, ...], BeforeValidator(_frame)]


def joints_of_kind(embodiment: Embodiment, kind: str) -> list[str]:
    """Names of the revolute or prismatic joints of an embodiment."""
    return [name for name in embodiment.joint_names if embodiment.hinge(name).kind == kind]
