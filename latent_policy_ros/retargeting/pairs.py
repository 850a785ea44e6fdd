"""Paired actions: the same human hand pose as an action of every embodiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.embodiments.human.keypoints import TIPS, human_action, to_hand_frame
from latent_policy_ros.retargeting.human_motion.generator import generate_motion
from latent_policy_ros.retargeting.retargeter import Retargeter

FRAMES_A_RECORDING, FPS = 200, 10.0
EVERY = 3  # hands are followed at three times that rate, at which robots keep up with them
JITTER = 1e-3  # m each axis, standard deviation
PALM = 0.093  # wrist to middle knuckle of an average adult hand [m]


@dataclass(frozen=True)
class PairedActions:
    """Row i of every array comes from the same human pose.

    Attributes:
        actions: Action representation of each embodiment, shape (N, action_dim), float64.
        keypoints: The human poses [m, hand frame], shape (N, 21, 3).
        recording: Which recording a row belongs to, shape (N,). Split by it: neighbours in time are nearly equal.
    """

    actions: Mapping[str, np.ndarray]
    keypoints: np.ndarray
    recording: np.ndarray

    def __len__(self) -> int:
        return len(self.recording)

    @property
    def keyvectors(self) -> np.ndarray:
        """What the poses are in short, whatever the size of the hand, shape (N, 9, 3) [m]; see :func:`keyvectors`."""
        return keyvectors(self.keypoints)

    def subset(self, recordings: Sequence[int]) -> PairedActions:
        """Only the rows of these recordings."""
        keep = np.isin(self.recording, recordings)
        actions = {name: action[keep] for name, action in self.actions.items()}
        return PairedActions(actions, self.keypoints[keep], self.recording[keep])


def keyvectors(keypoints: np.ndarray) -> np.ndarray:
    """Wrist to the five fingertips and thumb's tip to the other four, as of an average hand: (..., 21, 3) -> (..., 9, 3)."""
    tips = keypoints[..., list(TIPS.values()), :]
    vectors = np.concatenate((tips - keypoints[..., :1, :], tips[..., 1:, :] - tips[..., :1, :]), axis=-2)
    palm = np.linalg.norm(keypoints[..., 9, :] - keypoints[..., 0, :], axis=-1)
    return vectors * (PALM / palm)[..., None, None]


def pair_keypoints(
    names: Sequence[str | Embodiment], keypoints: np.ndarray, progress: Callable[[int, int], None] | None = None, every: int = 1
) -> PairedActions:
    """Pairs from S recordings of T frames of keypoints (S, T, 21, 3) [m], in any frame; ``progress(done, all)``.

    Robots follow every frame; one in ``every`` becomes a pair.
    """
    hands = to_hand_frame(keypoints)
    keypoints = hands[:, ::every]
    recordings, frames = keypoints.shape[:2]
    actions = {}
    for done, name in enumerate(names):
        embodiment = name if isinstance(name, Embodiment) else load_embodiment(name)
        if embodiment.kind == "human":
            action = human_action(keypoints)
        else:
            action = embodiment.to_action(Retargeter(embodiment).retarget_sequence(hands)[:, ::every])
        actions[embodiment.name] = action.reshape(recordings * frames, -1)
        if progress is not None:
            progress(done + 1, len(names))
    return PairedActions(actions, keypoints.reshape(-1, *keypoints.shape[2:]), np.repeat(np.arange(recordings), frames))


def pair_recordings(names: Sequence[str | Embodiment], recordings: Sequence[np.ndarray]) -> PairedActions:
    """Pairs from recordings of any lengths, keypoints (T, 21, 3) [m] each, in any frame."""
    parts = [pair_keypoints(names, keypoints[None]) for keypoints in recordings]
    return PairedActions(
        {name: np.concatenate([part.actions[name] for part in parts]) for name in parts[0].actions},
        np.concatenate([part.keypoints for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
    )


def make_pairs(
    names: Sequence[str | Embodiment], seed: int, frames: int, progress: Callable[[int, int], None] | None = None
) -> PairedActions:
    """``frames`` pairs (rounded up to whole recordings of 20 s, each of another hand) of generated motion."""
    count = -(-frames // FRAMES_A_RECORDING)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
    keypoints = np.stack([_seen(generate_motion(rng, FRAMES_A_RECORDING / FPS, EVERY * FPS).keypoints, rng) for rng in streams])
    return pair_keypoints(names, keypoints, progress, every=EVERY)


def _seen(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a device sees them (T, 21, 3): each point a little off, and not always by the same."""
    drift = rng.normal(0.0, JITTER, (len(keypoints) // EVERY + 2, 21, 3))  # a new one every so often, even in between
    share, first = np.modf(np.arange(len(keypoints)) / EVERY)
    first, share = first.astype(int), share[:, None, None]
    return keypoints + (1.0 - share) * drift[first] + share * drift[first + 1]
