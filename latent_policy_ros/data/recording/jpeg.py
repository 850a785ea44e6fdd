"""JPEG compression of serialised messages: sensor_msgs/Image to sensor_msgs/CompressedImage."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available

IMAGE_TYPE, COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
LITTLE_ENDIAN = b"\x00\x01\x00\x00"  # encapsulation header of plain CDR, little endian
MAX_SIDE = 65500  # px, limit of libjpeg
IMAGE_FORMATS = JPEG, RAW = "jpeg", "raw"  # formats in which a recorder stores raw images
#: Encodings that JPEG can represent: {encoding: (channels, OpenCV color conversion, ``format`` as image_transport writes it)}.
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
class ImageFields:
    """The fields of a serialised sensor_msgs/Image, and the position of its pixels.

    Attributes:
        header: Serialised std_msgs/Header.
        height, width: Size [px].
        step: Length of a row [bytes].
        encoding: Encoding, as in sensor_msgs/image_encodings.
        start, size: Offset and size of the pixels [bytes].
    """

    header: bytes
    height: int
    width: int
    step: int
    encoding: str
    start: int
    size: int


def parse_image(data: bytes) -> ImageFields:
    """Parse the fields of a serialised sensor_msgs/Image without copying its pixels.

    Raises:
        ObservationRefused: ``data`` is not such a message in little-endian CDR.
    """
    try:
        if data[:4] != LITTLE_ENDIAN:
            raise ObservationRefused(f"image serialised as {data[:4]!r}; expected little endian CDR, {LITTLE_ENDIAN!r}")
        (length,) = struct.unpack_from("<I", data, 12)
        end = 16 + length  # of the std_msgs/Header
        at = _aligned(end)
        height, width, length = struct.unpack_from("<III", data, at)
        encoding = data[at + 12 : at + 12 + length].rstrip(b"\0").decode()
        at = _aligned(at + 13 + length)  # past is_bigendian
        step, size = struct.unpack_from("<II", data, at)
    except (struct.error, UnicodeDecodeError) as error:
        raise ObservationRefused(f"{len(data)} bytes are not an image: {error}") from error
    return ImageFields(data[4:end], height, width, step, encoding, at + 8, size)


def to_jpeg(data: bytes, quality: int) -> bytes:
    """Compress a serialised image. The message header is kept.

    Args:
        data: sensor_msgs/Image in CDR.
        quality: JPEG quality, 1 to 100.

    Returns:
        sensor_msgs/CompressedImage in CDR.

    Raises:
        ObservationRefused: ``data`` is not an image, its sizes are inconsistent, or JPEG cannot represent its encoding.
    """
    fields = parse_image(data)
    if fields.encoding not in ENCODINGS:
        raise ObservationRefused(f"image encoding {fields.encoding!r} cannot be compressed to JPEG; {available(ENCODINGS)}")
    channels, conversion, name = ENCODINGS[fields.encoding]
    rows_fit = 0 < fields.width * channels <= fields.step and fields.step * fields.height <= fields.size
    if not rows_fit or len(data) < fields.start + fields.size:
        raise ObservationRefused(
            f"image {fields.width}x{fields.height} {fields.encoding}, step {fields.step}: got {fields.size} of {len(data)} bytes"
        )
    rows = np.frombuffer(data, np.uint8, fields.step * fields.height, fields.start).reshape(fields.height, fields.step)
    pixels: np.ndarray = rows[:, : fields.width * channels].reshape(fields.height, fields.width, channels)
    if max(fields.width, fields.height) > MAX_SIDE:
        raise ObservationRefused(f"image {fields.width}x{fields.height}: JPEG holds at most {MAX_SIDE} px per side")
    try:
        if conversion is not None:
            pixels = cv2.cvtColor(pixels, conversion)
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels), (cv2.IMWRITE_JPEG_QUALITY, quality))
    except cv2.error as error:
        raise ObservationRefused(f"image {fields.width}x{fields.height} cannot be compressed: {error}") from error
    label = name.encode() + b"\0"
    start = LITTLE_ENDIAN + fields.header + bytes(-len(fields.header) % 4) + struct.pack("<I", len(label)) + label
    return b"".join((start, bytes(-len(start) % 4), struct.pack("<I", encoded.size), encoded.tobytes()))


def _aligned(at: int) -> int:
    """The next multiple of 4 after the encapsulation header of 4 bytes."""
    return at + (-at % 4)
