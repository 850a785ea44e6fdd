"""Messages between drivers and the simulator: one datagram each over AF_UNIX SOCK_SEQPACKET, little-endian.

A message is ``header | channel (UTF-8) | payload``; the header is magic, op, length of the channel and stamp [s].
A client sends one request and receives one reply with the same op and channel, or ERROR with a text.

====== ======================== =====================================================
op     request payload          reply payload
====== ======================== =====================================================
HELLO  empty                    JSON {"joint_names": [n strings]}
READ   empty                    2n float64: positions, velocities; stamp: time of measurement
WRITE  n float64: positions     n float64: positions as set, after limits
ERROR  -                        UTF-8 error message
====== ======================== =====================================================
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.common.errors import HardwareError

MAGIC = b"LPB1"
HELLO, READ, WRITE, ERROR = 1, 2, 3, 255
HEADER = struct.Struct("<4sBxHd")
MAX_MESSAGE = 16384  # bytes, enough for 1000 joints


@dataclass(frozen=True)
class Message:
    """One request or reply.

    Attributes:
        op: ``HELLO``, ``READ``, ``WRITE`` or ``ERROR``.
        channel: Part of the robot: ``hand`` or ``arm``.
        stamp: Time of the message or of its measurement [s since the epoch].
        payload: Encoded values, see the module's table.
    """

    op: int
    channel: str
    stamp: float = 0.0
    payload: bytes = b""

    def array(self) -> np.ndarray:
        """Decode the payload to (n,) float64; raises HardwareError if its length is no multiple of 8."""
        if len(self.payload) % 8:
            raise HardwareError(f"bus channel {self.channel!r}: payload must be whole float64, got {len(self.payload)} bytes")
        return np.frombuffer(self.payload, "<f8").astype(float)

    def text(self) -> str:
        """Decode the payload of an ERROR reply."""
        return self.payload.decode("utf-8", "replace")


def pack(message: Message) -> bytes:
    """Encode a message."""
    channel = message.channel.encode()
    return HEADER.pack(MAGIC, message.op, len(channel), message.stamp) + channel + message.payload


def unpack(data: bytes) -> Message:
    """Decode a message; raises HardwareError if ``data`` is malformed."""
    if len(data) < HEADER.size:
        raise HardwareError(f"bus message: expected at least {HEADER.size} bytes, got {len(data)}")
    magic, op, length, stamp = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise HardwareError(f"bus message: expected magic {MAGIC!r}, got {magic!r}")
    if op not in (HELLO, READ, WRITE, ERROR):
        raise HardwareError(f"bus message: unknown op {op}, expected one of {HELLO}, {READ}, {WRITE}, {ERROR}")
    if len(data) < HEADER.size + length:
        raise HardwareError(f"bus message: expected a channel name of {length} bytes, got {len(data) - HEADER.size}")
    channel = data[HEADER.size : HEADER.size + length].decode("utf-8", "replace")
    return Message(op, channel, stamp, bytes(data[HEADER.size + length :]))


def hello_reply(channel: str, joint_names: tuple[str, ...], stamp: float) -> Message:
    """Make the reply to HELLO."""
    return Message(HELLO, channel, stamp, json.dumps({"joint_names": list(joint_names)}).encode())


def joint_names(message: Message) -> tuple[str, ...]:
    """Decode the joint names of a HELLO reply; raises HardwareError if it has none."""
    try:
        names = json.loads(message.payload)["joint_names"]
    except (ValueError, KeyError, TypeError) as e:
        raise HardwareError(
            f"bus channel {message.channel!r}: HELLO reply: expected JSON with joint_names, got {message.payload[:80]!r}"
        ) from e
    return tuple(str(n) for n in names)


def read_reply(channel: str, position: np.ndarray, velocity: np.ndarray, stamp: float) -> Message:
    """Make the reply to READ from positions (n,) and velocities (n,)."""
    return Message(READ, channel, stamp, np.concatenate([position, velocity]).astype("<f8").tobytes())


def write_message(channel: str, position: np.ndarray, stamp: float = 0.0) -> Message:
    """Make a WRITE request, or its reply, from positions (n,)."""
    return Message(WRITE, channel, stamp, np.asarray(position, "<f8").tobytes())


def error_reply(channel: str, text: str) -> Message:
    """Make an ERROR reply."""
    return Message(ERROR, channel, 0.0, text.encode()[: MAX_MESSAGE // 2])


def positions_velocities(message: Message, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode positions (n,) and velocities (n,) of a READ reply; raises HardwareError if their number differs."""
    values = message.array()
    if values.size != 2 * n:
        raise HardwareError(f"bus channel {message.channel!r}: expected {2 * n} values (positions, velocities), got {values.size}")
    return values[:n], values[n:]
