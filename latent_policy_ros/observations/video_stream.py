"""VideoStream: pictures of a camera that publishes a video, H.264 or H.265, one packet a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available
from latent_policy_ros.observations.h264_headers import FrameCounter

if TYPE_CHECKING:
    from av import VideoCodecContext

CODECS = {"h264": "h264", "avc": "h264", "h265": "hevc", "hevc": "hevc"}  # ``format`` of the message: decoder
MAX_PENDING = 64  # packets without a picture whose stamps are kept


def is_video(message: Any) -> bool:
    """Whether a message is a packet of a video: sensor_msgs/CompressedImage or foxglove_msgs/CompressedVideo."""
    return not hasattr(message, "height") and _codec(message) in CODECS


def _codec(message: Any) -> str:
    return message.format.lower().partition(";")[0].strip().replace(".", "")


class VideoStream:
    """Decodes the packets of one camera in their order.

    Packets before the first key frame give no picture. Nor do those after a lost packet of H.264, up to the next key frame.

    Args:
        name: Name of the camera, for errors.
    """

    def __init__(self, name: str) -> None:
        self.name, self._number, self._started = name, 0, False
        self._context: VideoCodecContext | None = None
        self._stamps: dict[int, float] = {}  # of packets whose picture is not decoded yet, by number
        self._counter, self._broken = FrameCounter(), False

    def push(self, stamp: float, message: Any) -> list[tuple[float, np.ndarray]]:
        """Decode a packet; returns the pictures that it completes, each with its stamp [s], (H, W, 3) uint8 RGB.

        Raises:
            ObservationRefused: The packet or its picture is damaged, packets before it are lost, or the codec is unknown.
        """
        import av  # takes long; most cameras need no decoder

        codec = _codec(message)
        if codec not in CODECS:
            raise ObservationRefused(f"{self.name}: video format {message.format!r} is not supported; {available(CODECS)}")
        if self._context is None:
            context = av.CodecContext.create(CODECS[codec], "r")
            context.thread_count = 1  # more delay the pictures
            self._context = context  # type: ignore[assignment]
        self._number += 1
        data = bytes(message.data)
        if not self._is_broken(codec, data):
            self._stamps[self._number] = stamp
        while len(self._stamps) > MAX_PENDING:
            del self._stamps[min(self._stamps)]
        packet = av.Packet(data)
        packet.pts = packet.dts = self._number
        try:
            frames = self._context.decode(packet)  # type: ignore[union-attr]
        except av.FFmpegError as error:
            if not self._started and self._number < MAX_PENDING:  # a decoder refuses what comes before the first key frame
                return []
            raise ObservationRefused(f"{self.name}: video packet of {len(message.data)} bytes: {error.strerror}") from error
        found = []
        for frame in frames:
            if frame.is_corrupt:
                raise ObservationRefused(f"{self.name}: video packet of {len(message.data)} bytes: the picture is damaged")
            if frame.pts in self._stamps:
                self._started = True
                found.append((self._stamps.pop(frame.pts), frame.to_ndarray(format="rgb24")))
        if self._broken and self._started and not found:
            raise ObservationRefused(
                f"{self.name}: packets of the video are lost; its pictures are damaged up to the next key frame"
            )
        return found

    def _is_broken(self, codec: str, data: bytes) -> bool:
        """Whether a packet before this one is lost that its picture needs."""
        if CODECS[codec] == "h264":
            lost, begins = self._counter.add(data)
            self._broken = (self._broken or lost) and not begins
        return self._broken
