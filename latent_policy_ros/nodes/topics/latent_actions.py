"""LatentActions: action chunks of one source as serialised messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from latent_policy_ros.nodes.topics import message_conversion
from latent_policy_ros.nodes.topics.message_template import MessageTemplate
from latent_policy_ros.policy import ActionChunk


class LatentActions:
    """Serialises and reads action chunks as bytes, by the template of the newest kind of chunk.

    Chunks of a kind have the same ids, steps and frame. A chunk has more than a hundred numbers, of which a Python message makes an
    object for each pose.
    """

    def __init__(self) -> None:
        self._like: ActionChunk | None = None
        self._frame = ""
        self._template: MessageTemplate | None = None

    def learn(self, chunk: ActionChunk, frame: str) -> None:
        """Use the template of chunks like this one, whose wrist poses are in ``frame``."""
        if self._like is not None and (self._frame, _kind(self._like)) == (frame, _kind(chunk)):
            return

        def make(stamp: float, sequence: np.ndarray, latents: np.ndarray, poses: np.ndarray) -> Any:
            parts = {"latents": latents.reshape(chunk.latents.shape), "wrist_poses": poses.reshape(-1, 7)}
            return message_conversion.latent_action(replace(chunk, stamp=stamp, sequence=int(sequence[0]), **parts), frame)

        arrays = np.zeros(1, np.uint32), np.zeros(chunk.latents.size, np.float32), np.zeros(chunk.wrist_poses.size)
        self._like, self._frame, self._template = chunk, frame, MessageTemplate(make, 1, arrays)

    def serialise(self, chunk: ActionChunk, frame: str) -> bytes:
        """The chunk as a LatentAction whose wrist poses are in ``frame``."""
        self.learn(chunk, frame)
        assert self._template is not None
        sequence = np.array([chunk.sequence % 2**32])
        return self._template.serialise(chunk.stamp, sequence, chunk.latents.ravel(), chunk.wrist_poses.ravel())

    def read(self, data: bytes) -> tuple[ActionChunk, str] | None:
        """The chunk of a serialised LatentAction, and its frame; None if it is of another kind than the one learnt."""
        values = self._template.read(data) if self._template else None
        if values is None:
            return None
        stamp, sequence, latents, poses = values
        assert self._like is not None
        parts = {"latents": latents.reshape(self._like.latents.shape), "wrist_poses": poses.reshape(-1, 7)}
        return replace(self._like, stamp=stamp, sequence=int(sequence[0]), **parts), self._frame


def _kind(chunk: ActionChunk) -> tuple[Any, ...]:
    return chunk.policy_id, chunk.latent_id, chunk.latents.shape, chunk.wrist_poses.shape, chunk.dt
