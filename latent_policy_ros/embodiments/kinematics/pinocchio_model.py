"""Pinocchio models of hinges: for users of pinocchio, for the few poses that loading needs, and to verify the compiled kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pinocchio

from latent_policy_ros.embodiments.model.schema import Embodiment, Fingertip, Hinge


def pinocchio_model(embodiment: Embodiment) -> pinocchio.Model:
    """Kinematic model of an embodiment: one joint for each of ``embodiment.hinges``, in their order, base = palm frame.

    Frames ``<finger>_tip`` are the fingertips; frame ``hand`` is the canonical hand frame. The configuration vector is
    ``embodiment.coupling @ q``. Masses are zero.
    """
    model = hinge_model(embodiment.hinges, embodiment.fingertips)
    model.name = embodiment.name
    _add_frame(model, "hand", 0, pinocchio.SE3(embodiment.T_base_hand))
    return model


def hinge_model(hinges: Sequence[Hinge], fingertips: Mapping[str, Fingertip]) -> pinocchio.Model:
    """Kinematic model of hinges (parents before children) and fingertips; joint frames are parallel to the base at zero."""
    model = pinocchio.Model()
    placed: dict[str | None, tuple[int, np.ndarray]] = {None: (0, np.zeros(3))}
    kinds = {"revolute": pinocchio.JointModelRevoluteUnaligned, "prismatic": pinocchio.JointModelPrismaticUnaligned}
    for hinge in hinges:
        parent, at = placed[hinge.parent]
        placement = pinocchio.SE3(np.eye(3), hinge.point - at)
        # Effort and velocity limits are those of the actuated joints; here only positions are bounded.
        bounds = (np.array([np.inf]), np.array([np.inf]), np.array([hinge.lower]), np.array([hinge.upper]))
        joint = model.addJoint(parent, kinds[hinge.kind](hinge.axis), placement, hinge.name, *bounds)
        placed[hinge.name] = (joint, hinge.point)
    for finger, tip in fingertips.items():
        joint, at = placed[tip.hinge]
        _add_frame(model, f"{finger}_tip", joint, pinocchio.SE3(np.eye(3), tip.point - at))
    return model


def body_motions(hinges: Sequence[Hinge], positions: np.ndarray) -> dict[str | None, np.ndarray]:
    """Motion (B, 4, 4) of the body behind each hinge since the zero pose, base frame; None is the base.

    Args:
        hinges: Parents before children.
        positions: Of all hinges [rad or m], shape (B, n_hinges).
    """
    model = hinge_model(hinges, {})
    data = model.createData()
    motions = np.tile(np.eye(4), (len(hinges), len(positions), 1, 1))
    for b, q in enumerate(np.ascontiguousarray(positions, dtype=np.float64)):
        pinocchio.forwardKinematics(model, data, q)
        for i in range(len(hinges)):
            motions[i, b] = data.oMi[i + 1].homogeneous
    for i, hinge in enumerate(hinges):
        motions[i, :, :3, 3] -= motions[i, :, :3, :3] @ hinge.point
    base = np.tile(np.eye(4), (len(positions), 1, 1))
    return {None: base, **{hinge.name: motion for hinge, motion in zip(hinges, motions, strict=True)}}


def _add_frame(model: pinocchio.Model, name: str, joint: int, placement: pinocchio.SE3) -> None:
    model.addFrame(pinocchio.Frame(name, joint, 0, placement, pinocchio.FrameType.OP_FRAME))
