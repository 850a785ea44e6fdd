"""Shared latent space of end-effector actions: encoders, decoders, training, metrics and report."""

from latent_policy_ros.latent.codec import Codec
from latent_policy_ros.latent.space import LatentSpace

__all__ = ["Codec", "LatentSpace"]
