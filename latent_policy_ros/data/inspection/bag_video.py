"""What happened, for people: a bag's cameras side by side as a video and as a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from latent_policy_ros.common.errors import ArtifactError, ObservationRefused, available
from latent_policy_ros.data.bags.reader import open_bag
from latent_policy_ros.observations.images import rgb_image

Frames = dict[str, list[tuple[float, np.ndarray]]]  # topic -> (seconds since the bag's start, RGB image)


def read_images(bag: Path, topics: Sequence[str]) -> Frames:
    """Read the RGB images of ``topics`` from a rosbag2 folder, raw or compressed.

    Raises:
        ArtifactError: The bag lacks one of the topics, or an image cannot be decoded.
    """
    frames: Frames = {topic: [] for topic in topics}
    with open_bag(bag) as opened:
        missing = set(topics) - opened.topics.keys()
        if missing:
            raise ArtifactError(f"{bag}: no images on {', '.join(sorted(missing))}; {available(opened.topics)}")
        for topic, received, message in opened.messages(topics):
            try:
                frames[topic].append((received - opened.start, rgb_image(message)))
            except ObservationRefused as error:
                raise ArtifactError(f"{bag}: {topic}: {error}") from error
    return frames


def side_by_side(frames: Frames, labels: Sequence[str], fps: float, size: int = 360) -> Iterator[np.ndarray]:
    """One image per 1/``fps`` s: every topic's newest image, scaled to ``size`` rows and labelled, left to right."""
    end = max((images[-1][0] for images in frames.values() if images), default=0.0)
    cursors = dict.fromkeys(frames, 0)
    for tick in range(int(end * fps) + 1):
        panels = []
        for (topic, images), label in zip(frames.items(), labels):
            while cursors[topic] + 1 < len(images) and images[cursors[topic] + 1][0] <= tick / fps:
                cursors[topic] += 1
            panels.append(_label(_scale(images[cursors[topic]][1], size), f"{label}  {tick / fps:4.1f} s"))
        yield np.concatenate(panels, axis=1)


def _scale(image: np.ndarray, rows: int) -> np.ndarray:
    width = round(image.shape[1] * rows / image.shape[0] / 2) * 2  # H.264 wants even sizes
    return cv2.resize(image, (width, rows), interpolation=cv2.INTER_AREA if rows < image.shape[0] else cv2.INTER_CUBIC)


def _label(image: np.ndarray, text: str) -> np.ndarray:
    image = image.copy()
    image[:32] = 30  # nothing of the image behind the words
    return cv2.putText(image, text, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)


def write_video(path: Path, images: Sequence[np.ndarray], fps: int) -> None:
    """Write (H, W, 3) uint8 RGB images as H.264 mp4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def write_contact_sheet(path: Path, images: Sequence[np.ndarray], columns: int = 3, rows: int = 3) -> None:
    """Write evenly spaced images, row by row, as one PNG."""
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, columns * rows).round().astype(int)]
    sheet = np.concatenate([np.concatenate(chosen[r * columns : (r + 1) * columns], axis=1) for r in range(rows)])
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def film(bag: Path, topics: dict[str, str], out: Path, fps: int = 15) -> tuple[Path, Path]:
    """Make ``<out>.mp4`` and ``<out>.png`` from a bag's cameras.

    Args:
        bag: A rosbag2 folder.
        topics: Image topic -> label.
        out: Path without a suffix.
        fps: Images a second.
    """
    images = list(side_by_side(read_images(bag, list(topics)), list(topics.values()), fps))
    video, sheet = out.with_suffix(".mp4"), out.with_suffix(".png")
    write_video(video, images, fps)
    write_contact_sheet(sheet, images)
    return video, sheet
