"""Messages between a driver and the simulator's bus: one datagram each over AF_UNIX SOCK_SEQPACKET, little-endian.

Every message is ``header | channel (UTF-8) | payload``, where header = magic, op, channel length, stamp [s].
A client sends one request and receives one reply with the same op and channel, or ERROR with a text.

====== ======================== =====================================================
op     request payload          reply payload
====== ======================== =====================================================
HELLO  empty                    JSON {"joint_names": [n strings]}
READ   empty                    2n float64: positions, then velocities; stamp = when they were measured
WRITE  n float64: positions     n float64: the positions that were really set (limits applied)
ERROR  -                        UTF-8 text for a person
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
MAX_MESSAGE = 16384
"""Bytes; longer than any message of a robot with fewer than 1000 joints"""


@dataclass(frozen=True)
class Message:
    op: int
    channel: str
    stamp: float = 0.0
    payload: bytes = b""

    def array(self) -> np.ndarray:
        """The payload as (n,) float64; HardwareError where its length is not a multiple of 8."""
        if len(self.payload) % 8:
            raise HardwareError(f"bus channel {self.channel!r}: payload must be whole float64, got {len(self.payload)} bytes")
        return np.frombuffer(self.payload, "<f8").astype(float)

    def text(self) -> str:
        return self.payload.decode("utf-8", "replace")


def pack(message: Message) -> bytes:
    channel = message.channel.encode()
    return HEADER.pack(MAGIC, message.op, len(channel), message.stamp) + channel + message.payload


def unpack(data: bytes) -> Message:
    """The message in `data`; HardwareError where it is not one."""
    if len(data) < HEADER.size:
        raise HardwareError(f"bus message: expected at least {HEADER.size} bytes, got {len(data)}")
    magic, op, length, stamp = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise HardwareError(f"bus message: expected magic {MAGIC!r}, got {magic!r}")
    if op not in (HELLO, READ, WRITE, ERROR):
        raise HardwareError(f"bus message: unknown op {op}, expected one of {HELLO}, {READ}, {WRITE}, {ERROR}")
    if len(data) < HEADER.size + length:
        raise HardwareError(f"bus message: channel name of {length} bytes is cut off after {len(data) - HEADER.size}")
    channel = data[HEADER.size : HEADER.size + length].decode("utf-8", "replace")
    return Message(op, channel, stamp, bytes(data[HEADER.size + length :]))


def hello_reply(channel: str, joint_names: tuple[str, ...], stamp: float) -> Message:
    return Message(HELLO, channel, stamp, json.dumps({"joint_names": list(joint_names)}).encode())


def joint_names(message: Message) -> tuple[str, ...]:
    """The joint names in a HELLO reply."""
    try:
        names = json.loads(message.payload)["joint_names"]
    except (ValueError, KeyError, TypeError) as e:
        raise HardwareError(f"bus channel {message.channel!r}: hello reply without joint_names: {message.payload[:80]!r}") from e
    return tuple(str(n) for n in names)


def read_reply(channel: str, position: np.ndarray, velocity: np.ndarray, stamp: float) -> Message:
    return Message(READ, channel, stamp, np.concatenate([position, velocity]).astype("<f8").tobytes())


def write_message(channel: str, position: np.ndarray, stamp: float = 0.0) -> Message:
    """A WRITE request, or the reply that says what was really set."""
    return Message(WRITE, channel, stamp, np.asarray(position, "<f8").tobytes())


def error_reply(channel: str, text: str) -> Message:
    return Message(ERROR, channel, 0.0, text.encode()[: MAX_MESSAGE // 2])


def positions_velocities(message: Message, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n,) and velocities (n,) of a READ reply; HardwareError names the channel when the count differs."""
    values = message.array()
    if values.size != 2 * n:
        raise HardwareError(f"bus channel {message.channel!r}: expected {2 * n} values (positions, velocities), got {values.size}")
    return values[:n], values[n:]
