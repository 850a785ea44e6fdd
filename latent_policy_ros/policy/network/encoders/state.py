"""StateEncoder: features of the recent grasp poses, hand latents and apertures."""

from __future__ import annotations

from torch import Tensor, nn


class StateEncoder(nn.Sequential):
    """One linear layer over all states of the observation history.

    Args:
        observation_steps: Number of states S.
        state_dim: Numbers per state (3 position, 6 rotation, L latent, 1 aperture).
        feature_dim: Length F of the output.
    """

    def __init__(self, observation_steps: int, state_dim: int, feature_dim: int) -> None:
        super().__init__(nn.Linear(observation_steps * state_dim, feature_dim), nn.SiLU())

    def forward(self, states: Tensor) -> Tensor:
        """Features (B, F) of scaled states (B, S, state_dim)."""
        return super().forward(states.flatten(1))
