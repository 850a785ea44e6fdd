"""Driver of the ORCA hand, through its makers' package orca_core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError, describe_error
from latent_policy_ros.drivers.base import DriverSetup, JointReading
from latent_policy_ros.drivers.bus import serial_port
from latent_policy_ros.drivers.bus.threaded import CommunicationError, Differentiator, ThreadedDriver

OPTIONS = {"mock": 0}  # 1: the motors of orca_core's mock hand, without hardware


class OrcaDriver(ThreadedDriver):
    """ORCA hands.

    The address is the ``config.yaml`` of a calibrated hand, with ``calibration.yaml`` beside it. The first ``write`` sets control
    mode and current limits, and switches the torque on; ``close`` switches it off. The wrist keeps its position.

    Raises:
        HardwareError: orca_core is not installed, no such file, or it does not have the joints.
    """

    extra, module = "orca", "orca_core"

    def __init__(self, setup: DriverSetup) -> None:
        self._config, options = serial_port.split_address("orca", setup.address, OPTIONS)
        self._orca, self._mock = serial_port.library("orca_core", "orca", "orca"), bool(options["mock"])
        super().__init__(setup.joint_names, f"orca at {self._config}")
        config = self._guarded(lambda: self._orca.OrcaHandConfig.from_config_path(config_path=self._config))
        if missing := [name for name in self.joint_names if name not in config.joint_ids]:
            got = ", ".join(config.joint_ids)
            raise HardwareError(f"driver orca: {self._config}: missing joints {', '.join(missing)}; got {got}")
        self._range = np.radians([config.joint_roms_dict[name] for name in self.joint_names])

    @classmethod
    def create(cls, setup: DriverSetup) -> OrcaDriver:
        return cls(setup)

    def open(self) -> _Hand:
        options = {"engage_feedback": False, "engage_sensors": False}
        hand = self._guarded(lambda: self._orca.load_hand(config_path=self._config, mock=self._mock, **options))
        if not self._mock and hand.config.port != "auto":
            serial_port.check_port(self.label, hand.config.port)
        if not hand.is_calibrated():
            raise HardwareError(f"{self.label}: the hand is not calibrated; calibrate it with orca_core first")
        port = hand.config.port
        connected, message = hand.connect(interactive=False)
        if not connected:
            raise HardwareError(f"{self.label}: {message}")
        absent = [name for name in self.joint_names if name in hand.absent_joints]
        if absent or (port not in ("auto", hand.config.port) and not self._mock):
            hand.disconnect()
            wrong = f"expected the hand at {port}, found one at {hand.config.port}"
            raise HardwareError(f"{self.label}: {'no answer of the motors of ' + ', '.join(absent) if absent else wrong}")
        return _Hand(hand, self.joint_names, self.label)

    def hardware_range(self) -> np.ndarray:
        """Joint ranges (n, 2) of the hand's configuration [rad]; orca_core clamps commands to them."""
        return self._range

    def _guarded(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:  # orca_core raises exceptions of many kinds for mistakes in its files
            raise HardwareError(f"driver orca: {self._config}: {describe_error(error)}") from error


class _Hand:
    """Connection to one hand."""

    def __init__(self, hand: Any, names: tuple[str, ...], label: str) -> None:
        self._hand, self._names, self._label = hand, names, label
        self._velocity, self._ready = Differentiator(), False

    def measure(self) -> JointReading:
        positions = self._hand.get_joint_position().as_dict()
        if not self._hand.last_read_ok:
            raise CommunicationError(f"{self._label}: no answer of the motors")
        return self._velocity.reading(np.radians([positions[name] for name in self._names]))

    def send(self, position: np.ndarray) -> None:
        if not self._ready:
            self._hand.init_joints(move_to_neutral=False)
            self._ready = True
        self._hand.set_joint_positions(dict(zip(self._names, np.degrees(position).tolist())))

    def close(self) -> None:
        self._hand.disconnect()
