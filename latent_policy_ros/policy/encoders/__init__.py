"""Encoders of the policy's inputs, and the registry of image encoders.

An image encoder is a :class:`torch.nn.Module` that turns the images of one camera into feature vectors::

    class MyEncoder(nn.Module):
        def __init__(self, image_size: int, feature_dim: int, *, depth: int = 4) -> None: ...
        def forward(self, images: Tensor, shifts: Tensor | None = None) -> Tensor: ...

Constructor:
    ``image_size`` [px] and ``feature_dim`` come from the model settings. Keyword-only parameters are options, set by
    ``image_encoder_options`` in the model settings. Their defaults follow the rule of
    :class:`~latent_policy_ros.policy.settings.ModelSettings`: once released, they never change.
forward:
    ``images`` (N, image_size, image_size, 3) uint8 RGB; ``shifts`` (N, 2) float32, the random shift of each image's content
    to the right and down in training [px], None at inference. Returns features (N, feature_dim). An encoder may ignore
    ``shifts``.

Each camera has an encoder of its own. Other packages register encoders under the entry point group
``latent_policy_ros.image_encoders``.
"""

from latent_policy_ros.common.registry import Registry

IMAGE_ENCODERS = Registry(
    "image encoder",
    "latent_policy_ros.image_encoders",
    {"keypoints": "latent_policy_ros.policy.encoders.keypoint_net:KeypointNet"},
)
