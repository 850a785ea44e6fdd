"""Conversion of image messages to RGB arrays. Used for live topics and for bags."""

from __future__ import annotations

import contextlib
import re
import struct
from typing import Any

import cv2
import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available

#: Supported encodings of sensor_msgs/Image: bytes per pixel of a row, OpenCV conversion to RGB. OpenCV names Bayer mosaics by the
#: second row and column.
ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "nv12": (1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": (1, cv2.COLOR_YUV2RGB_NV21),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
DEPTH_ENCODINGS = "16UC1", "32FC1"  # of compressed depth images
DEPTH_HEADER = struct.Struct("<iff")  # before their PNG: format, and the two parameters of floats
SEMI_PLANAR = "nv12", "nv21"  # a plane of luma, then one of half as many rows with both chroma channels

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"  # first bytes of a file
PNG_HEADER_SIZE, PNG_16_BIT = 25, b"\x10"  # bytes up to the bit depth; the depth as stored

MAX_PIXELS = 1 << 25  # of a compressed image: 8K is 33 megapixels. A header of a few bytes may claim any size.
_JPEG_SIZE = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of the JPEG segment that contains the size

#: Encodings that would decode to plausible but wrong 8-bit pixels: Bayer mosaics, 16-bit and floating point channels.
NOT_8_BIT_COLOR = re.compile(r"bayer_|(mono|rgba?|bgra?)16|(16|32|64)[suf]c")

_DECODE_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # None before OpenCV 4.10, which decodes to BGR only


def rgb_image(message: Any) -> np.ndarray:
    """A sensor_msgs/Image or CompressedImage as (H, W, 3) uint8 RGB.

    Raises:
        ObservationRefused: Unknown encoding, contradictory sizes, or data that cannot be decoded.
    """
    if hasattr(message, "height"):
        return raw_to_rgb(message.encoding, message.height, message.width, message.step, message.data)
    return compressed_to_rgb(message.data, message.format)


def raw_to_rgb(encoding: str, height: int, width: int, step: int, data: bytes | bytearray | memoryview) -> np.ndarray:
    """Convert the pixels of a sensor_msgs/Image.

    Args:
        encoding: One of ``ENCODINGS``.
        height, width: Size [pixels].
        step: Row length including padding [bytes].
        data: At least ``height * step`` bytes.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ObservationRefused: Unknown encoding, or contradictory sizes.
    """
    if encoding not in ENCODINGS:
        raise ObservationRefused(f"image encoding {encoding!r} is not supported; {available(ENCODINGS)}")
    channels, conversion = ENCODINGS[encoding]
    row, rows = width * channels, height
    if encoding in SEMI_PLANAR:
        rows, step = height * 3 // 2, width if step == width * 3 // 2 else step  # some drivers divide all bytes by the height
    if (encoding in SEMI_PLANAR or channels == 2) and (width % 2 or (encoding in SEMI_PLANAR and height % 2)):
        raise ObservationRefused(f"image {width}x{height} {encoding}: expected an even size")
    if height < 1 or width < 1 or step < row:
        raise ObservationRefused(f"image {width}x{height} {encoding}: step must be at least {row} bytes, got {step}")
    flat = np.frombuffer(data, np.uint8)
    if flat.size < rows * step:
        raise ObservationRefused(f"image {width}x{height} {encoding}: expected {rows * step} bytes, got {flat.size}")
    pixels = flat[: rows * step].reshape(rows, step)[:, :row].reshape(rows, width, channels)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)


def compressed_to_rgb(data: bytes | bytearray | memoryview, label: str) -> np.ndarray:
    """Decode a JPEG or PNG of 8 bits per channel (sensor_msgs/CompressedImage).

    Args:
        data: Content of the file.
        label: ``format`` of the message, as image_transport writes it. A label without an encoding is accepted.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ObservationRefused: Another file type, damaged data, 16 bits per channel, a Bayer mosaic, or more than ``MAX_PIXELS``.
    """
    if NOT_8_BIT_COLOR.match(_stored_encoding(label)):
        raise ObservationRefused(f"image encoding of {label!r} is not supported; {available(ENCODINGS)}")
    flat = np.frombuffer(data, np.uint8)
    head = bytes(flat[:PNG_HEADER_SIZE])
    if head.startswith(PNG) and head.endswith(PNG_16_BIT):  # OpenCV would drop the lower 8 bits without an error
        raise ObservationRefused("PNG of 16 bits per channel is not supported; expected 8")
    width, height = compressed_size(flat)
    if width * height > MAX_PIXELS:
        raise ObservationRefused(f"compressed image of {width}x{height} px; the limit is {MAX_PIXELS} px")
    flags = cv2.IMREAD_COLOR if _DECODE_RGB is None else _DECODE_RGB
    pixels = None
    if head.startswith((JPEG, PNG)):  # OpenCV would also drop bits of TIFF files
        with contextlib.suppress(cv2.error):
            pixels = cv2.imdecode(flat, flags)
    if pixels is None:
        raise ObservationRefused(
            f"compressed image of {flat.size} bytes cannot be decoded (supported: JPEG and PNG; its format is {label!r})"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if _DECODE_RGB is None else pixels


def compressed_depth(data: bytes | np.ndarray, label: str) -> np.ndarray:
    """The depth image of a ``compressedDepth`` topic (H, W) float32 [m]; 0 where nothing was measured.

    The data are a header of 12 bytes, with the parameters a and b of floats, and a PNG of 16 bits: millimetres for ``16UC1``, and
    numbers n of inverse depth for ``32FC1``, a / (n - b).

    Raises:
        ObservationRefused: Another format, or data that cannot be decoded.
    """
    encoding, _, codec = (part.strip() for part in label.partition(";"))
    if encoding not in DEPTH_ENCODINGS or not codec.startswith("compressedDepth"):
        expected = " or ".join(f"{known!r}" for known in (f"{name}; compressedDepth png" for name in DEPTH_ENCODINGS))
        raise ObservationRefused(f"compressed depth image of format {label!r}; expected {expected}")
    flat, pixels = np.frombuffer(data, np.uint8), None
    file = flat[DEPTH_HEADER.size :]
    width, height = compressed_size(file)
    if file[: len(PNG)].tobytes() == PNG and width * height <= MAX_PIXELS:
        with contextlib.suppress(cv2.error):
            pixels = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise ObservationRefused(f"compressed depth image of {flat.size} bytes: no PNG of 16 bits in one channel")
    if encoding == DEPTH_ENCODINGS[0]:
        return pixels * np.float32(1e-3)
    _, a, b = DEPTH_HEADER.unpack(flat[: DEPTH_HEADER.size].tobytes())
    with np.errstate(all="ignore"):
        metres = np.where(pixels > 0, np.float32(a) / (pixels.astype(np.float32) - np.float32(b)), np.float32(0.0))
    metres[~np.isfinite(metres)] = 0.0
    return metres


def compressed_size(data: np.ndarray) -> tuple[int, int]:
    """Width and height [px] in the header of a JPEG or PNG, (n,) uint8; 0, 0 if the header does not contain them."""
    with contextlib.suppress(struct.error):
        if data[: len(PNG)].tobytes() == PNG:
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        at = 2
        while data[:2].tobytes() == JPEG[:2]:
            start, marker, length = struct.unpack_from(">BBH", data, at)
            if start != 0xFF:
                break
            if marker in _JPEG_SIZE:
                height, width = struct.unpack_from(">HH", data, at + 5)
                return width, height
            at += 2 + length if marker != 0xFF else 1  # a fill byte precedes the marker
    return 0, 0


def _stored_encoding(label: str) -> str:
    """Encoding of the stored image. In ``ORIGINAL; CODEC compressed [STORED]`` it is STORED, or ORIGINAL without it."""
    original, _, rest = label.lower().partition(";")
    return rest.partition("compressed ")[2].strip() or original.strip()
