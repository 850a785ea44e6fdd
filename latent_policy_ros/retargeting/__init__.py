"""Retargeting: human keypoints to joints of any embodiment, generated motion of human hands, and paired actions."""

from latent_policy_ros.retargeting.human_motion.generator import HandMotion, generate_motion, grasp_plan
from latent_policy_ros.retargeting.pairs import PairedActions, make_pairs
from latent_policy_ros.retargeting.retargeter import Retargeter

__all__ = ["HandMotion", "PairedActions", "Retargeter", "generate_motion", "grasp_plan", "make_pairs"]
