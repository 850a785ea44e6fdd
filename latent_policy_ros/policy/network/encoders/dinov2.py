"""Dinov2Encoder: a pretrained DINOv2 vision transformer with a spatial softmax over its patches. Needs ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.policy.network.encoders.spatial_softmax import SpatialSoftmax

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images that DINOv2 was trained with
ARCHITECTURE = (
    "hidden_act", "hidden_size", "image_size", "layer_norm_eps", "layerscale_value", "mlp_ratio", "num_attention_heads",
    "num_hidden_layers", "patch_size", "qkv_bias", "use_swiglu_ffn",
)  # fmt: skip


class Dinov2Encoder(nn.Module):
    """Pretrained DINOv2 (Oquab et al. 2024).

    The pretrained weights are read once, when a training starts. A trained policy contains its weights, frozen ones too, so that
    it runs without access to the hub.

    Args:
        image_size: Height and width of the images [px].
        feature_dim: Length F of the output.
        weights: Folder with config.json and model.safetensors, or a name on the Hugging Face hub.
        architecture: Fields of ``Dinov2Config``; None: those of ``weights``. Stored with a policy.
        resolution: Height and width to which the images are resized [px]; a multiple of the patch size.
        trainable: Whether the transformer is trained as well.
        keypoints: Keypoints of the spatial softmax over the patches.
    """

    def __init__(
        self,
        image_size: int,
        feature_dim: int,
        *,
        weights: str = "facebook/dinov2-small",
        architecture: Mapping[str, Any] | None = None,
        resolution: int = 98,
        trainable: bool = False,
        keypoints: int = 32,
    ) -> None:
        super().__init__()
        transformers = _transformers()
        described = architecture or self.resolve_options({"weights": weights, "architecture": None})["architecture"]
        config = transformers.Dinov2Config(**described)
        if resolution % config.patch_size:
            raise ValueError(f"resolution: expected a multiple of the patch size {config.patch_size} px, got {resolution}")
        self.weights, self.resolution, self.trainable = weights, resolution, trainable
        self.transformer = transformers.Dinov2Model(config).requires_grad_(trainable)
        self.patches = resolution // config.patch_size
        self.keypoints = SpatialSoftmax(config.hidden_size, keypoints, image_size)
        self.project = nn.Linear(2 * keypoints + config.hidden_size, feature_dim)

    @staticmethod
    def resolve_options(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the architecture of ``weights``, unless it is given.

        Raises:
            LatentPolicyError: ``weights`` cannot be read or is another kind of model.
        """
        if options["architecture"] is not None:
            return dict(options)
        try:
            described, _ = _transformers().Dinov2Config.get_config_dict(options["weights"])
        except OSError as error:
            raise _unreadable(options["weights"], error) from error
        if described.get("model_type") != "dinov2":
            got = described.get("model_type")
            raise LatentPolicyError(
                f"image encoder 'dinov2': weights: {options['weights']}: expected model_type 'dinov2', got {got!r}"
            )
        config = _transformers().Dinov2Config(**described)
        return {**options, "architecture": {name: getattr(config, name) for name in ARCHITECTURE}}

    def load_pretrained(self) -> None:
        """Replace the random weights of the transformer by the pretrained ones.

        Raises:
            LatentPolicyError: ``weights`` cannot be read.
        """
        try:
            pretrained = _transformers().Dinov2Model.from_pretrained(self.weights, use_safetensors=True, dtype=torch.float32)
        except OSError as error:
            raise _unreadable(self.weights, error) from error
        self.transformer.load_state_dict(pretrained.state_dict())

    def forward(self, images: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Features (N, F) of images (N, H, W, 3) uint8 RGB; for ``shifts`` see the registry of image encoders."""
        mean, std = (torch.tensor(values, device=images.device) * 255 for values in (MEAN, STD))
        pixels = ((images.float() - mean) / std).permute(0, 3, 1, 2)
        pixels = F.interpolate(pixels, (self.resolution, self.resolution), mode="bilinear", antialias=True)
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            tokens = self.transformer(pixels).last_hidden_state
        image, patches = tokens[:, 0], tokens[:, 1:].mT.unflatten(2, (self.patches, self.patches))
        return self.project(torch.cat([self.keypoints(patches, shifts).to(image.dtype), image], dim=1))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        message = "image encoder 'dinov2' needs the package transformers; type: pip install transformers"
        raise LatentPolicyError(message) from error
    return transformers


def _unreadable(weights: str, error: OSError) -> LatentPolicyError:
    reason = str(error).splitlines()[0]
    return LatentPolicyError(
        f"image encoder 'dinov2': weights: got {weights!r}; expected a folder with config.json and model.safetensors, or a name "
        f"on the Hugging Face hub ({reason})"
    )
