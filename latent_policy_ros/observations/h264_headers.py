"""Headers of H.264 packets (ITU-T H.264, Annex B): numbers of frames, from which lost packets are known.

Decoders conceal a lost packet: the pictures up to the next key frame are wrong, and no error tells it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SLICE, KEY_SLICE, SEI, SPS = 1, 5, 6, 7  # types of NAL units
RECOVERY_POINT = 6  # type of an SEI message: decoding may begin here
HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # whose parameters begin with the chroma format
HEADER_SIZE = 512  # bytes of a unit that are read
_START, _ESCAPED = re.compile(rb"\x00\x00\x01"), re.compile(rb"\x00\x00\x03(?=[\x00-\x03]|$)")


class _Bits:
    """Reader of the bits of a NAL unit without its first byte.

    Raises:
        ValueError: The unit ends.
    """

    def __init__(self, unit: bytes) -> None:
        content = _ESCAPED.sub(b"\0\0", unit)
        self._value, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def read(self, count: int) -> int:
        """An unsigned number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the unit ends")
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned number in exponential Golomb code; a signed one has the same length."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)


@dataclass(frozen=True)
class _Sequence:
    """What slice headers need of a sequence parameter set."""

    has_planes: bool
    number_bits: int
    allows_gaps: bool


class FrameCounter:
    """Finds lost packets of one H.264 stream."""

    def __init__(self) -> None:
        self._sequence: _Sequence | None = None
        self._previous: int | None = None  # number of the newest frame that others refer to

    def add(self, packet: bytes) -> tuple[bool, bool]:
        """Read the headers of a packet; returns (whether frames before it are lost, whether decoding may begin with it)."""
        lost = begins = False
        for kind, is_reference, unit in _units(packet):
            try:
                if kind == SPS:
                    self._sequence = _sequence(unit)
                elif kind == SEI:
                    begins |= unit[:1] == bytes([RECOVERY_POINT])
                elif kind in (SLICE, KEY_SLICE):
                    begins |= kind == KEY_SLICE
                    lost |= self._add_slice(unit, kind == KEY_SLICE, is_reference)
            except ValueError:  # the decoder refuses damaged units
                continue
        return lost, begins

    def _add_slice(self, unit: bytes, is_key: bool, is_reference: bool) -> bool:
        if self._sequence is None:
            return False
        bits = _Bits(unit)
        for _ in range(3):  # first macroblock, type of the slice, picture parameter set
            bits.golomb()
        if self._sequence.has_planes:
            bits.read(2)
        number, previous = bits.read(self._sequence.number_bits), 0 if is_key else self._previous
        expected = (previous, (previous + 1) % (1 << self._sequence.number_bits)) if previous is not None else (number,)
        if is_reference or number not in expected:
            self._previous = number
        return number not in expected and not self._sequence.allows_gaps


def _units(packet: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """Type of each NAL unit, whether other frames refer to it, and the bytes of its header."""
    starts = [match.end() for match in _START.finditer(packet)]
    for start, following in zip(starts, [*starts[1:], len(packet) + 3]):
        unit = packet[start : min(following - 3, start + HEADER_SIZE)]
        if unit:
            yield unit[0] & 31, bool(unit[0] & 0x60), unit[1:]


def _sequence(unit: bytes) -> _Sequence:
    """Read a sequence parameter set."""
    bits = _Bits(unit)
    profile, has_planes = bits.read(8), False
    bits.read(16)
    bits.golomb()
    if profile in HIGH_PROFILES:
        chroma = bits.golomb()
        has_planes = chroma == 3 and bool(bits.read(1))
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for k in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if k < 6 else 64)
    number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    return _Sequence(has_planes, number_bits, bool(bits.read(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    scale = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (scale + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
        scale = following or scale
