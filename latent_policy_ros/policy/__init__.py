"""Latent diffusion policy: observations in, action chunks in the shared latent space out.

``Policy`` is imported on first access, because decoders run without torch.
"""

from typing import Any

from latent_policy_ros.policy.action_chunk import ActionChunk
from latent_policy_ros.policy.chunking import ChunkBuffer
from latent_policy_ros.policy.decoder import DecodedCommand, RobotDecoder

__all__ = ["ActionChunk", "ChunkBuffer", "DecodedCommand", "Policy", "RobotDecoder"]


def __getattr__(name: str) -> Any:
    if name == "Policy":
        from latent_policy_ros.policy.runtime import Policy

        return Policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
