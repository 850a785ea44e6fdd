"""H.264 video: encoding in one thread per camera, concatenation without encoding again, and decoding."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.data.lerobot.feature_statistics import ImageStatistics, Stats
from latent_policy_ros.data.lerobot.layout import video_feature
from latent_policy_ros.observations.observation import RgbImage
from latent_policy_ros.observations.resize import Resize

#: Options of x264. ultrafast gives the best quality per encoding time here. zerolatency disables the lookahead, which costs 10% of
#: the time without a gain. Sliced threads would make the result depend on the number of cores.
X264_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "sliced-threads=0", "bf": "0"}
KEYFRAME_INTERVAL = 2  # images; short for fast random access
CRF, CRF_SMALL = "23", "12"
SMALL_SIDE = 160  # px; images up to this size are policy inputs and are encoded almost without loss
QUEUE_SIZE = 8  # images that wait for the encoder of a camera


@dataclass
class DamagedImages:
    """Images of one camera that could not be decoded.

    Attributes:
        stamp: Of the first one [s].
        error: Its error.
        count: Number of images.
        longest: Number of the longest sequence.
    """

    stamp: float
    error: ObservationRefused
    count: int = 0
    longest: int = 0
    _row: int = 0

    def add(self) -> None:
        """Count one more."""
        self.count, self._row = self.count + 1, self._row + 1
        self.longest = max(self.longest, self._row)

    def end(self) -> None:
        """End a sequence."""
        self._row = 0


class VideoWriter:
    """Encodes images as H.264 in a separate thread, and computes their statistics.

    An image that cannot be decoded is replaced by the one before it, or by the first one that can be decoded.

    Args:
        path: The mp4 file.
        fps: Images per second.
        frames: Expected number of images; determines how many are sampled for the statistics.
        threads: Number of threads of the encoder.

    Attributes:
        size: (height, width) of the encoded images; None before the first image.
        failed: Stamp [s] and error of the first image that could not be encoded; None if there is none.
        damaged: Images that could not be decoded; None if there is none.
    """

    def __init__(self, path: Path, fps: int, frames: int = 0, threads: int = 1) -> None:
        self.path, self.fps, self.count = path, fps, 0
        self.size: tuple[int, int] | None = None
        self.stats = ImageStatistics(frames)
        self.failed: tuple[float, ObservationRefused] | None = None
        self.damaged: DamagedImages | None = None
        self._threads = threads
        self._queue: queue.Queue[tuple[float, RgbImage] | None] = queue.Queue(QUEUE_SIZE)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"encode {path.name}", daemon=True)
        self._thread.start()

    def add(self, stamp: float, image: RgbImage) -> None:
        """Append an image; blocks while the queue is full."""
        self._queue.put((stamp, image))

    def close(self) -> None:
        """Finish the file.

        Raises:
            ObservationRefused: No image could be decoded, or the size of one differs from that of the first; see ``failed``.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error
        if self.damaged and not self.count:
            self.failed = self.failed or (self.damaged.stamp, self.damaged.error)
        if self.failed:
            raise self.failed[1]

    def abort(self) -> None:
        """Stop encoding. The file is incomplete."""
        self.failed = self.failed or (0.0, ObservationRefused("aborted"))
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._encode()
        except BaseException as error:  # raised by `close`
            self._error = error
            while self._queue.get() is not None:
                pass

    def _encode(self) -> None:
        container: av.container.OutputContainer | None = None
        stream: av.VideoStream | None = None
        last: np.ndarray | None = None
        lost = 0  # damaged images before the first good one
        while (item := self._queue.get()) is not None:
            if self.failed:
                continue
            stamp, image = item
            decoded = self._decode(stamp, image)
            if decoded is None and last is None:
                lost += 1
                continue
            try:
                rgb = self._crop(decoded) if decoded is not None else last
            except ObservationRefused as error:
                self.failed = stamp, error
                continue
            assert rgb is not None
            last = rgb
            if container is None or stream is None:
                container = av.open(str(self.path), "w", options={"movflags": "faststart"})
                stream = self._add_stream(container, *rgb.shape[:2])
            self._sample(rgb)
            frame = self._frame(rgb)
            for _ in range(1 + lost):
                frame.pts, frame.time_base = self.count, Fraction(1, self.fps)
                try:
                    container.mux(stream.encode(frame))
                except (av.error.ArgumentError, av.error.ExternalError) as error:
                    if self.count:
                        raise
                    height, width = rgb.shape[:2]
                    text = f"image of {width}x{height}: H.264 does not support this size ({error.strerror})"
                    self.failed = stamp, ObservationRefused(text)
                    break
                self.count += 1
            lost = 0
        if container is not None and stream is not None and self.count:
            container.mux(stream.encode())
            container.close()

    def _decode(self, stamp: float, image: RgbImage) -> np.ndarray | None:
        """The image; None, counted as damaged, if it cannot be decoded."""
        try:
            decoded = image() if callable(image) else image
        except ObservationRefused as error:
            self.damaged = self.damaged or DamagedImages(stamp, error)
            self.damaged.add()
            return None
        if self.damaged:
            self.damaged.end()
        return decoded

    def statistics(self) -> Stats:
        """Statistics of the images, in [0, 1]."""
        return self.stats.result()

    def feature(self) -> dict[str, Any]:
        """Feature of the video; there must be an image."""
        height, width = self.size or (0, 0)
        return video_feature(height, width, self.fps, pixel_format(height, width))

    def _sample(self, image: np.ndarray) -> None:
        self.stats.add(image)

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        return _yuv(image)

    def _crop(self, rgb: np.ndarray) -> np.ndarray:
        height, width = self.size = encoded_size(rgb, self.size)
        return np.ascontiguousarray(rgb[:height, :width])

    def _add_stream(self, container: av.container.OutputContainer, height: int, width: int) -> av.VideoStream:
        options = {**X264_OPTIONS, "crf": CRF_SMALL if is_small(height, width) else CRF}
        stream = container.add_stream("libx264", rate=self.fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format(height, width)
        stream.codec_context.gop_size = KEYFRAME_INTERVAL
        stream.codec_context.thread_count = self._threads
        stream.codec_context.time_base = Fraction(1, self.fps)
        return stream


def encoded_size(rgb: np.ndarray, previous: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of an image (H, W, 3) in a video: its size, rounded down to even numbers.

    Args:
        previous: Encoded size of the previous images; None for the first image.

    Raises:
        ObservationRefused: The size differs from ``previous``, or is zero.
    """
    height, width = rgb.shape[0] & ~1, rgb.shape[1] & ~1  # 4:2:0 requires even sizes
    if not height or not width:
        raise ObservationRefused(f"image of {rgb.shape[1]}x{rgb.shape[0]}: expected at least 2x2")
    if previous not in (None, (height, width)):
        raise ObservationRefused(f"image of {width}x{height}; previous images are {previous[1]}x{previous[0]}")
    return height, width


def is_small(height: int, width: int) -> bool:
    """Whether images of this size are encoded almost without loss."""
    return max(height, width) <= SMALL_SIDE


def pixel_format(height: int, width: int) -> str:
    """Pixel format by image size. Small images keep full chroma resolution: 15 dB more at the edges of a simulated scene."""
    return "yuv444p" if is_small(height, width) else "yuv420p"


def _yuv(rgb: np.ndarray) -> av.VideoFrame:
    """Convert RGB (H, W, 3) to a frame in ``pixel_format``."""
    if is_small(*rgb.shape[:2]):
        return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p")
    # OpenCV converts in a tenth of FFmpeg's time.
    planes = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)
    return av.VideoFrame.from_numpy_buffer(planes, format="yuv420p")


def encoder_threads(cameras: int) -> int:
    """Number of threads of each encoder if all cameras share the available cores."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, cameras))


class VideoConcatenation:
    """A video file that is joined packet by packet from videos of equal encoding.

    Args:
        path: The mp4 file.
        fps: Images per second.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self._fps, self._frames = fps, 0
        self._out = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream: av.VideoStream | None = None

    def add(self, part: Path) -> None:
        """Append a video.

        Raises:
            ArtifactError: It has no time base or one that cannot represent the frame rate, or a packet without a time.
        """
        with av.open(str(part)) as source:
            video = source.streams.video[0]
            if self._stream is None:
                self._stream = self._out.add_stream_from_template(video)
                self._stream.time_base = video.time_base
            time_base = _time_base(video, part)
            unit = Fraction(1, self._fps) / time_base
            if unit.denominator != 1:
                raise ArtifactError(f"{part}: time base {time_base} s cannot represent {self._fps} images per second")
            offset, count = self._frames * int(unit), 0
            for packet in source.demux(video):
                if packet.dts is None:
                    continue
                if packet.pts is None:
                    raise ArtifactError(f"{part}: a packet has no presentation time")
                packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                packet.stream = self._stream
                self._out.mux(packet)
                count += 1
            self._frames += count

    def close(self) -> None:
        """Complete the file."""
        self._out.close()


def _time_base(stream: av.VideoStream, path: Path) -> Fraction:
    """Unit of the times of a stream [s]."""
    if stream.time_base is None:
        raise ArtifactError(f"{path}: the video has no time base")
    return stream.time_base


def decode_images(path: Path, first: int, count: int, fps: int, resize: Resize | None = None) -> Iterator[np.ndarray]:
    """Decode the images ``first`` to ``first + count - 1`` of a video, each (H, W, 3) uint8 RGB.

    Args:
        resize: Conversion of the images to one size; None keeps their size.

    Raises:
        ArtifactError: The video is damaged, or has fewer images.
    """
    number = first
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            time_base = _time_base(stream, path)
            if first:
                container.seek(int(first / fps / time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ArtifactError(f"{path}: an image has no presentation time")
                if round(frame.pts * time_base * fps) < number:
                    continue
                if number >= first + count:
                    return
                image = frame.to_ndarray(format="rgb24")
                yield resize(image) if resize else image
                number += 1
    except (av.FFmpegError, IndexError) as error:
        raise ArtifactError(f"{path}: cannot be decoded: {error}") from error
    if number < first + count:
        raise ArtifactError(f"{path}: expected {first + count} images, got {number}")
