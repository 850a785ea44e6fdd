"""Embodiments: end-effectors with their joints, couplings, limits, kinematics and action representation, one YAML file each."""

from latent_policy_ros.embodiments.kinematics.hand_kinematics import HandKinematics
from latent_policy_ros.embodiments.loader import list_embodiments, load_commanded, load_embodiment
from latent_policy_ros.embodiments.model.schema import Embodiment, Fingertip, Hinge

__all__ = ["Embodiment", "Fingertip", "HandKinematics", "Hinge", "list_embodiments", "load_commanded", "load_embodiment"]
