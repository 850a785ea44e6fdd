"""A serialised sensor_msgs/Image -> a serialised sensor_msgs/CompressedImage with a JPEG in it. Needs no ROS."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available

KIND, COMPRESSED_KIND = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
LITTLE_ENDIAN = b"\x00\x01\x00\x00"  # plain CDR
IMAGES = JPEG, RAW = "jpeg", "raw"  # how a recorder takes raw images
#: Encodings that a JPEG can hold: channels, the conversion to what OpenCV encodes, and what image_transport calls the result.
ENCODINGS = {
    "rgb8": (3, cv2.COLOR_RGB2BGR, "rgb8; jpeg compressed bgr8"),
    "bgr8": (3, None, "bgr8; jpeg compressed bgr8"),
    "8UC3": (3, None, "bgr8; jpeg compressed bgr8"),
    "rgba8": (4, cv2.COLOR_RGBA2BGR, "rgba8; jpeg compressed bgr8"),
    "bgra8": (4, cv2.COLOR_BGRA2BGR, "bgra8; jpeg compressed bgr8"),
    "mono8": (1, None, "mono8; jpeg compressed "),
    "8UC1": (1, None, "mono8; jpeg compressed "),
}


@dataclass(frozen=True)
class ImageHead:
    """What stands before the pixels of a serialised image.

    Attributes:
        header: Its std_msgs/Header, serialised.
        height, width, step: In pixels, and bytes in a row.
        encoding: As in sensor_msgs/image_encodings.
        start, size: Where the pixels are, in bytes.
    """

    header: bytes
    height: int
    width: int
    step: int
    encoding: str
    start: int
    size: int


def image_head(data: bytes) -> ImageHead:
    """Read the head of a serialised image.

    Raises:
        ObservationRefused: It is no such message.
    """
    try:
        if data[:4] != LITTLE_ENDIAN:
            raise ObservationRefused(f"image serialised as {data[:4]!r}; expected little endian CDR, {LITTLE_ENDIAN!r}")
        (length,) = struct.unpack_from("<I", data, 12)
        end = 16 + length  # of the header
        at = _aligned(end)
        height, width, length = struct.unpack_from("<III", data, at)
        encoding = data[at + 12 : at + 12 + length].rstrip(b"\0").decode()
        at = _aligned(at + 13 + length)  # past is_bigendian
        step, size = struct.unpack_from("<II", data, at)
    except (struct.error, UnicodeDecodeError) as error:
        raise ObservationRefused(f"{len(data)} bytes are not an image: {error}") from error
    return ImageHead(data[4:end], height, width, step, encoding, at + 8, size)


def to_jpeg(data: bytes, quality: int) -> bytes:
    """Compress a serialised image; its header stays as it is.

    Args:
        data: CDR of a sensor_msgs/Image.
        quality: Of the JPEG, 1 to 100.

    Raises:
        ObservationRefused: No such message, sizes that contradict each other, or pixels that a JPEG cannot hold.
    """
    head = image_head(data)
    if head.encoding not in ENCODINGS:
        raise ObservationRefused(f"image encoding {head.encoding!r} does not fit into a JPEG; {available(ENCODINGS)}")
    channels, conversion, name = ENCODINGS[head.encoding]
    if not 0 < head.width * channels <= head.step or head.step * head.height > head.size or len(data) < head.start + head.size:
        raise ObservationRefused(
            f"image {head.width}x{head.height} {head.encoding}, step {head.step}: got {head.size} of {len(data)} bytes"
        )
    rows = np.frombuffer(data, np.uint8, head.step * head.height, head.start).reshape(head.height, head.step)
    pixels = rows[:, : head.width * channels].reshape(head.height, head.width, channels)
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), (cv2.IMWRITE_JPEG_QUALITY, quality))
    label = name.encode() + b"\0"
    start = LITTLE_ENDIAN + head.header + bytes(-len(head.header) % 4) + struct.pack("<I", len(label)) + label
    return b"".join((start, bytes(-len(start) % 4), struct.pack("<I", encoded.size), encoded.tobytes()))


def _aligned(at: int) -> int:
    """The next offset that is a multiple of 4 from the end of CDR's own 4 bytes."""
    return at + (-at % 4)
