"""Fingertips in torch equal those of HandKinematics, and their gradients equal its Jacobian."""

import numpy as np
import pytest

from latent_policy_ros.embodiments import HandKinematics, list_embodiments, load_embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import TIPS, human_action

torch = pytest.importorskip("torch")
from latent_policy_ros.embodiments.kinematics.torch_kinematics import torch_fingertips  # noqa: E402

ROBOTS = [name for name in list_embodiments() if load_embodiment(name).kind != "human"]


def random_actions(embodiment, count=50):
    return np.random.default_rng(0).uniform(embodiment.action_lower, embodiment.action_upper, (count, embodiment.action_dim))


@pytest.mark.parametrize("name", ROBOTS)
def test_fingertips_equal_hand_kinematics(name):
    embodiment, kinematics = load_embodiment(name), HandKinematics(load_embodiment(name))
    x, module = random_actions(embodiment), torch_fingertips(embodiment)
    assert module.fingers == kinematics.fingers
    tips = module(torch.as_tensor(x, dtype=torch.float32)).numpy()
    expected = kinematics.fingertips(embodiment.to_joints(x))
    assert np.ptp(expected, axis=0).max() > 0.01
    assert np.abs(tips - expected).max() < 2e-6


@pytest.mark.parametrize("name", ROBOTS)
def test_gradients_equal_the_jacobian(name):
    embodiment, kinematics = load_embodiment(name), HandKinematics(load_embodiment(name))
    x = random_actions(embodiment, 8)
    weights = np.random.default_rng(1).normal(size=(8, len(kinematics.fingers), 3))
    actions = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    (torch_fingertips(embodiment)(actions) * torch.as_tensor(weights, dtype=torch.float32)).sum().backward()
    by_joint = np.einsum("bfin,bfi->bn", kinematics.jacobian(embodiment.to_joints(x)), weights)
    scale = embodiment.action_open - embodiment.action_closed if embodiment.kind == "gripper" else 1.0
    assert np.abs(actions.grad.numpy() - by_joint * scale).max() < 1e-5 * max(1, np.abs(by_joint).max())


def test_fingertips_of_the_human_hand_are_part_of_the_action():
    hand = HumanHand()
    keypoints = hand.keypoints(np.random.default_rng(0).uniform(hand.lower, hand.upper, (20, 21)))
    tips = torch_fingertips(load_embodiment("human_hand"))(torch.as_tensor(human_action(keypoints)))
    assert np.array_equal(tips.numpy(), keypoints[:, list(TIPS.values())])


def test_any_batch_shape():
    embodiment = load_embodiment("faive_hand")
    x = torch.as_tensor(random_actions(embodiment, 12), dtype=torch.float32)
    module = torch_fingertips(embodiment)
    assert torch.equal(module(x.reshape(3, 4, -1)), module(x).reshape(3, 4, -1, 3))
