"""The shared latent space of end-effector actions: encoders, decoders, their training and their measures."""

from latent_policy_ros.latent.codec import Codec
from latent_policy_ros.latent.space import LatentSpace

__all__ = ["Codec", "LatentSpace"]
