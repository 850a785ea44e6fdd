"""From what camera topics carry to the policy's images: RGB, one size. Used live and when reading bags."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available

#: Image encodings that are understood (sensor_msgs/image_encodings), with channels and the conversion to RGB.
ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
}

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

#: Encodings whose pixels are no 8-bit colours or greys, but would decode to something that looks like them.
NO_COLOURS = re.compile(r"bayer_|(mono|rgba?|bgra?)16|(16|32|64)[suf]c")

#: Decodes to RGB at once; OpenCV before 4.10 has only BGR.
_DECODE_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)


def rgb_image(message: Any) -> np.ndarray:
    """A sensor_msgs/Image or CompressedImage as (H, W, 3) uint8 RGB.

    Raises:
        ObservationRefused: Unknown encoding, contradictory sizes, or data that cannot be decoded.
    """
    if hasattr(message, "height"):
        return raw_to_rgb(message.encoding, message.height, message.width, message.step, message.data)
    return compressed_to_rgb(message.data, message.format)


def raw_to_rgb(encoding: str, height: int, width: int, step: int, data: bytes | bytearray | memoryview) -> np.ndarray:
    """The pixels of a sensor_msgs/Image.

    Args:
        encoding: One of ``ENCODINGS``.
        height, width: In pixels.
        step: Bytes in a row, padding included.
        data: ``height * step`` bytes (any buffer).

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ObservationRefused: Unknown encoding, or sizes that contradict each other.
    """
    if encoding not in ENCODINGS:
        raise ObservationRefused(f"image encoding {encoding!r} is not understood; {available(ENCODINGS)}")
    channels, conversion = ENCODINGS[encoding]
    row = width * channels
    if height < 1 or width < 1 or step < row:
        raise ObservationRefused(f"image {width}x{height} {encoding}: step must be at least {row} bytes, got {step}")
    flat = np.frombuffer(data, np.uint8)
    if flat.size < height * step:
        raise ObservationRefused(f"image {width}x{height} {encoding}: expected {height * step} bytes, got {flat.size}")
    pixels = flat[: height * step].reshape(height, step)[:, :row].reshape(height, width, channels)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)


def compressed_to_rgb(data: bytes | bytearray | memoryview, label: str) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a JPEG or PNG (sensor_msgs/CompressedImage).

    Args:
        data: The file's bytes (any buffer).
        label: The message's ``format``, as image_transport writes it; one that tells no encoding is believed to be of colours.

    Raises:
        ObservationRefused: It cannot be decoded, has 16 bits a channel, as images of depth have, or is a Bayer mosaic.
    """
    if NO_COLOURS.match(_held_encoding(label)):
        raise ObservationRefused(f"image encoding of {label!r} is not understood; {available(ENCODINGS)}")
    flat = np.frombuffer(data, np.uint8)
    head = bytes(flat[:25])
    if head.startswith(PNG) and head[24:] == b"\x10":  # OpenCV would keep the upper 8 in silence
        raise ObservationRefused("PNG of 16 bits a channel, as of depth, is not understood; expected 8")
    flags = cv2.IMREAD_COLOR if _DECODE_RGB is None else _DECODE_RGB
    pixels = cv2.imdecode(flat, flags) if head.startswith((JPEG, PNG)) else None  # OpenCV would cut TIFF of 16 bits, too
    if pixels is None:
        why = f"JPEG and PNG are understood; its format is {label!r}"
        raise ObservationRefused(f"compressed image of {flat.size} bytes cannot be decoded ({why})")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if _DECODE_RGB is None else pixels


def _held_encoding(label: str) -> str:
    """What the image holds: ORIGINAL in ``ORIGINAL; CODEC compressed [HELD]``, unless it was converted to HELD before."""
    original, _, rest = label.lower().partition(";")
    return rest.partition("compressed ")[2].strip() or original.strip()


def fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop the centre of (H, W, 3) to the aspect ratio of ``height`` x ``width``, then scale to it."""
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if h * width > w * height:  # too tall
        rows = max(1, round(w * height / width))
        image = image[(h - rows) // 2 : (h - rows) // 2 + rows]
    elif h * width < w * height:
        columns = max(1, round(h * width / height))
        image = image[:, (w - columns) // 2 : (w - columns) // 2 + columns]
    shrinks = image.shape[0] > height
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
