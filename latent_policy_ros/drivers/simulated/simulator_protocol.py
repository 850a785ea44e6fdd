"""Exchange between drivers and the simulator: requests over AF_UNIX SOCK_SEQPACKET, joints in shared memory.

A message is ``header | channel (UTF-8) | payload``, one datagram, little-endian; the header is magic, op and length of the channel.
A client sends one request and receives one reply with the same op and channel, or ERROR with a text.

====== =================== ==========================================================================================
op     request             reply
====== =================== ==========================================================================================
HELLO  read a channel      JSON {"joint_names": [n strings], "lower": [n], "upper": [n]}, and the file of its memory
CLAIM  command a channel   empty; this client alone may write commands, until it disconnects
ERROR  -                   UTF-8 error message
====== =================== ==========================================================================================

The memory of a channel, :class:`ChannelMemory`, holds the newest measurement and the newest command. Neither side waits for the
other: each awakening of a process costs more than all the rest of the exchange.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.simulated.shared_record import SharedRecord

MAGIC = b"LPB2"
HELLO, CLAIM, ERROR = 1, 2, 255
HEADER = struct.Struct("<4sBxH")
MAX_MESSAGE = 65536  # bytes, enough for 1000 joints


@dataclass(frozen=True)
class Message:
    """One request or reply.

    Attributes:
        op: ``HELLO``, ``CLAIM`` or ``ERROR``.
        channel: Part of the robot: ``hand`` or ``arm``.
        payload: Encoded content, see the module's table.
    """

    op: int
    channel: str
    payload: bytes = b""

    def text(self) -> str:
        """Decode the payload of an ERROR reply."""
        return self.payload.decode("utf-8", "replace")


def pack(message: Message) -> bytes:
    """Encode a message."""
    channel = message.channel.encode()
    return HEADER.pack(MAGIC, message.op, len(channel)) + channel + message.payload


def unpack(data: bytes) -> Message:
    """Decode a message; raises HardwareError if ``data`` is malformed."""
    if len(data) < HEADER.size:
        raise HardwareError(f"bus message: expected at least {HEADER.size} bytes, got {len(data)}")
    magic, op, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise HardwareError(f"bus message: expected magic {MAGIC!r}, got {magic!r}")
    if op not in (HELLO, CLAIM, ERROR):
        raise HardwareError(f"bus message: unknown op {op}, expected one of {HELLO}, {CLAIM}, {ERROR}")
    if len(data) < HEADER.size + length:
        raise HardwareError(f"bus message: expected a channel name of {length} bytes, got {len(data) - HEADER.size}")
    channel = data[HEADER.size : HEADER.size + length].decode("utf-8", "replace")
    return Message(op, channel, bytes(data[HEADER.size + length :]))


@dataclass(frozen=True)
class Channel:
    """Joints of one driver.

    Attributes:
        joint_names: Their names.
        lower, upper: Limits (n,) to which commands are clipped [rad or m].
    """

    joint_names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray


def hello_reply(name: str, channel: Channel) -> Message:
    """Make the reply to HELLO."""
    content = {"joint_names": channel.joint_names, "lower": channel.lower.tolist(), "upper": channel.upper.tolist()}
    return Message(HELLO, name, json.dumps(content).encode())


def read_channel(message: Message) -> Channel:
    """Decode a HELLO reply; raises HardwareError if it is malformed."""
    try:
        content = json.loads(message.payload)
        return Channel(tuple(map(str, content["joint_names"])), np.array(content["lower"]), np.array(content["upper"]))
    except (ValueError, KeyError, TypeError) as error:
        expected = "expected JSON with joint_names, lower and upper"
        raise HardwareError(f"bus channel {message.channel!r}: HELLO reply: {expected}, got {message.payload[:80]!r}") from error


def error_reply(channel: str, text: str) -> Message:
    """Make an ERROR reply."""
    return Message(ERROR, channel, text.encode()[: MAX_MESSAGE // 2])


class ChannelMemory:
    """Newest measurement and newest command of n joints, in memory that simulator and driver share.

    Args:
        joints: Number of joints n.
        file: File descriptor of the memory, which is closed; None allocates it.

    Raises:
        HardwareError: The memory has another size.
    """

    def __init__(self, joints: int, file: int | None = None) -> None:
        measured, commanded = 1 + 2 * joints, 1 + joints
        size = SharedRecord.size(measured) + SharedRecord.size(commanded)
        if file is None:
            self.file = os.memfd_create("joints")  # in no folder: nothing is left behind
            os.truncate(self.file, size)
        else:
            self.file = file
            if (got := os.fstat(file).st_size) != size:
                os.close(file)
                raise HardwareError(f"bus: expected {size} bytes of memory for {joints} joints, got {got}")
        memory = mmap.mmap(self.file, size)
        self._measured = SharedRecord(memory, 0, measured)
        self._commanded = SharedRecord(memory, SharedRecord.size(measured), commanded)
        self._number = 0.0  # of the newest command, written or read
        if (newest := self._commanded.read()) is not None:
            self._number = newest[0]
        if file is not None:
            os.close(file)

    def measure(self, stamp: float, position: np.ndarray, velocity: np.ndarray) -> None:
        """Set the measurement: stamp [s], positions and velocities (n,)."""
        self._measured.write(np.concatenate([[stamp], position, velocity]))

    def measured(self) -> tuple[float, np.ndarray, np.ndarray] | None:
        """Stamp [s], positions and velocities (n,) of the newest measurement; None before the first."""
        values = self._measured.read()
        if values is None:
            return None
        half = (len(values) + 1) // 2
        return float(values[0]), values[1:half], values[half:]

    def command(self, position: np.ndarray) -> None:
        """Set the command: positions (n,)."""
        self._number += 1.0
        self._commanded.write(np.concatenate([[self._number], position]))

    def take_command(self) -> np.ndarray | None:
        """The newest command (n,), once; None if there is no new one."""
        values = self._commanded.read()
        if values is None or values[0] == self._number:
            return None
        self._number = float(values[0])
        return values[1:]
