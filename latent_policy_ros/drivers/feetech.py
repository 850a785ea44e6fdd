"""Driver of Feetech STS motors: SO-101 arm and gripper, and any hand or arm of these motors."""

from __future__ import annotations

import numpy as np

from latent_policy_ros.drivers.bus.motor_bus import MotorBus, MotorDriver
from latent_policy_ros.drivers.bus.motor_file import TICKS, MotorSection

# Control table of the STS series.
POSITION_LIMITS = (9, 4)  # lowest and highest position
OPERATING_MODE, TORQUE_ENABLE, TORQUE_LIMIT, LOCK = (33, 1), (40, 1), (48, 2), (55, 1)
GAINS = {"p_gain": (21, 1), "d_gain": (22, 1), "i_gain": (23, 1)}
POSITION_MODE = 0
SIGN = 0x8000  # sign bit of velocities and positions
#: Bits of the error byte; bit 0, the input voltage, does not switch the torque off.
ERRORS = {1: "position sensor", 2: "overheating", 3: "overcurrent", 5: "overload"}


class FeetechBus(MotorBus):
    """Bus of Feetech STS motors."""

    models = {"sts3215": 777, "sts3250": 2825}
    protocol = 0
    present = (56, 4)  # position, velocity
    goal = (42, 2)
    torque_enable = TORQUE_ENABLE

    @staticmethod
    def unsupported(section: MotorSection) -> str:
        return "" if section.current_limit is None else "current_limit: for Dynamixel motors only; use torque_limit"

    def limits(self) -> np.ndarray:
        limits = [(value & 0xFFFF, value >> 16) for value in self.get(POSITION_LIMITS)]
        return np.array([(low, high) if high else (0, TICKS - 1) for low, high in limits])  # 0 and 0: no limits

    def fault(self, index: int, error: int) -> str:
        names = [name for bit, name in ERRORS.items() if error >> bit & 1]
        return f"hardware error: {', '.join(names)}" if names else ""

    def decode(self, answers: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        values = np.frombuffer(b"".join(answers), "<u2").reshape(-1, 2).astype(int)
        values = np.where(values & SIGN, -(values & ~SIGN), values)
        return values[:, 0], values[:, 1]

    def configure(self) -> None:
        wanted = {register: [getattr(s, field) for s in self.motors.sections] for field, register in GAINS.items()}
        wanted[OPERATING_MODE] = [POSITION_MODE] * len(self.motors.sections)
        changes = {}
        for register, values in wanted.items():
            different = [None if value == got else value for value, got in zip(values, self.get(register))]
            if any(value is not None for value in different):
                changes[register] = different
        if changes:  # these values are in flash memory, which is locked
            count = len(self.motors.sections)
            self.set(TORQUE_ENABLE, [0] * count)
            self.set(LOCK, [0] * count)
            for register, values in changes.items():
                self.set(register, values)
            self.set(LOCK, [1] * count)
        limits = [section.torque_limit for section in self.motors.sections]
        self.set(TORQUE_LIMIT, [None if limit is None else round(10 * limit) for limit in limits])  # in 0.1 %

    def encode(self, ticks: np.ndarray) -> list[int]:
        return [int(value) if value >= 0 else SIGN | -int(value) for value in ticks]


class FeetechDriver(MotorDriver):
    """Hands, grippers and arms of Feetech STS motors, e.g. the SO-101.

    ``bus.motor_bus.MotorDriver`` describes address and behaviour.
    """

    extra, module, bus_class = "feetech", "scservo_sdk", FeetechBus
