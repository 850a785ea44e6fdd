"""Video: one thread a camera decodes, encodes and counts pixels; files are joined without encoding again."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused
from latent_policy_ros.data.lerobot.feature_statistics import PixelStats
from latent_policy_ros.observations.images import fit
from latent_policy_ros.observations.observation import RgbImage

#: x264: every second image stands alone, so that any is found fast; ultrafast has the best quality for its time here, and
#: looking ahead (which zerolatency leaves out) costs a tenth of it and gives nothing. Slices would depend on the number of cores.
OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "sliced-threads=0", "bf": "0"}
GROUP = 2
CRF, CRF_SMALL, SMALL = "23", "12", 160  # small images are what policies see: what they lose is lost for good
WAITING = 8  # images that may wait for a camera's thread


class VideoWriter:
    """Encodes images as H.264, in a thread of its own.

    Args:
        path: The mp4.
        fps: Images a second.
        frames: About how many will come; decides how many go into the statistics.
        threads: Threads of the encoder.
    """

    def __init__(self, path: Path, fps: int, frames: int = 0, threads: int = 1) -> None:
        self.path, self.fps, self.count = path, fps, 0
        self.size: tuple[int, int] | None = None
        self.stats = PixelStats(frames)
        self.failed: tuple[float, ObservationRefused] | None = None
        self._threads = threads
        self._queue: queue.Queue[tuple[float, RgbImage] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"encode {path.name}", daemon=True)
        self._thread.start()

    def add(self, stamp: float, image: RgbImage) -> None:
        """Append an image; waits while too many are under way."""
        self._queue.put((stamp, image))

    def close(self) -> None:
        """Finish the file.

        Raises:
            ObservationRefused: An image cannot be decoded, or is of another size; ``failed`` says when.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error
        if self.failed:
            raise self.failed[1]

    def abort(self) -> None:
        """Stop; what is written is of no use."""
        self.failed = self.failed or (0.0, ObservationRefused("aborted"))
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._encode()
        except BaseException as error:  # handed to whoever closes
            self._error = error
            while self._queue.get() is not None:
                pass

    def _encode(self) -> None:
        container = stream = None
        while (item := self._queue.get()) is not None:
            if self.failed:
                continue
            stamp, image = item
            try:
                rgb = self._checked(image() if callable(image) else image)
            except ObservationRefused as error:
                self.failed = stamp, error
                continue
            if container is None:
                container = av.open(str(self.path), "w", options={"movflags": "faststart"})
                stream = self._open(container, *rgb.shape[:2])
            self.stats.add(rgb)
            frame = _yuv(rgb)
            frame.pts, frame.time_base = self.count, Fraction(1, self.fps)
            try:
                container.mux(stream.encode(frame))
            except (av.error.ArgumentError, av.error.ExternalError) as error:
                if self.count:
                    raise
                height, width = rgb.shape[:2]
                why = f"H.264 cannot have this size ({error.strerror})"
                self.failed = stamp, ObservationRefused(f"image of {width}x{height}: {why}")
                continue
            self.count += 1
        if container is not None and self.count:
            container.mux(stream.encode())
            container.close()

    def _checked(self, rgb: np.ndarray) -> np.ndarray:
        height, width = self.size = size_in_video(rgb, self.size)
        return np.ascontiguousarray(rgb[:height, :width])

    def _open(self, container: av.container.OutputContainer, height: int, width: int) -> av.VideoStream:
        options = {**OPTIONS, "crf": CRF_SMALL if is_small(height, width) else CRF}
        stream = container.add_stream("libx264", rate=self.fps, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format(height, width)
        stream.codec_context.gop_size = GROUP
        stream.codec_context.thread_count = self._threads
        stream.codec_context.time_base = Fraction(1, self.fps)
        return stream


def size_in_video(rgb: np.ndarray, before: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of what a video takes of an image (H, W, 3).

    Args:
        before: That of the images before; None if it is the first.

    Raises:
        ObservationRefused: It is another one, or nothing.
    """
    height, width = rgb.shape[0] & ~1, rgb.shape[1] & ~1  # 4:2:0 wants even sizes
    if not height or not width:
        raise ObservationRefused(f"image of {rgb.shape[1]}x{rgb.shape[0]}: expected at least 2x2")
    if before not in (None, (height, width)):
        raise ObservationRefused(f"image of {width}x{height}, those before were {before[1]}x{before[0]}")
    return height, width


def is_small(height: int, width: int) -> bool:
    """Whether images of this size are kept nearly without loss."""
    return max(height, width) <= SMALL


def pixel_format(height: int, width: int) -> str:
    """How images of this size are kept: small ones with all of their colour (15 dB more at the edges of a simulated scene)."""
    return "yuv444p" if is_small(height, width) else "yuv420p"


def _yuv(rgb: np.ndarray) -> av.VideoFrame:
    if is_small(*rgb.shape[:2]):
        return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p")
    return av.VideoFrame.from_numpy_buffer(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), format="yuv420p")  # a tenth of ffmpeg's time


def encoder_threads(cameras: int) -> int:
    """Threads for each of so many encoders."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, cameras))


def join(parts: Sequence[Path], path: Path, fps: int) -> None:
    """Append videos of the same kind to each other, packet by packet."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream, frames = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(video)
                    stream.time_base = video.time_base
                unit = Fraction(1, fps) / video.time_base
                if unit.denominator != 1:
                    raise ArtifactError(f"{part}: its clock of {video.time_base} s cannot tell {fps} images a second apart")
                ticks, count = int(unit), 0
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = (value + frames * ticks for value in (packet.pts, packet.dts))
                    packet.stream = stream
                    out.mux(packet)
                    count += 1
                frames += count


def decode(path: Path, first: int, count: int, fps: int, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
    """Images ``first`` to ``first + count`` of a video, (H, W, 3) uint8 RGB.

    Args:
        size: (height, width) to fit them to.

    Raises:
        ArtifactError: The video is damaged, or ends before.
    """
    wanted = first
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if first:
                container.seek(int(first / fps / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if round(frame.pts * stream.time_base * fps) < wanted:
                    continue
                if wanted >= first + count:
                    return
                image = frame.to_ndarray(format="rgb24")
                yield fit(image, *size) if size else image
                wanted += 1
    except (av.FFmpegError, IndexError) as error:
        raise ArtifactError(f"{path}: cannot be decoded: {error}") from error
    if wanted < first + count:
        raise ArtifactError(f"{path}: ends at image {wanted}, expected {first + count}")
