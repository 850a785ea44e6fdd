"""Depth images as LeRobot stores them: 12-bit logarithmic codes in a lossless HEVC video of one channel."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.data.lerobot.feature_statistics import QUANTILES, Stats
from latent_policy_ros.data.lerobot.video import KEYFRAME_INTERVAL, VideoWriter, encoded_size

#: LeRobot's defaults: the first and the last code [m], shift of the logarithm [m], and number of the last code.
DEPTH_MIN, DEPTH_MAX, SHIFT, LAST_CODE = 0.01, 10.0, 3.5, 4095
PIXEL_FORMAT = "gray12le"
_LOW, _HIGH = np.log(DEPTH_MIN + SHIFT), np.log(DEPTH_MAX + SHIFT)
SAMPLED_STEP = 4  # rows and columns between two pixels of the statistics


def quantize(metres: np.ndarray) -> np.ndarray:
    """Codes (H, W) uint16 of depths (H, W) [m]; 0 (nothing measured) becomes the first code."""
    norm = (np.log(np.maximum(metres, 0.0) + SHIFT) - _LOW) / (_HIGH - _LOW)
    return np.rint(norm * LAST_CODE).clip(0, LAST_CODE).astype(np.uint16)


def dequantize(codes: np.ndarray) -> np.ndarray:
    """Depths [m] of codes: the inverse of ``quantize`` within its range."""
    return (np.exp(codes * ((_HIGH - _LOW) / LAST_CODE) + _LOW) - SHIFT).clip(DEPTH_MIN, DEPTH_MAX).astype(np.float32)


def depth_feature(height: int, width: int, fps: int) -> dict[str, Any]:
    """Feature of a depth camera."""
    info = {
        "video.height": height, "video.width": width, "video.codec": "hevc", "video.pix_fmt": PIXEL_FORMAT, "video.fps": fps,
        "video.channels": 1, "has_audio": False, "is_depth_map": True, "depth_unit": "m", "video.depth_min": DEPTH_MIN,
        "video.depth_max": DEPTH_MAX, "video.shift": SHIFT, "video.use_log": True,
    }  # fmt: skip
    return {"dtype": "video", "shape": [height, width, 1], "names": ["height", "width", "channels"], "info": info}


class DepthStatistics:
    """Statistics of depth images [m], from a histogram of the codes of some pixels."""

    def __init__(self) -> None:
        self._histogram, self._count = np.zeros(LAST_CODE + 1, np.int64), 0

    def add(self, codes: np.ndarray) -> None:
        """Add an image of codes (H, W)."""
        sampled = codes[::SAMPLED_STEP, ::SAMPLED_STEP]
        self._histogram += np.bincount(sampled.ravel(), minlength=LAST_CODE + 1)
        self._count += 1

    def result(self) -> Stats:
        """Statistics of shape (1, 1, 1); ``count`` (1,) is the number of images."""
        levels, total = dequantize(np.arange(LAST_CODE + 1)).astype(np.float64), self._histogram.sum()
        used, cumulative = levels[self._histogram > 0], np.cumsum(self._histogram)
        mean = float(self._histogram @ levels / total)
        values = {"min": used[0], "max": used[-1], "mean": mean, "std": np.sqrt(self._histogram @ (levels - mean) ** 2 / total)}
        values |= {name: levels[(cumulative >= q * total).argmax()] for name, q in QUANTILES.items()}
        return {**{name: np.full((1, 1, 1), value) for name, value in values.items()}, "count": np.array([self._count])}


class DepthVideoWriter(VideoWriter):
    """Encodes depth images (H, W) float32 [m]."""

    def __init__(self, path: Path, fps: int, threads: int = 1) -> None:
        self.depth_stats = DepthStatistics()
        super().__init__(path, fps, 0, threads)

    def statistics(self) -> Stats:
        """Statistics of the images [m]."""
        return self.depth_stats.result()

    def feature(self) -> dict[str, Any]:
        """Feature of the video; there must be an image."""
        height, width = self.size or (0, 0)
        return depth_feature(height, width, self.fps)

    def _crop(self, image: np.ndarray) -> np.ndarray:
        if image.ndim != 2:
            raise ObservationRefused(f"depth image: expected shape (H, W), got {image.shape}")
        height, width = self.size = encoded_size(image, self.size)
        return quantize(image[:height, :width])

    def _sample(self, image: np.ndarray) -> None:
        self.depth_stats.add(image)

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=PIXEL_FORMAT)

    def _add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> av.VideoStream:
        parameters = f"lossless=1:log-level=none:pools={self._threads}:frame-threads=1"
        stream = container.add_stream("libx265", rate=self.fps, options={"preset": "ultrafast", "x265-params": parameters})
        stream.height, stream.width, stream.pix_fmt = height, width, PIXEL_FORMAT
        stream.codec_context.gop_size = KEYFRAME_INTERVAL
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, self.fps)
        return stream
