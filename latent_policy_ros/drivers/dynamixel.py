"""Driver of Dynamixel X motors (Protocol 2.0): LEAP hand, and any hand, gripper or arm of these motors."""

from __future__ import annotations

import time

import numpy as np

from latent_policy_ros.drivers.bus.motor_bus import MotorBus, MotorDriver
from latent_policy_ros.drivers.bus.motor_file import MotorSection

#: Unit of currents [mA] of the models that measure them.
CURRENT_UNITS = {
    "xl330-m077": 1.0, "xl330-m288": 1.0, "xc330-t181": 1.0, "xc330-t288": 1.0, "xc330-m181": 1.0, "xc330-m288": 1.0,
    "xm430-w350": 2.69, "xm430-w210": 2.69, "xm540-w270": 2.69, "xm540-w150": 2.69, "xh430-w350": 2.69, "xh430-w210": 2.69,
    "xh540-w270": 2.69, "xh540-w150": 2.69,
}  # fmt: skip
# Control table of the X series.
OPERATING_MODE, TORQUE_ENABLE, HARDWARE_ERROR, CURRENT_LIMIT, GOAL_CURRENT = (11, 1), (64, 1), (70, 1), (38, 2), (102, 2)
POSITION_LIMITS = (48, 8)  # highest and lowest position
GAINS = {"d_gain": (80, 2), "i_gain": (82, 2), "p_gain": (84, 2)}
POSITION_MODE, CURRENT_BASED_POSITION_MODE = 3, 5
VELOCITY_UNIT = 0.229 / 60.0 * 4096  # ticks/s
FLASH_TIME = 0.03  # s for a motor to store its mode
ALERT = 0x80  # bit of the error byte: the motor has a hardware error
#: Bits of the hardware error status; bit 0, the input voltage, does not switch the torque off.
HARDWARE_ERRORS = {2: "overheating", 3: "encoder", 4: "electrical shock", 5: "overload"}


class DynamixelBus(MotorBus):
    """Bus of Dynamixel X motors."""

    models = {
        "xl330-m077": 1190, "xl330-m288": 1200, "xc330-t181": 1210, "xc330-t288": 1220, "xc330-m181": 1230, "xc330-m288": 1240,
        "xl430-w250": 1060, "2xl430-w250": 1090, "xc430-w150": 1070, "xc430-w240": 1080, "2xc430-w250": 1160, "xm430-w350": 1020,
        "xm430-w210": 1030, "xm540-w270": 1120, "xm540-w150": 1130, "xh430-w350": 1000, "xh430-w210": 1010, "xh540-w270": 1100,
        "xh540-w150": 1110,
    }  # fmt: skip
    protocol = 2.0
    present = (128, 8)  # velocity, position
    goal = (116, 4)
    torque_enable = TORQUE_ENABLE

    @staticmethod
    def unsupported(section: MotorSection) -> str:
        if section.torque_limit is not None:
            return "torque_limit: for Feetech motors only; use current_limit"
        if section.current_limit is not None and section.model not in CURRENT_UNITS:
            return f"current_limit: {section.model} does not measure its current"
        return ""

    def limits(self) -> np.ndarray:
        return np.array([(value >> 32, value & 0xFFFFFFFF) for value in self.get(POSITION_LIMITS)])

    def fault(self, index: int, error: int) -> str:
        if not error & ALERT:
            return ""
        bits = self.read(index, HARDWARE_ERROR)
        names = [name for bit, name in HARDWARE_ERRORS.items() if bits >> bit & 1]
        return f"hardware error: {', '.join(names)}" if names else ""

    def decode(self, answers: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        values = np.frombuffer(b"".join(answers), "<i4").reshape(-1, 2)
        return values[:, 1], values[:, 0] * VELOCITY_UNIT

    def configure(self) -> None:
        sections = self.motors.sections
        modes = [POSITION_MODE if section.current_limit is None else CURRENT_BASED_POSITION_MODE for section in sections]
        other = [mode != got for mode, got in zip(modes, self.get(OPERATING_MODE))]
        if any(other):  # the mode can be set only while the torque is off
            self.set(TORQUE_ENABLE, [0 if differs else None for differs in other])
            self.set(OPERATING_MODE, [mode if differs else None for mode, differs in zip(modes, other)])
            time.sleep(FLASH_TIME)
        for field, register in GAINS.items():
            self.set(register, [getattr(section, field) for section in sections])
        highest = self.get(CURRENT_LIMIT)
        self.set(GOAL_CURRENT, [self._goal_current(section, most) for section, most in zip(sections, highest)])

    @staticmethod
    def _goal_current(section: MotorSection, highest: int) -> int | None:
        if section.current_limit is None:
            return None
        return min(int(section.current_limit / CURRENT_UNITS[section.model]), highest)

    def encode(self, ticks: np.ndarray) -> list[int]:
        return [int(value) & 0xFFFFFFFF for value in ticks]


class DynamixelDriver(MotorDriver):
    """Hands, grippers and arms of Dynamixel X motors, e.g. the LEAP hand.

    ``bus.motor_bus.MotorDriver`` describes address and behaviour.
    """

    extra, module, bus_class = "dynamixel", "dynamixel_sdk", DynamixelBus
