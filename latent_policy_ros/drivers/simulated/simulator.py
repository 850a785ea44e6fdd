"""Driver of a simulated robot: client of the simulator's bus."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup, JointReading, checked_command
from latent_policy_ros.drivers.simulated import simulator_protocol
from latent_policy_ros.drivers.simulated.simulator_protocol import CLAIM, ERROR, HELLO, ChannelMemory, Message


class SimDriver:
    """Joints of a simulated robot, in memory shared with the simulator (``drivers/simulated/simulator_protocol.py``).

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
        self._reading: JointReading | None = None
        self._claimed = False  # whether this driver commands the channel

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
        self._socket, self._reading, self._claimed = connection, None, False
        reply, files = self._ask(HELLO)
        theirs = simulator_protocol.read_channel(reply)
        if sorted(theirs.joint_names) != sorted(self._names):
            self.close(files)
            raise HardwareError(
                f"simulator at {self._path}, channel {self._channel}: expected joints {', '.join(self._names)}; "
                f"got {', '.join(theirs.joint_names)}. Start sim_node with the same embodiment."
            )
        if len(files) != 1:
            self.close(files)
            raise HardwareError(f"simulator at {self._path}: expected the file of its memory, got {len(files)} files")
        self._order = np.array([theirs.joint_names.index(name) for name in self._names])
        self._lower, self._upper = theirs.lower, theirs.upper
        self._memory = ChannelMemory(len(self._names), files[0])

    def read(self) -> JointReading:
        self._check_connection()
        if (measured := self._memory.measured()) is not None:
            stamp, position, velocity = measured
            self._reading = JointReading(stamp, position[self._order], velocity[self._order])
        if self._reading is None:
            raise HardwareError(f"simulator at {self._path}, channel {self._channel}: no measurement yet")
        return JointReading(self._reading.stamp, self._reading.position.copy(), self._reading.velocity.copy())

    def write(self, position: np.ndarray) -> np.ndarray:
        self._check_connection()
        theirs = np.empty(len(self._names))
        theirs[self._order] = checked_command(self._names, position)
        if not self._claimed:
            self._ask(CLAIM)
            self._claimed = True
        theirs = np.minimum(np.maximum(theirs, self._lower), self._upper)
        self._memory.command(theirs)
        return theirs[self._order]

    def close(self, files: Sequence[int] = ()) -> None:
        for file in files:
            os.close(file)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _check_connection(self) -> None:
        """Raise HardwareError if the simulator has closed the connection."""
        if self._socket is None:
            raise HardwareError(f"simulator at {self._path}: not connected; call connect() first")
        try:
            data = self._socket.recv(1)
        except BlockingIOError:
            return  # it sends nothing unasked
        except OSError as error:
            self.close()
            raise HardwareError(f"simulator at {self._path}: connection lost: {error.strerror or error}") from error
        self.close()
        raise HardwareError(f"simulator at {self._path}: {'unexpected message' if data else 'connection closed by the simulator'}")

    def _ask(self, op: int) -> tuple[Message, list[int]]:
        """The reply to a request, and the files that came with it."""
        assert self._socket is not None
        try:
            self._socket.settimeout(self._timeout)
            self._socket.send(simulator_protocol.pack(Message(op, self._channel)))
            data, files, _, _ = socket.recv_fds(self._socket, simulator_protocol.MAX_MESSAGE, 1)
            self._socket.setblocking(False)
        except OSError as error:
            self.close()  # a late reply would be read as the reply to the next request
            late = isinstance(error, TimeoutError)
            what = f"no reply within {self._timeout:g} s" if late else f"connection lost: {error.strerror or error}"
            raise HardwareError(f"simulator at {self._path}: {what}") from error
        if not data:
            self.close(files)
            raise HardwareError(f"simulator at {self._path}: connection closed by the simulator")
        reply = simulator_protocol.unpack(data)
        if reply.op == ERROR:
            raise HardwareError(f"simulator at {self._path}: {reply.text()}")
        if (reply.op, reply.channel) != (op, self._channel):
            self.close(files)
            raise HardwareError(
                f"simulator at {self._path}: expected the reply to op {op} of {self._channel!r}, "
                f"got op {reply.op} of {reply.channel!r}"
            )
        return reply, files
