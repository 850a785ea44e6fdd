"""Image encoders: shapes, correction for shifts, gradients; DINOv2 from a local folder of random weights."""

import json
import sys

import numpy as np
import pytest
import torch
from policy_inputs import predict

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.network.components import build, complete_options
from latent_policy_ros.policy.network.encoders import IMAGE_ENCODERS
from latent_policy_ros.policy.network.encoders.spatial_softmax import SpatialSoftmax
from latent_policy_ros.policy.training.train import train_policy


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory):
    """Folder with the files of a very small DINOv2 model with random weights."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(3)
    config = transformers.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["keypoints", "resnet18", "dinov2"])
def encoder(request):
    options = {"keypoints": 4}
    if request.param == "dinov2":
        options |= {"weights": str(request.getfixturevalue("dinov2_folder")), "resolution": 42, "trainable": True}
    torch.manual_seed(0)
    return build(IMAGE_ENCODERS, request.param, options, image_size=64, feature_dim=8)


def test_features_of_images_do_not_depend_on_the_batch(encoder):
    images = torch.randint(256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    encoder.eval()
    features = encoder(images)
    assert features.shape == (3, 8) and features.dtype == torch.float32
    torch.testing.assert_close(encoder(images[1:2]), features[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(features[0], features[1])
    assert not torch.allclose(encoder(images, torch.full((3, 2), 4.0)), features, atol=1e-4)  # positions are corrected


def test_all_weights_of_an_image_encoder_are_trained(encoder):
    encoder(torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8)).square().sum().backward()
    unused = ["transformer.embeddings.mask_token"]  # of the pretraining of DINOv2
    assert [n for n, p in encoder.named_parameters() if p.grad is None] in ([], unused)


def test_spatial_softmax_returns_the_position_of_a_peak():
    layer = SpatialSoftmax(1, 1, image_size=40)
    torch.nn.init.constant_(layer.heads.weight, 100.0)
    features = torch.zeros(1, 1, 5, 9)
    features[0, 0, 1, 6] = 1.0
    torch.testing.assert_close(layer(features, None), torch.tensor([[0.5, -0.5]]))
    torch.testing.assert_close(layer(features, torch.tensor([[2.0, -4.0]])), torch.tensor([[0.4, -0.3]]))


def test_policy_with_dinov2_contains_its_pretrained_weights(
    dinov2_folder, quick, with_training, demonstrations, space, tmp_path, observation, monkeypatch
):
    transformers = sys.modules["transformers"]
    options = {"weights": str(dinov2_folder), "resolution": 28, "keypoints": 4}
    model = quick.model.model_copy(update={"image_encoder": "dinov2", "image_encoder_options": options})
    settings = with_training(quick, steps=2, batch_size=4).model_copy(update={"model": model})
    checkpoint = train_policy(settings, [demonstrations], space, tmp_path)
    pretrained = transformers.Dinov2Model.from_pretrained(dinov2_folder).state_dict()
    for camera in ("front", "wrist"):  # frozen by default
        for name, weights in pretrained.items():
            assert np.array_equal(checkpoint.weights[f"cameras.{camera}.transformer.{name}"], weights.numpy()), name
    assert checkpoint.settings.image_encoder_options["architecture"]["hidden_size"] == 16
    monkeypatch.setattr(transformers.Dinov2Model, "from_pretrained", None)  # a trained policy needs nothing but its own files
    monkeypatch.setattr(transformers.Dinov2Config, "get_config_dict", None)
    (chunk,) = predict(Policy.load(tmp_path, space), [[observation()]])
    assert np.isfinite(chunk.latents).all()


def test_unsuitable_dinov2_weights_are_named(dinov2_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LatentPolicyError, match="dinov2.: weights: got '.*none'; expected a folder with config.json"):
        complete_options(IMAGE_ENCODERS, "dinov2", {"weights": str(tmp_path / "none")})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(LatentPolicyError, match="expected model_type 'dinov2', got 'vit'"):
        complete_options(IMAGE_ENCODERS, "dinov2", {"weights": str(tmp_path)})
    with pytest.raises(LatentPolicyError, match="resolution: expected a multiple of the patch size 14 px, got 96"):
        build(IMAGE_ENCODERS, "dinov2", {"weights": str(dinov2_folder), "resolution": 96}, image_size=64, feature_dim=8)


def test_missing_transformers_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LatentPolicyError, match="image encoder 'dinov2' needs the package transformers; type: pip install"):
        complete_options(IMAGE_ENCODERS, "dinov2", {})
