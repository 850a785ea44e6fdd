"""MessageTemplate: messages of which only times and arrays of numbers change are written and read as bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from latent_policy_ros.nodes.topics import message_conversion

_LENGTH = struct.Struct("=I")
_TIME = struct.Struct("=iI")  # builtin_interfaces/Time and Duration as they are serialised: seconds and nanoseconds
MAX_PATTERNS = 8  # contents of the bytes between the values that are known to mean the same


class MessageTemplate:
    """Serialises and reads messages that differ in times and arrays of fixed lengths only, without a Python message for each.

    Filling in a template takes a fifth of the time of creating and serialising a message. The places of the values are found in one
    serialised message, by values that occur nowhere else in it.

    Args:
        make: Makes the message from its times [s] and arrays, in this order.
        times: Number of its times.
        arrays: Arrays of the lengths and number types of those of the message.

    Raises:
        ValueError: A time or an array is not a part of the message as it was given.
    """

    def __init__(self, make: Callable[..., Any], times: int, arrays: Sequence[np.ndarray]) -> None:
        probes = [1e8 + k + 0.123456789 for k in range(times)]
        values = [_probe(first, array) for first, array in zip(np.cumsum([1, *map(len, arrays)]), arrays)]
        message = make(*probes, *values)
        data = _without_padding(bytes(serialize_message(message)), message)
        self._data = bytearray(data)
        self._times = [_place(data, _TIME.pack(*message_conversion.seconds_and_nanoseconds(probe))) for probe in probes]
        places = [_place(data, value.tobytes()) for value in values]
        self._array_places = [(value.dtype, len(value), place) for value, place in zip(values, places)]
        self._arrays = [np.frombuffer(self._data, *place) for place in self._array_places]
        self._changing = sorted(
            [slice(place, place + _TIME.size) for place in self._times]
            + [slice(place, place + value.nbytes) for value, place in zip(values, places)],
            key=lambda part: part.start,
        )
        ends, starts = [0, *(part.stop for part in self._changing)], [*(part.start for part in self._changing), len(data)]
        self._constant = [slice(end, start) for end, start in zip(ends, starts)]
        self._type, self._patterns = type(message), [[data[part] for part in self._constant]]

    def serialise(self, *values: float | np.ndarray) -> bytes:
        """The message with these times [s] and arrays, in the order of ``make``."""
        times = len(self._times)
        for place, seconds in zip(self._times, values[:times], strict=True):
            _TIME.pack_into(self._data, place, *message_conversion.seconds_and_nanoseconds(seconds))
        for array, value in zip(self._arrays, values[times:], strict=True):
            array[:] = value
        return bytes(self._data)

    def read(self, data: bytes) -> tuple[float | np.ndarray, ...] | None:
        """Times [s] and arrays of a serialised message, in the order of ``make``; None if anything else in it differs.

        Raises:
            Exception: The message is damaged; each middleware has its own.
        """
        if len(data) < len(self._data):
            return None
        pattern = [data[part] for part in self._constant]
        if pattern not in self._patterns and not self._learn(pattern, data):
            return None
        times = [seconds + 1e-9 * nanoseconds for seconds, nanoseconds in (_TIME.unpack_from(data, at) for at in self._times)]
        # Copies, as arrays of numbers are aligned in memory, but not in a message.
        return *times, *(np.frombuffer(data, *place).copy() for place in self._array_places)

    def _learn(self, pattern: list[bytes], data: bytes) -> bool:
        """Whether a message differs in its values only, and in the bytes between them that align numbers, which may be anything."""
        if len(self._patterns) >= MAX_PATTERNS:
            return False
        filled = bytearray(self._data)
        for part in self._changing:
            filled[part] = data[part]
        same = bool(deserialize_message(bytes(filled), self._type) == deserialize_message(data, self._type))
        if same:
            self._patterns.append(pattern)
        return same


def _without_padding(data: bytes, message: Any) -> bytes:
    """Serialised data without the bytes that rmw appends, which readers of bags refuse."""
    while True:
        try:
            if deserialize_message(data[:-1], type(message)) != message:
                return data
        except Exception:  # each middleware has its own
            return data
        data = data[:-1]


def _probe(first: int, array: np.ndarray) -> np.ndarray:
    """Numbers like those of ``array``, which differ from each other and from those of another ``first``."""
    numbers = np.arange(first, first + len(array))
    return (np.pi * numbers if np.issubdtype(array.dtype, np.floating) else 0x9E3779B1 * numbers).astype(array.dtype)


def _place(data: bytes, part: bytes) -> int:
    if data.count(part) != 1:
        raise ValueError(f"expected a value once in the serialised message, found it {data.count(part)} times")
    return data.index(part)


def joint_state_template(names: Sequence[str]) -> MessageTemplate:
    """Measured joints ``names``; values: stamp [s], position (n,) [rad or m], velocity (n,) per second."""
    make = lambda stamp, position, velocity: message_conversion.joint_state(stamp, names, position, velocity)
    return MessageTemplate(make, 1, 2 * [np.zeros(len(names))])


def pose_stamped_template(frame: str) -> MessageTemplate:
    """A pose in ``frame``; values: stamp [s], pose (7,) x y z [m], qx qy qz qw."""
    return MessageTemplate(lambda stamp, pose: message_conversion.pose_stamped(stamp, frame, pose), 1, [np.zeros(7)])


def command_template(names: Sequence[str]) -> MessageTemplate:
    """A command of the joints ``names``; values: stamp and time to reach the position [s], position (n,) [rad or m]."""
    make = lambda stamp, reach_in, position: message_conversion.command(stamp, reach_in, names, position)
    return MessageTemplate(make, 2, [np.zeros(len(names))])


def serialised_text(text: str) -> bytes:
    """A string as it occurs in a serialised message."""
    data = text.encode() + b"\0"
    return _LENGTH.pack(len(data)) + data
