"""Driver of a simulated robot: client of the simulator's bus."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers import simulator_protocol
from latent_policy_ros.drivers.base import DriverSetup, JointReading, checked_command


class SimDriver:
    """Joints of a simulated robot, over an AF_UNIX socket (messages: ``drivers/simulator_protocol.py``).

    Args:
        path: Socket of the simulator.
        channel: Part of the robot: ``hand`` or ``arm``.
        joint_names: The n joints, in the order of this driver's arrays; matched by name with the simulator's.
        timeout: Time to wait for a reply [s].
    """

    simulated = True

    def __init__(self, path: str | Path, channel: str, joint_names: Sequence[str], timeout: float = 0.5) -> None:
        self._path, self._channel, self._timeout = str(path), channel, timeout
        self._names = tuple(joint_names)
        self._socket: socket.socket | None = None
        self._order = np.arange(len(self._names))  # indices: simulator's array -> this driver's array

    @classmethod
    def create(cls, setup: DriverSetup) -> SimDriver:
        if not str(setup.socket_path):
            raise HardwareError("driver sim: parameter socket_path: expected the socket of sim_node, got none")
        return cls(setup.socket_path, setup.channel, setup.joint_names)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def connect(self) -> None:
        self.close()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(self._timeout)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise HardwareError(f"no simulator at {self._path}: {error.strerror or error}; start sim_node first") from error
        self._socket = connection
        theirs = simulator_protocol.joint_names(self._ask(simulator_protocol.Message(simulator_protocol.HELLO, self._channel)))
        if sorted(theirs) != sorted(self._names):
            self.close()
            raise HardwareError(
                f"simulator at {self._path}, channel {self._channel}: expected joints {', '.join(self._names)}; "
                f"got {', '.join(theirs)}. Start sim_node with the same embodiment."
            )
        self._order = np.array([theirs.index(name) for name in self._names])

    def read(self) -> JointReading:
        reply = self._ask(simulator_protocol.Message(simulator_protocol.READ, self._channel))
        position, velocity = simulator_protocol.positions_velocities(reply, len(self._names))
        return JointReading(reply.stamp, position[self._order], velocity[self._order])

    def write(self, position: np.ndarray) -> np.ndarray:
        theirs = np.empty(len(self._names))
        theirs[self._order] = checked_command(self._names, position)
        reply = self._ask(simulator_protocol.write_message(self._channel, theirs, time.time()))
        return reply.array()[self._order]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: simulator_protocol.Message) -> simulator_protocol.Message:
        if self._socket is None:
            raise HardwareError(f"simulator at {self._path}: not connected; call connect() first")
        try:
            self._socket.send(simulator_protocol.pack(request))
            data = self._socket.recv(simulator_protocol.MAX_MESSAGE)
        except OSError as error:
            self.close()  # a late reply would be read as the reply to the next request
            late = isinstance(error, TimeoutError)
            what = f"no reply within {self._timeout:g} s" if late else f"connection lost: {error.strerror or error}"
            raise HardwareError(f"simulator at {self._path}: {what}") from error
        if not data:
            self.close()
            raise HardwareError(f"simulator at {self._path}: connection closed by the simulator")
        reply = simulator_protocol.unpack(data)
        if reply.op == simulator_protocol.ERROR:
            raise HardwareError(f"simulator at {self._path}: {reply.text()}")
        if (reply.op, reply.channel) != (request.op, request.channel):
            self.close()
            raise HardwareError(
                f"simulator at {self._path}: expected the reply to op {request.op} of {request.channel!r}, "
                f"got op {reply.op} of {reply.channel!r}"
            )
        return reply
