"""ImageCache: decoded images of data sets in memory-mapped files, made once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from latent_policy_ros.common.artifacts import canonical_json
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.observations.resize import Resize

FORMAT = 1
BLOCK = 1 << 22  # bytes


class ImageCache:
    """Decoded images on disk, one file for each video, conversion to one size and choice of frames.

    The name of a file is the content hash of the video, of the camera's name and of this choice, so that a changed data set is
    decoded again. Images are read through memory maps: the operating system keeps recently used ones in memory and drops them when
    it needs the memory.

    Args:
        folder: Folder of the cache; may be deleted at any time between trainings.
        resize: Conversion of the images to one size.
    """

    def __init__(self, folder: Path, resize: Resize) -> None:
        self.folder, self.resize = folder, resize
        self._hashes: dict[Path, str] = {}

    def images(self, reader: LeRobotReader, camera: str, episodes: Sequence[int], stride: int) -> tuple[list[np.ndarray], str]:
        """Images of one camera, decoded unless they are in the cache.

        Args:
            reader: The data set.
            camera: Name of the camera.
            episodes: Indices of the episodes.
            stride: Every ``stride``-th image of an episode is taken.

        Returns:
            Images (T, H, W, 3) uint8 of each episode, as views of memory maps, and a content hash of all of them.

        Raises:
            ArtifactError: The camera does not exist, a video is damaged, or the disk is full.
        """
        videos: dict[Path, list[int]] = {}
        for number in episodes:
            videos.setdefault(reader.image_file(number, camera)[0], []).append(number)
        found: dict[int, np.ndarray] = {}
        keys = []
        for path, numbers in videos.items():
            key = self._key(reader, camera, path, numbers, stride)
            counts = [-(-reader.episodes[number]["length"] // stride) for number in numbers]
            stored = self._open(key, sum(counts))
            if stored is None:
                self._decode(reader, camera, numbers, stride, key, sum(counts))
                stored = self._open(key, sum(counts))
                assert stored is not None
            found |= dict(zip(numbers, np.split(stored, np.cumsum(counts)[:-1])))
            keys.append(key)
        return [found[number] for number in episodes], hashlib.sha256("".join(keys).encode()).hexdigest()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _shape(self, count: int) -> tuple[int, ...]:
        return count, self.resize.height, self.resize.width, 3

    def _key(self, reader: LeRobotReader, camera: str, path: Path, numbers: Sequence[int], stride: int) -> str:
        if path not in self._hashes:
            self._hashes[path] = _file_hash(path)
        spans = [(reader.image_file(number, camera)[1], reader.episodes[number]["length"]) for number in numbers]
        content = [FORMAT, self._hashes[path], camera, reader.fps, list(astuple(self.resize)), stride, spans]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def _open(self, key: str, count: int) -> np.ndarray | None:
        """The stored images; None: there are none, or the file is damaged."""
        try:
            stored = np.load(self._file(key), mmap_mode="r")
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return stored if stored.shape == self._shape(count) and stored.dtype == np.uint8 else None

    def _decode(self, reader: LeRobotReader, camera: str, numbers: Sequence[int], stride: int, key: str, count: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = self._shape(count)
        free, needed = shutil.disk_usage(self.folder).free, int(np.prod(shape))
        if free < needed:
            raise ArtifactError(
                f"{self.folder}: images of {reader.root}: expected {needed / 1e9:.1f} GB of free space, got {free / 1e9:.1f}; "
                "free some, or choose another disk with the environment variable LATENT_POLICY_HOME"
            )
        partial = self._file(key).with_suffix(f".{os.getpid()}.part")
        try:
            stored = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
            row = 0
            for number in numbers:
                for k, image in enumerate(reader.images(number, camera, self.resize)):
                    if k % stride == 0:
                        stored[row] = image
                        row += 1
            stored.flush()
            del stored
            os.replace(partial, self._file(key))
        finally:
            partial.unlink(missing_ok=True)


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    return digest.hexdigest()
