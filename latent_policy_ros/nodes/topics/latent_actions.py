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
        self._known: tuple[MessageTemplate, ActionChunk, str] | None = None  # with a chunk of the kind, and its frame

    def learn(self, chunk: ActionChunk, frame: str) -> MessageTemplate:
        """Use the template of chunks like this one, whose wrist poses are in ``frame``."""
        if self._known is not None:
            template, like, known_frame = self._known
            if (known_frame, _kind(like)) == (frame, _kind(chunk)):
                return template
        make = lambda *values: message_conversion.latent_action(_filled(chunk, *values), frame)
        arrays = np.zeros(1, np.uint32), np.zeros(chunk.latents.size, np.float32), np.zeros(chunk.wrist_poses.size)
        template = MessageTemplate(make, 1, arrays)
        self._known = template, chunk, frame
        return template

    def serialise(self, chunk: ActionChunk, frame: str) -> bytes:
        """The chunk as a LatentAction whose wrist poses are in ``frame``."""
        sequence = np.array([chunk.sequence % 2**32])
        return self.learn(chunk, frame).serialise(chunk.stamp, sequence, chunk.latents.ravel(), chunk.wrist_poses.ravel())

    def read(self, data: bytes) -> tuple[ActionChunk, str] | None:
        """The chunk of a serialised LatentAction, and its frame; None if it is of another kind than the one learnt."""
        if self._known is None:
            return None
        template, like, frame = self._known
        values = template.read(data)
        return None if values is None else (_filled(like, *values), frame)


def _kind(chunk: ActionChunk) -> tuple[Any, ...]:
    return chunk.policy_id, chunk.latent_id, chunk.latents.shape, chunk.wrist_poses.shape, chunk.dt


def _filled(like: ActionChunk, stamp: float, sequence: np.ndarray, latents: np.ndarray, poses: np.ndarray) -> ActionChunk:
    """A chunk of the kind of ``like`` with the values of a message."""
    parts = {"latents": latents.reshape(like.latents.shape), "wrist_poses": poses.reshape(-1, 7)}
    return replace(like, stamp=stamp, sequence=int(sequence[0]), **parts)
