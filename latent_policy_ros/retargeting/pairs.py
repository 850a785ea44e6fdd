"""Paired actions: the same human hand pose as an action of every embodiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.keypoints import human_action, to_hand_frame
from latent_policy_ros.retargeting.motion import generate_motion
from latent_policy_ros.retargeting.retargeter import Retargeter

FRAMES_A_RECORDING, FPS = 200, 10.0


@dataclass(frozen=True)
class PairedActions:
    """Row i of every array comes from the same human pose.

    Attributes:
        actions: Action representation of each embodiment, shape (N, action_dim), float64.
        recording: Which recording a row belongs to, shape (N,). Split by it: neighbours in time are nearly equal.
    """

    actions: Mapping[str, np.ndarray]
    recording: np.ndarray

    def __len__(self) -> int:
        return len(self.recording)

    def subset(self, recordings: Sequence[int]) -> PairedActions:
        """Only the rows of these recordings."""
        keep = np.isin(self.recording, recordings)
        return PairedActions({name: action[keep] for name, action in self.actions.items()}, self.recording[keep])

    def split(self, held_out: float = 0.1, seed: int = 0) -> tuple[PairedActions, PairedActions]:
        """(training, held out): whole recordings, a share ``held_out`` of them (at least one)."""
        recordings = np.random.default_rng(seed).permutation(np.unique(self.recording))
        count = max(1, round(held_out * len(recordings)))
        if count >= len(recordings):
            raise ValueError(f"cannot hold out {count} of {len(recordings)} recordings; make more frames")
        return self.subset(recordings[count:]), self.subset(recordings[:count])


def pair_keypoints(
    names: Sequence[str], keypoints: np.ndarray, progress: Callable[[int, int], None] | None = None
) -> PairedActions:
    """Pairs from S recordings of T frames of keypoints (S, T, 21, 3) [m], in any frame; ``progress(done, all)``."""
    keypoints = to_hand_frame(keypoints)
    recordings, frames = keypoints.shape[:2]
    actions = {}
    for done, name in enumerate(names):
        embodiment = load_embodiment(name)
        if embodiment.kind == "human":
            action = human_action(keypoints)
        else:
            action = embodiment.to_action(Retargeter(embodiment).retarget_sequence(keypoints))
        actions[name] = action.reshape(recordings * frames, -1)
        if progress is not None:
            progress(done + 1, len(names))
    return PairedActions(actions, np.repeat(np.arange(recordings), frames))


def make_pairs(
    names: Sequence[str], seed: int, frames: int, progress: Callable[[int, int], None] | None = None
) -> PairedActions:
    """``frames`` pairs (rounded up to whole recordings of 20 s, each of another hand) of generated motion."""
    count = -(-frames // FRAMES_A_RECORDING)
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
    seconds = FRAMES_A_RECORDING / FPS
    return pair_keypoints(names, np.stack([generate_motion(rng, seconds, FPS).keypoints for rng in streams]), progress)
