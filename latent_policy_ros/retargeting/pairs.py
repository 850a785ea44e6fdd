"""Paired actions: the same poses of a human hand as actions of several embodiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.embodiments.human.keypoints import TIPS, human_action, to_hand_frame
from latent_policy_ros.retargeting.human_motion.generator import generate_motion
from latent_policy_ros.retargeting.retargeter import Retargeter

RECORDING_FRAMES, FPS = 200, 10.0  # of generated pairs
OVERSAMPLING = 3  # motion is retargeted at this multiple of FPS, because the bounds on joint steps need short steps
JITTER = 1e-3  # noise of generated keypoints per axis, standard deviation [m]
AVERAGE_PALM = 0.093  # wrist to middle knuckle of an average adult hand [m]


@dataclass(frozen=True)
class PairedActions:
    """Pairs: row i of every array belongs to the same human pose.

    Attributes:
        actions: Action representation by embodiment, shape (N, action_dim), float64.
        keypoints: The human poses [m, hand frame], shape (N, 21, 3).
        recording: Index of each row's recording, shape (N,). Split data by it: consecutive rows are nearly equal.
    """

    actions: Mapping[str, np.ndarray]
    keypoints: np.ndarray
    recording: np.ndarray

    def __len__(self) -> int:
        return len(self.recording)

    @property
    def keyvectors(self) -> np.ndarray:
        """Size-independent key vectors of the poses, shape (N, 9, 3) [m]; see :func:`keyvectors`."""
        return keyvectors(self.keypoints)

    def subset(self, recordings: Sequence[int] | np.ndarray) -> PairedActions:
        """The rows of these recordings."""
        keep = np.isin(self.recording, recordings)
        actions = {name: action[keep] for name, action in self.actions.items()}
        return PairedActions(actions, self.keypoints[keep], self.recording[keep])


def keyvectors(keypoints: np.ndarray) -> np.ndarray:
    """Vectors [m] from the wrist to the five fingertips and from the thumb tip to the other four, scaled to an average hand.

    Keypoints (..., 21, 3) [m] in the hand frame give (..., 9, 3).
    """
    tips = keypoints[..., list(TIPS.values()), :]
    vectors = np.concatenate((tips - keypoints[..., :1, :], tips[..., 1:, :] - tips[..., :1, :]), axis=-2)
    palm = np.linalg.norm(keypoints[..., 9, :] - keypoints[..., 0, :], axis=-1)
    return vectors * (AVERAGE_PALM / palm)[..., None, None]


def pair_keypoints(
    names: Sequence[str | Embodiment], keypoints: np.ndarray, progress: Callable[[int, int], None] | None = None, every: int = 1
) -> PairedActions:
    """Make pairs from S recordings of T frames.

    Args:
        names: Embodiments, or their names.
        keypoints: Shape (S, T, 21, 3) [m], in any frame.
        progress: Called with (count of finished embodiments, total).
        every: All frames are retargeted; one in ``every`` becomes a pair.
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
    """Make pairs from recordings of different lengths, keypoints (T, 21, 3) [m] each, in any frame."""
    parts = [pair_keypoints(names, keypoints[None]) for keypoints in recordings]
    return PairedActions(
        {name: np.concatenate([part.actions[name] for part in parts]) for name in parts[0].actions},
        np.concatenate([part.keypoints for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
    )


def make_pairs(
    names: Sequence[str | Embodiment], seed: int, frames: int, progress: Callable[[int, int], None] | None = None
) -> PairedActions:
    """Make pairs of generated motion.

    Args:
        names: Embodiments, or their names.
        seed: The same seed gives the same pairs.
        frames: Count of pairs, rounded up to whole recordings of 200 frames (20 s), each of another random hand.
        progress: Called with (count of finished embodiments, total).
    """
    count = -(-frames // RECORDING_FRAMES)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
    keypoints = np.stack(
        [_with_noise(generate_motion(rng, RECORDING_FRAMES / FPS, OVERSAMPLING * FPS).keypoints, rng) for rng in streams]
    )
    return pair_keypoints(names, keypoints, progress, every=OVERSAMPLING)


def _with_noise(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keypoints (T, 21, 3) with the noise of a device: independent at FPS, interpolated linearly between."""
    drift = rng.normal(0.0, JITTER, (len(keypoints) // OVERSAMPLING + 2, 21, 3))
    share, first = np.modf(np.arange(len(keypoints)) / OVERSAMPLING)
    first, share = first.astype(int), share[:, None, None]
    return keypoints + (1.0 - share) * drift[first] + share * drift[first + 1]
