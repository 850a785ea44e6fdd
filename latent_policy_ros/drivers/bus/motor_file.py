"""Motor files: port, motors of each joint, and the conversion between joint positions and motor ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from latent_policy_ros.common.config import Config, FileModel, Positive, Text, Whole, config_file, load
from latent_policy_ros.common.errors import ConfigError, HardwareError

TICKS = 4096  # of one turn

Gain = Annotated[Whole, Field(ge=0, le=16383)]


def _direction(value: int) -> int:
    if value not in (1, -1):
        raise ValueError(f"expected 1 or -1, got {value}")
    return value


class MotorSection(Config):
    """Motor of one joint."""

    id: Annotated[Whole, Field(ge=0, le=252)] = Field(description="Id of the motor on its bus.")
    model: Text = Field(description="Model of the motor, e.g. xc330-m288 or sts3215.")
    zero: float = Field(180.0, ge=0.0, le=360.0, description="Angle of the motor at position 0 of the joint [deg].")
    direction: Annotated[Whole, AfterValidator(_direction)] = Field(
        1, description="-1 if the motor's angle decreases where the joint's position increases, else 1."
    )
    ratio: Positive = Field(1.0, description="Rotation of the motor per joint position [rad/rad, or rad/m for slides].")
    current_limit: Positive | None = Field(
        None, description="Dynamixel: largest current [mA], in the current-based position mode. Default: the position mode."
    )
    torque_limit: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        None, description="Feetech: largest torque, in percent of the stall torque. Default: not changed."
    )
    p_gain: Gain | None = Field(None, description="Proportional gain, in the motor's units. Default: not changed.")
    i_gain: Gain | None = Field(None, description="Integral gain, in the motor's units. Default: not changed.")
    d_gain: Gain | None = Field(None, description="Derivative gain, in the motor's units. Default: not changed.")


class MotorFile(FileModel):
    """Motors of a hand, gripper or arm on one serial bus."""

    port: Text = Field(description="Serial port; a path under /dev/serial/by-id does not change between boots.")
    baud_rate: Annotated[Whole, Field(ge=9600)] = Field(description="Baud rate of all motors of the bus.")
    defaults: dict[str, Any] = Field({}, description="Values of the fields of `motors` for motors that do not set them.")
    motors: Annotated[dict[str, MotorSection], Field(min_length=1)] = Field(description="Motors by joint name.")

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("defaults"), dict) and isinstance(values.get("motors"), dict):
            defaults = values["defaults"]
            merged = {k: {**defaults, **motor} if isinstance(motor, dict) else motor for k, motor in values["motors"].items()}
            return {**values, "motors": merged}
        return values

    @model_validator(mode="after")
    def _unique_ids(self) -> MotorFile:
        seen: dict[int, str] = {}
        for joint, motor in self.motors.items():
            if motor.id in seen:
                raise ValueError(f"motors {seen[motor.id]} and {joint} have the same id {motor.id}")
            seen[motor.id] = joint
        return self


class Motors:
    """The n motors of a driver's joints, in the order of the joints.

    Attributes:
        names: The joints.
        sections: Their motors.
        ids: Their ids on the bus.
    """

    def __init__(self, names: Sequence[str], content: MotorFile) -> None:
        self.names, self.port, self.baud_rate = tuple(names), content.port, content.baud_rate
        self.sections = [content.motors[name] for name in names]
        self.ids = [section.id for section in self.sections]
        self._zero = np.array([section.zero for section in self.sections]) * TICKS / 360.0
        self._scale = np.array([s.direction * s.ratio for s in self.sections]) * TICKS / (2.0 * np.pi)  # ticks per rad or m

    def describe(self, index: int) -> str:
        """``motor 3 (index_mcp)``, for error messages."""
        return f"motor {self.ids[index]} ({self.names[index]})"

    def to_ticks(self, position: np.ndarray) -> np.ndarray:
        """Joint positions (n,) [rad or m] as motor positions (n,) [ticks], integers."""
        return np.rint(self._zero + self._scale * position).astype(int)

    def to_position(self, ticks: np.ndarray) -> np.ndarray:
        """Motor positions (n,) [ticks] as joint positions (n,) [rad or m]."""
        return (np.asarray(ticks, float) - self._zero) / self._scale

    def to_velocity(self, ticks_per_second: np.ndarray) -> np.ndarray:
        """Motor velocities (n,) [ticks/s] as joint velocities (n,) [rad/s or m/s]."""
        return np.asarray(ticks_per_second, float) / self._scale

    def to_range(self, ticks: np.ndarray) -> np.ndarray:
        """Motor ranges (n, 2) [ticks] as joint ranges (n, 2) [rad or m], lower first."""
        return np.sort(np.stack([self.to_position(ticks[:, 0]), self.to_position(ticks[:, 1])], axis=1), axis=1)


def load_motors(driver: str, address: str, names: Sequence[str], port: str = "") -> Motors:
    """Load the motors of a driver's joints.

    Args:
        driver: Name of the driver, for error messages.
        address: Motor file: a YAML file, or a name in ``config/motors``.
        names: The joints; the file may have further ones.
        port: Serial port that replaces that of the file; empty: that of the file.

    Raises:
        HardwareError: No such file, mistakes in it, or a joint without a motor.
    """
    try:
        content = load(MotorFile, config_file("motors", address, "motor file"))
    except ConfigError as error:
        raise HardwareError(f"driver {driver}: {error}") from error
    if missing := [name for name in names if name not in content.motors]:
        got = ", ".join(content.motors)
        raise HardwareError(f"driver {driver}: {content.file}: motors: missing for the joints {', '.join(missing)}; got {got}")
    return Motors(names, content if not port else content.model_copy(update={"port": port}))
