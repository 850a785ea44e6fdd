"""Compressed images with headers that claim any size."""

import struct

import cv2
import numpy as np
import pytest

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.observations.images import MAX_PIXELS, compressed_size, compressed_to_rgb

PICTURE = np.zeros((20, 30, 3), np.uint8)


def resized(suffix, width, height):
    """An encoded image whose header claims another size."""
    data = bytearray(cv2.imencode(suffix, PICTURE)[1].tobytes())
    if suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
    else:
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_size_is_read_from_the_header(suffix):
    data = cv2.imencode(suffix, PICTURE)[1].ravel()
    assert compressed_size(data) == (30, 20) and compressed_to_rgb(data.tobytes(), "").shape == (20, 30, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("size", [(50_000, 50_000), (65_000, 60_000), (60_000, 600)])
def test_images_beyond_the_limit_are_refused(suffix, size):
    with pytest.raises(ObservationRefused, match=f"{size[0]}x{size[1]} px; the limit is {MAX_PIXELS} px"):
        compressed_to_rgb(resized(suffix, *size), "")


def test_damaged_headers_are_refused():
    rng = np.random.default_rng(0)
    for suffix in (".png", ".jpg"):
        good = cv2.imencode(suffix, PICTURE)[1].ravel()
        for length in range(0, len(good), 7):
            data = good[:length].copy()
            if length > 12:
                data[rng.integers(3, length, 3)] = 255
            try:
                compressed_to_rgb(data.tobytes(), "")
            except ObservationRefused:
                continue
