"""Fingertips of an embodiment in torch: batched and differentiable, for losses that see the hand and not only its joints.

The compiled kinematics of :mod:`hinge_tree` behind torch's autograd: a pose and all its derivatives take a few
microseconds on one core, a fifth of what the same chain of hinges takes as torch operations.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.embodiments.human.human_hand import KEYPOINTS, TIPS
from latent_policy_ros.embodiments.kinematics.hinge_tree import HingeTree
from latent_policy_ros.embodiments.model.schema import Embodiment


def torch_fingertips(embodiment: Embodiment) -> nn.Module:
    """A module from actions x (..., action_dim) to fingertips (..., F, 3) [m] in the canonical hand frame.

    Its ``fingers`` names the F fingers. For the human hand these are positions inside the action itself.
    """
    return _KeypointTips() if embodiment.kind == "human" else _TreeTips(embodiment)


class _KeypointTips(nn.Module):
    """The fingertips among the 189 numbers of a person's hand."""

    fingers = tuple(TIPS)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], KEYPOINTS, 9)[..., list(TIPS.values()), :3]


class _TreeTips(nn.Module):
    """The fingertips of a mechanism."""

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
        # x to q is affine, a gripper's share of its opening too.
        ends = embodiment.to_joints(np.stack((np.zeros(embodiment.action_dim), np.ones(embodiment.action_dim))))
        self.register_buffer("slope", torch.tensor(ends[1] - ends[0], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        q = self._to_joints(x.detach().double().cpu().numpy().reshape(-1, x.shape[-1]))
        if x.requires_grad and torch.is_grad_enabled():
            places, jacobian = self._tree.points_and_jacobian(q)
            tips = _Linear.apply(x, _like(x, places), _like(x, jacobian) * self.slope)
        else:
            tips = _like(x, self._tree.points(q)).reshape(*x.shape[:-1], len(self.fingers), 3)
        return (tips - self.origin) @ self.R_base_hand


class _Linear(torch.autograd.Function):
    """Known places (B, F, 3) of x (..., d) with known derivatives (B, F, 3, d)."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return places.reshape(*x.shape[:-1], *places.shape[1:])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        rows = gradient.reshape(len(jacobian), 1, -1) @ jacobian.flatten(1, 2)
        return rows.reshape(*gradient.shape[:-2], -1), None, None


def _like(x: Tensor, array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(x)
