"""Image encoders and denoisers: registries, options, and components of other packages."""

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pytest
import torch
from policy_inputs import predict
from torch import nn

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.network import diffusion
from latent_policy_ros.policy.network.components import complete_options
from latent_policy_ros.policy.network.denoisers import DENOISERS
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.network.encoders import IMAGE_ENCODERS
from latent_policy_ros.policy.training import train
from latent_policy_ros.policy.training.train import train_policy


class MeanColour(nn.Module):
    """Image encoder: mean colour, scaled and projected."""

    def __init__(self, image_size: int, feature_dim: int, *, gain: float = 2.0) -> None:
        super().__init__()
        self.gain, self.project = gain, nn.Linear(3, feature_dim)

    def forward(self, images, shifts=None):
        return self.project(self.gain * images.float().mean(dim=(1, 2)) / 255)


class Linear(nn.Module):
    """Denoiser: one linear layer."""

    def __init__(self, horizon: int, action_dim: int, condition_dim: int, *, bias: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(horizon * action_dim + condition_dim + 1, horizon * action_dim, bias=bias)

    def forward(self, noisy, t, condition):
        return self.layer(torch.cat([noisy.flatten(1), condition, t[:, None].float() / 100], dim=1)).view_as(noisy)


@pytest.fixture
def outside_package(monkeypatch):
    """A module with an image encoder ``mean_colour`` and a denoiser ``linear``, registered as entry points."""
    module = ModuleType("outside_package")
    module.MeanColour, module.Linear = MeanColour, Linear
    monkeypatch.setitem(sys.modules, "outside_package", module)
    points = {
        IMAGE_ENCODERS.group: [EntryPoint("mean_colour", "outside_package:MeanColour", IMAGE_ENCODERS.group)],
        DENOISERS.group: [EntryPoint("linear", "outside_package:Linear", DENOISERS.group)],
    }
    monkeypatch.setattr("latent_policy_ros.common.registry.entry_points", lambda group: points[group])
    encoders = Registry(IMAGE_ENCODERS.kind, IMAGE_ENCODERS.group, {"keypoints": "unused:unused"})
    denoisers = Registry(DENOISERS.kind, DENOISERS.group, {"mlp": "unused:unused"})
    for module in (diffusion, train):
        monkeypatch.setattr(module, "IMAGE_ENCODERS", encoders)
        monkeypatch.setattr(module, "DENOISERS", denoisers)


def outside_settings(quick, with_training):
    components = {
        "image_encoder": "mean_colour", "image_encoder_options": {}, "denoiser": "linear", "denoiser_options": {"bias": True},
    }  # fmt: skip
    return with_training(quick, steps=2).model_copy(update={"model": quick.model.model_copy(update=components)})


def test_components_of_other_packages_train_and_act(
    outside_package, quick, with_training, demonstrations, space, tmp_path, observation
):
    train_policy(outside_settings(quick, with_training), [demonstrations], space, tmp_path)
    policy = Policy.load(tmp_path, space)
    assert isinstance(policy._network.cameras["front"], MeanColour) and isinstance(policy._network.denoiser, Linear)
    assert policy.settings.image_encoder_options == {"gain": 2.0}  # the default is stored
    (chunk,) = predict(policy, [[observation()]])
    assert chunk.wrist_poses.shape == (4, 7) and np.isfinite(chunk.latents).all()


def test_policy_with_a_component_that_is_not_installed_is_refused(
    outside_package, quick, with_training, demonstrations, space, tmp_path, monkeypatch
):
    checkpoint = train_policy(outside_settings(quick, with_training), [demonstrations], space, tmp_path)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=f"{checkpoint.policy_id[:12]}: unknown image encoder 'mean_colour'; available: "):
        Policy.load(tmp_path, space)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_encoder": "vit"}, "unknown image encoder 'vit'; available: dinov2, keypoints, resnet18"),
        (
            {"image_encoder_options": {"depth": 3}},
            "image encoder 'keypoints': unknown option 'depth'; available: channels, keypoints",
        ),
        ({"denoiser": "gru"}, "unknown denoiser 'gru'; available: mlp, transformer, unet"),
        ({"denoiser_options": {"heads": 3}}, "denoiser 'mlp': unknown option 'heads'; available: blocks, width"),
        ({"denoiser_options": {"blocks": "many"}}, "denoiser 'mlp' with options .*'blocks': 'many'.*: 'str' object"),
    ],
)
def test_wrong_component_or_option_is_named(quick, changes, message):
    with pytest.raises(LatentPolicyError, match=message):
        PolicyNetwork(quick.model.model_copy(update=changes), 4)


def test_option_without_default_must_be_given(outside_package):
    with pytest.raises(LatentPolicyError, match="denoiser 'linear': option 'bias' has no default: set it"):
        complete_options(diffusion.DENOISERS, "linear", {})
