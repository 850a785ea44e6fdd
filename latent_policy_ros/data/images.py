"""From what camera topics carry to the policy's pictures: RGB, one size. Used live and when reading bags."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import ObservationRefused, available

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

PNG = b"\x89PNG\r\n\x1a\n"

#: Decodes to RGB at once; OpenCV before 4.10 has only BGR.
_DECODE_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)


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


def compressed_to_rgb(data: bytes | bytearray | memoryview) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a JPEG or PNG (sensor_msgs/CompressedImage).

    Raises:
        ObservationRefused: It cannot be decoded, or has 16 bits a channel, as pictures of depth have.
    """
    flat = np.frombuffer(data, np.uint8)
    if bytes(flat[: len(PNG)]) == PNG and bytes(flat[24:25]) == b"\x10":  # OpenCV would keep the upper 8 in silence
        raise ObservationRefused("PNG of 16 bits a channel, as of depth, is not understood; expected 8")
    flags = cv2.IMREAD_COLOR if _DECODE_RGB is None else _DECODE_RGB
    pixels = cv2.imdecode(flat, flags) if flat.size else None
    if pixels is None:
        raise ObservationRefused(f"compressed image of {flat.size} bytes cannot be decoded (JPEG and PNG are understood)")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if _DECODE_RGB is None else pixels


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
