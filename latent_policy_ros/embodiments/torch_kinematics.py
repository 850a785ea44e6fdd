"""Fingertips of an embodiment in torch: batched and differentiable, for losses that see the hand and not only its joints.

The same product of exponentials as in :mod:`hinge_tree`, but walked from each fingertip back to the palm, so that only
points turn and no rotation matrices are multiplied: p <- point + exp(axis * angle) (p - point) for one hinge after the
other. All fingers go one step at a time together; shorter fingers are filled up with hinges that never turn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from latent_policy_ros.embodiments.human_hand import KEYPOINTS, TIPS
from latent_policy_ros.embodiments.schema import Embodiment


def torch_fingertips(embodiment: Embodiment) -> nn.Module:
    """A module from actions x (B, action_dim) to fingertips (B, F, 3) [m] in the canonical hand frame.

    Its ``fingers`` names the F fingers. For the human hand these are positions inside the action itself.
    """
    return _KeypointTips() if embodiment.kind == "human" else _ChainTips(embodiment)


class _KeypointTips(nn.Module):
    """The fingertips among the 189 numbers of a person's hand."""

    fingers = tuple(TIPS)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], KEYPOINTS, 9)[..., list(TIPS.values()), :3]


class _ChainTips(nn.Module):
    """The fingertips of a mechanism."""

    def __init__(self, embodiment: Embodiment) -> None:
        super().__init__()
        self.fingers = tuple(embodiment.fingertips)
        index = {hinge.name: i for i, hinge in enumerate(embodiment.hinges)}
        chains = []
        for tip in embodiment.fingertips.values():
            chain, name = [], tip.hinge
            while name is not None:
                chain.append(index[name])
                name = embodiment.hinges[index[name]].parent
            chains.append(chain)
        depth, count = max(map(len, chains)), len(chains)
        coupling = np.zeros((depth, count, len(embodiment.joint_names)))
        axis, point = np.zeros((depth, 3, count)), np.zeros((depth, 3, count))
        turns = np.ones((depth, count), dtype=bool)
        for finger, chain in enumerate(chains):
            for level, i in enumerate(chain):
                hinge = embodiment.hinges[i]
                coupling[level, finger], turns[level, finger] = embodiment.coupling[i], hinge.kind == "revolute"
                axis[level, :, finger], point[level, :, finger] = hinge.axis, hinge.point
        # x to q is affine: one matrix then goes from actions to the angles of all levels and fingers.
        opening = embodiment.action_open - embodiment.action_closed if embodiment.kind == "gripper" else 1.0
        closed = embodiment.action_closed if embodiment.kind == "gripper" else 0.0
        flat = coupling.reshape(depth * count, -1)
        tips = np.array([tip.point for tip in embodiment.fingertips.values()]).T
        self._shape, self._slides = (depth, count), [bool((~level).any()) for level in turns]
        buffers = {
            "to_angles": flat.T * opening, "at_zero": flat.sum(axis=1) * closed, "axis": axis, "point": point, "tips": tips,
            "turns": turns, "R_base_hand": embodiment.T_base_hand[:3, :3], "origin": embodiment.T_base_hand[:3, 3],
        }  # fmt: skip
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(np.array(value, dtype=np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        angles = (x @ self.to_angles + self.at_zero).reshape(*x.shape[:-1], *self._shape)
        turn = angles * self.turns
        sine, versine = torch.sin(turn), 1 - torch.cos(turn)
        at = self.tips.expand(*x.shape[:-1], 3, -1)
        for level, (axis, point) in enumerate(zip(self.axis, self.point)):
            arm = at - point
            across = _cross(axis, arm)
            s, v = sine[..., level, None, :], versine[..., level, None, :]
            at = at + s * across + v * _cross(axis, across)
            if self._slides[level]:
                at = at + (angles - turn)[..., level, None, :] * axis
        return (at.transpose(-1, -2) - self.origin) @ self.R_base_hand


def _cross(axis: Tensor, v: Tensor) -> Tensor:
    """Cross product over the second last axis: (3, F) with (..., 3, F)."""
    ax, ay, az = axis
    x, y, z = v.unbind(dim=-2)
    return torch.stack((ay * z - az * y, az * x - ax * z, ax * y - ay * x), dim=-2)
