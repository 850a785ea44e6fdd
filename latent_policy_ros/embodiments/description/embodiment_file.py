"""Content of embodiment files: one model for each of the three forms (human hand, table of hinges, URDF or MJCF)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from latent_policy_ros.common.config import (
    Config,
    Direction,
    ExistingFile,
    FileModel,
    Interval,
    Names,
    Positive,
    Text,
    Vector3,
    field_errors,
    names_of,
)
from latent_policy_ros.common.errors import available
from latent_policy_ros.common.path_names import PathName
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.model.schema import FINGERS, PALM, RAMP_TIME

DEFAULT_CORRESPONDENCE: Literal["fingers"] = "fingers"


def _finger(name: str) -> str:
    if name not in FINGERS:
        raise ValueError(f"unknown finger; {available(FINGERS)}")
    return name


def _not_zero(value: float) -> float:
    if value == 0.0:
        raise ValueError("expected a number other than 0, got 0")
    return value


def _settings_of_names(value: Any) -> Any:
    return {name: {} for name in names_of(value)} if isinstance(value, (list, tuple)) else value


def _zeros_of_names(value: Any) -> Any:
    return dict.fromkeys(names_of(value), 0.0) if isinstance(value, (list, tuple)) else value


def _link_of_name(value: Any) -> Any:
    return {"link": value} if isinstance(value, str) else value


Finger = Annotated[str, AfterValidator(_finger)]


class JointSection(Config):
    """Settings of an actuated joint."""

    rest: float | None = Field(None, description="Rest position [rad or m]. Default: derived from the geometry.")
    max_velocity: Positive | None = Field(
        None, description="Velocity limit. Default: that of the description, or else 6 rad/s or 0.1 m/s."
    )
    max_acceleration: Positive | None = Field(
        None, description=f"Acceleration limit [rad/s^2 or m/s^2]. Default: full velocity is reached in {RAMP_TIME:g} s."
    )


class CouplingSection(Config):
    """Coupling of a hinge to another one: position = ratio * position of the other + offset."""

    follows: Text = Field(description="Name of the leading hinge.")
    ratio: Annotated[float, AfterValidator(_not_zero)] = Field(description="Ratio of the positions.")
    offset: float = Field(0.0, description="Offset of the position [rad or m].")


class HandFrameSection(Config):
    """Hand frame H in the base frame: z along the fingers, x out of the palm."""

    origin: Vector3 = Field(description="Wrist [m].")
    fingers: Direction = Field(description="Direction of the stretched fingers.")
    palm: Direction = Field(description="Outward normal of the palm; made perpendicular to `fingers`.")

    @model_validator(mode="after")
    def _check(self) -> HandFrameSection:
        if np.linalg.norm(self.across()) < 0.1:
            got = f"{list(self.palm)} for fingers {list(self.fingers)}"
            raise field_errors([("palm", f"expected a direction that is not parallel to fingers, got {got}")])
        return self

    def across(self) -> np.ndarray:
        """The part of ``palm`` that is perpendicular to ``fingers`` (3,)."""
        palm, z = np.array(self.palm), np.array(self.fingers)
        return palm - z * (z @ palm)

    def transform(self) -> np.ndarray:
        """T_base_hand (4, 4)."""
        x, z = self.across(), np.array(self.fingers)
        x = x / np.linalg.norm(x)
        T_base_hand = np.eye(4)
        T_base_hand[:3] = np.column_stack((x, np.cross(z, x), z, self.origin))
        return T_base_hand


class ActionSection(Config):
    """Action of a gripper: 0 when closed, 1 when open."""

    name: Text = Field(description="Name of the action.")
    closed: float = Field(description="Joint position when closed [rad or m].")
    open: float = Field(description="Joint position when open [rad or m].")

    @model_validator(mode="after")
    def _check(self) -> ActionSection:
        if self.closed == self.open:
            raise field_errors([("open", f"expected a number other than closed, got {self.open:g}")])
        return self


class ShapeSection(Config):
    """Radii of the capsules for collisions and images."""

    link_radius: Positive = Field(description="Radius of links [m].")
    tip_radius: Positive = Field(description="Radius of fingertips [m].")
    palm_radius: Positive = Field(description="Radius of the palm [m].")


class ServoSection(Config):
    """Position servo of every actuated hinge in simulation."""

    kp: Positive = Field(description="Stiffness [N m/rad, N/m if prismatic].")
    damping: Positive = Field(description="Damping [N m s/rad, N s/m if prismatic].")
    max_effort: Positive = Field(description="Effort limit [N m, N if prismatic].")
    armature: Positive = Field(description="Rotor inertia [kg m^2, kg if prismatic].")


class HingeSection(Config):
    """A hinge of a table."""

    parent: Text = Field(description=f"Name of the next hinge towards the palm, or `{PALM}`.")
    kind: Literal["revolute", "prismatic", "fixed"] = Field("revolute", description="Kind; `fixed` carries a fixed jaw.")
    axis: Direction | None = Field(None, description="Axis in the base frame at the zero pose; required unless fixed.")
    range: Interval | None = Field(None, description="Limits [rad or m]; required unless fixed.")
    point: Vector3 = Field(description="Point on the axis in the base frame at the zero pose [m].")

    @model_validator(mode="after")
    def _check(self) -> HingeSection:
        given = {"axis": self.axis, "range": self.range}
        if self.kind == "fixed":
            errors = [(name, "a fixed hinge has none; remove it") for name, value in given.items() if value is not None]
        else:
            expected = {"axis": "3 numbers", "range": "2 numbers"}
            errors = [(name, f"missing: expected {expected[name]}") for name, value in given.items() if value is None]
        if errors:
            raise field_errors(errors)
        return self


class TableTip(Config):
    """Fingertip of a table of hinges."""

    hinge: Text = Field(description="Hinge that carries the fingertip.")
    point: Vector3 = Field(description="Contact point in the base frame at the zero pose [m].")


class LinkTip(Config):
    """Fingertip of a URDF or MJCF file."""

    link: Text = Field(description="Name of a link or site.")
    point: Vector3 | None = Field(None, description="Contact point in the frame of that link or site [m]. Default: derived.")


class EmbodimentFile(FileModel):
    """Fields of every embodiment file."""

    name: PathName | None = Field(None, description="Name. Default: that of the file.")
    kind: Literal["hand", "gripper", "human"] = Field(description="Kind of end-effector.")
    side: Literal["left", "right"] = Field(description="Side of the hand; a gripper is used as either.")


class HumanFile(EmbodimentFile):
    """File of a human hand, which has an action representation and no joints."""

    keypoints: Names = Field(description="Names of the 21 keypoints.")
    reach: Positive = Field(description="Bound on keypoint coordinates [m].")

    @model_validator(mode="after")
    def _check(self) -> HumanFile:
        if len(self.keypoints) != 21:
            raise field_errors([("keypoints", f"expected 21 names, got {len(self.keypoints)}")])
        return self


class RobotFile(EmbodimentFile):
    """Fields of the files of robot hands and grippers."""

    actuated: Annotated[dict[str, JointSection] | None, BeforeValidator(_settings_of_names)] = Field(
        None,
        description="Actuated joints, in the order of q: a list of names, or settings by name. "
        "Default: those that the description drives, or all free hinges.",
    )
    couplings: dict[str, CouplingSection] = Field({}, description="Couplings, by the name of the following hinge.")
    hand_frame: HandFrameSection | None = Field(None, description="Hand frame. Default: derived from the geometry.")
    action: ActionSection | None = Field(None, description="Action of a gripper. Default: derived from the geometry.")
    shape: ShapeSection | None = Field(None, description="Radii for collisions and images. Default: derived from the geometry.")
    servo: ServoSection | None = Field(None, description="Servo in simulation. Default: derived from the geometry.")
    correspondence: Literal["fingers", "hand"] = Field(
        DEFAULT_CORRESPONDENCE,
        description="What retargeting maps to a hand: `fingers`, each in proportion to its own length; or `hand`, all fingertips "
        "by one scale and offset.",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> RobotFile:
        if self.action is not None and self.kind != "gripper":
            raise field_errors([("action", f"only a gripper has one, got kind {self.kind}; remove it")])
        if self.correspondence != DEFAULT_CORRESPONDENCE and self.kind != "hand":
            raise field_errors([("correspondence", f"only a hand has one, got kind {self.kind}; remove it")])
        return self

    def coupling_table(self) -> dict[str, Coupling]:
        """The couplings, by the name of the following hinge."""
        return {name: Coupling(edge.follows, edge.ratio, edge.offset) for name, edge in self.couplings.items()}

    def coupling_errors(self, names: Sequence[str], noun: str) -> Iterator[tuple[str, str]]:
        """(path, message) of couplings of unknown hinges; ``noun`` is the word for hinges."""
        for name, edge in self.couplings.items():
            if name not in names:
                yield f"couplings.{name}", f"is not a {noun}; {available(names)}"
            if edge.follows not in names:
                yield f"couplings.{name}.follows", f"got {edge.follows!r}; {available(names)}"


class TableFile(RobotFile):
    """File of a robot hand or gripper that lists its hinges."""

    hinges: Annotated[dict[str, HingeSection], Field(min_length=1)] = Field(description="Hinges, by name.")
    fingertips: dict[Finger, TableTip] = Field(description="Fingertips, by finger.")

    @model_validator(mode="after")
    def _check(self) -> TableFile:
        if errors := [*self._errors()]:
            raise field_errors(errors)
        return self

    def _errors(self) -> Iterator[tuple[str, str]]:
        names = tuple(self.hinges)
        if PALM in names:
            yield f"hinges.{PALM}", f"{PALM!r} is the base and cannot be a hinge"
        for name, hinge in self.hinges.items():
            if hinge.parent not in (PALM, *names):
                yield f"hinges.{name}.parent", f"got {hinge.parent!r}; {available((PALM, *names))}"
        for finger, tip in self.fingertips.items():
            if tip.hinge not in names:
                yield f"fingertips.{finger}.hinge", f"got {tip.hinge!r}; {available(names)}"
        yield from self.coupling_errors(names, "hinge")


class DescribedFile(RobotFile):
    """File of a robot hand or gripper that names a URDF or MJCF file."""

    description: ExistingFile = Field(description="URDF or MJCF file; relative to this file, or package://NAME/PATH.")
    base: Text | None = Field(None, description="Link that is the palm. Default: the last common parent of the fingertips.")
    fingertips: dict[Finger, Annotated[LinkTip, BeforeValidator(_link_of_name)]] = Field(
        description="Fingertips, by finger: a link or site, or a point in its frame."
    )
    fixed: Annotated[dict[str, float], BeforeValidator(_zeros_of_names)] = Field(
        {}, description="Joints that are locked: a list of names (at zero), or positions by name [rad or m]."
    )
    ranges: dict[str, Interval] = Field({}, description="Joint ranges that replace those of the description [rad or m].")


def file_model(values: Any) -> type[HumanFile] | type[TableFile] | type[DescribedFile]:
    """The model of the content of an embodiment file."""
    if isinstance(values, dict) and values.get("kind") == "human":
        return HumanFile
    return DescribedFile if isinstance(values, dict) and "description" in values else TableFile
