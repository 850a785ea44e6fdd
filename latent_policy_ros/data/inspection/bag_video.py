"""Videos and contact sheets of a bag: the images of several cameras side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused, available
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.observations.images import rgb_image

TimedImages = dict[str, list[tuple[float, np.ndarray]]]  # {topic: [(time since the start of the bag [s], RGB image)]}


def read_images(bag: Path, topics: Sequence[str]) -> TimedImages:
    """Read the images of ``topics`` from a bag, raw or compressed.

    Raises:
        ArtifactError: The bag lacks one of the topics, or an image cannot be decoded.
    """
    images: TimedImages = {topic: [] for topic in topics}
    with open_bag(bag) as opened:
        missing = set(topics) - opened.topics.keys()
        if missing:
            raise ArtifactError(f"{bag}: no images on {', '.join(sorted(missing))}; {available(opened.topics)}")
        for topic, received, message in opened.messages(topics):
            try:
                images[topic].append((received - opened.start, rgb_image(message)))
            except ObservationRefused as error:
                raise ArtifactError(f"{bag}: {topic}: {error}") from error
    return images


def tile_images(images: TimedImages, labels: Sequence[str], fps: float, height: int = 360) -> Iterator[np.ndarray]:
    """Frames at ``fps`` that show the newest image of each topic, scaled to ``height`` [px] and labelled, from left to right."""
    end = max((timed[-1][0] for timed in images.values() if timed), default=0.0)
    indices = dict.fromkeys(images, 0)
    for frame in range(int(end * fps) + 1):
        panels = []
        for (topic, timed), label in zip(images.items(), labels):
            while indices[topic] + 1 < len(timed) and timed[indices[topic] + 1][0] <= frame / fps:
                indices[topic] += 1
            panels.append(_label(_scale(timed[indices[topic]][1], height), f"{label}  {frame / fps:4.1f} s"))
        yield np.concatenate(panels, axis=1)


def _scale(image: np.ndarray, height: int) -> np.ndarray:
    width = round(image.shape[1] * height / image.shape[0] / 2) * 2  # H.264 requires even sizes
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC)


def _label(image: np.ndarray, text: str) -> np.ndarray:
    image = image.copy()
    image[:32] = 30  # uniform background of the text
    return cv2.putText(image, text, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)


def write_video(path: Path, images: Sequence[np.ndarray], fps: int) -> None:
    """Write images (H, W, 3) uint8 RGB as an H.264 mp4 file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def write_contact_sheet(path: Path, images: Sequence[np.ndarray], columns: int = 3, rows: int = 3) -> None:
    """Write ``columns * rows`` evenly spaced images as one PNG, row by row."""
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, columns * rows).round().astype(int)]
    sheet = np.concatenate([np.concatenate(chosen[r * columns : (r + 1) * columns], axis=1) for r in range(rows)])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def render_bag_video(bag: Path, topics: Mapping[str, str], out: Path, fps: int = 15) -> tuple[Path, Path]:
    """Write ``<out>.mp4`` and the contact sheet ``<out>.png`` of a bag's cameras; returns both paths.

    Args:
        bag: A rosbag2 folder.
        topics: {image topic: label}.
        out: Path without a suffix.
        fps: Frames per second of the video.
    """
    images = list(tile_images(read_images(bag, list(topics)), list(topics.values()), fps))
    video, sheet = out.with_suffix(".mp4"), out.with_suffix(".png")
    write_video(video, images, fps)
    write_contact_sheet(sheet, images)
    return video, sheet
