"""The shared latent space of end-effector actions: encoders, decoders, their training and their measures."""

from latent_policy_ros.latent.space import Codec, LatentSpace

__all__ = ["Codec", "LatentSpace"]
