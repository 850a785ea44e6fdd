"""The same hinges as a pinocchio model: for users of pinocchio, and as a second opinion on our own kinematics."""

from __future__ import annotations

import numpy as np
import pinocchio

from latent_policy_ros.embodiments.model.schema import Embodiment


def pinocchio_model(embodiment: Embodiment) -> pinocchio.Model:
    """All hinges (coupled ones too, in the order of ``embodiment.hinges``) as joints, base = palm frame.

    Frames ``<finger>_tip`` mark the fingertips, ``hand`` the canonical hand frame. Feed it ``embodiment.coupling @ q``.
    Masses are zero: the model is kinematic.
    """
    model = pinocchio.Model()
    model.name = embodiment.name
    placed = {None: (0, np.zeros(3))}
    kinds = {"revolute": pinocchio.JointModelRevoluteUnaligned, "prismatic": pinocchio.JointModelPrismaticUnaligned}
    for hinge in embodiment.hinges:
        parent, at = placed[hinge.parent]
        placement = pinocchio.SE3(np.eye(3), hinge.point - at)
        # Effort and velocity limits are those of the actuated joints; here only positions are bounded.
        bounds = (np.array([np.inf]), np.array([np.inf]), np.array([hinge.lower]), np.array([hinge.upper]))
        joint = model.addJoint(parent, kinds[hinge.kind](hinge.axis), placement, hinge.name, *bounds)
        placed[hinge.name] = (joint, hinge.point)
    for finger, tip in embodiment.fingertips.items():
        joint, at = placed[tip.hinge]
        _add_frame(model, f"{finger}_tip", joint, pinocchio.SE3(np.eye(3), tip.point - at))
    _add_frame(model, "hand", 0, pinocchio.SE3(embodiment.T_base_hand))
    return model


def _add_frame(model: pinocchio.Model, name: str, joint: int, placement: pinocchio.SE3) -> None:
    model.addFrame(pinocchio.Frame(name, joint, 0, placement, pinocchio.FrameType.OP_FRAME))
