"""Differentiable fingertips in torch, for losses on fingertip positions.

An autograd function around :class:`~latent_policy_ros.embodiments.kinematics.hinge_tree.HingeTree`, whose compiled kernel gives
points and Jacobian in a fifth of the time that the same chain of hinges takes as torch operations.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.embodiments.human.keypoints import KEYPOINTS, TIPS
from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree
from latent_policy_ros.embodiments.model.schema import Embodiment


def torch_fingertips(embodiment: Embodiment) -> nn.Module:
    """Make a module from actions x (..., action_dim) to fingertips (..., F, 3) [m] in the canonical hand frame.

    The module's attribute ``fingers`` has the names of the F fingers. For the human hand the positions are part of the action.
    """
    return _KeypointTips() if embodiment.kind == "human" else _TreeTips(embodiment)


class _KeypointTips(nn.Module):
    """Fingertips of the human hand: five of the positions among its 189 numbers."""

    fingers = tuple(TIPS)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], KEYPOINTS, 9)[..., list(TIPS.values()), :3]


class _TreeTips(nn.Module):
    """Fingertips of a hand or gripper."""

    R_base_hand: Tensor
    origin: Tensor
    slope: Tensor

    def __init__(self, embodiment: Embodiment) -> None:
        super().__init__()
        self.fingers = tuple(embodiment.fingertips)
        tips = list(embodiment.fingertips.values())
        self._tree = HingeTree(
            embodiment.hinges, [tip.hinge for tip in tips], np.array([tip.point for tip in tips]), embodiment.coupling
        )
        self._to_joints = embodiment.to_joints
        R_base_hand, origin = embodiment.T_base_hand[:3, :3], embodiment.T_base_hand[:3, 3]
        self.register_buffer("R_base_hand", torch.tensor(R_base_hand, dtype=torch.float32))
        self.register_buffer("origin", torch.tensor(origin, dtype=torch.float32))
        # q is an affine function of x, for grippers too.
        ends = embodiment.to_joints(np.stack((np.zeros(embodiment.action_dim), np.ones(embodiment.action_dim))))
        self.register_buffer("slope", torch.tensor(ends[1] - ends[0], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        q = self._to_joints(x.detach().double().cpu().numpy().reshape(-1, x.shape[-1]))
        if x.requires_grad and torch.is_grad_enabled():
            points, jacobian = self._tree.points_and_jacobian(q)
            tips = _GivenJacobian.apply(x, _like(x, points), _like(x, jacobian) * self.slope)
        else:
            tips = _like(x, self._tree.points(q)).reshape(*x.shape[:-1], len(self.fingers), 3)
        return (tips - self.origin) @ self.R_base_hand


class _GivenJacobian(torch.autograd.Function):
    """Points (B, F, 3) as a function of x (..., d), given with their derivatives (B, F, 3, d)."""

    @staticmethod
    def forward(ctx, x: Tensor, points: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return points.reshape(*x.shape[:-1], *points.shape[1:])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        rows = gradient.reshape(len(jacobian), 1, -1) @ jacobian.flatten(1, 2)
        return rows.reshape(*gradient.shape[:-2], -1), None, None


def _like(x: Tensor, array: np.ndarray) -> Tensor:
    """A tensor with the dtype and device of x."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(x)
