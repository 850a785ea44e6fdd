"""Encoders of the policy's inputs, and the registries of image encoders and text encoders.

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

An encoder with pretrained weights has two more methods. Both are called when a training starts, and not by a trained policy:

resolve_options:
    Static. Returns the options (a dictionary) completed by what is read from the pretrained model, such as its architecture, so
    that the constructor needs no other file.
load_pretrained:
    Replaces random weights by the pretrained ones.

Each camera has an encoder of its own. Other packages register encoders under the entry point group
``latent_policy_ros.image_encoders``.

A text encoder turns descriptions of tasks into feature vectors::

    class MyTextEncoder(nn.Module):
        def __init__(self, feature_dim: int, *, width: int = 64) -> None: ...
        def forward(self, tasks: Sequence[str]) -> Tensor: ...

``forward`` gets B texts, some of which may be empty, and returns features (B, feature_dim). Options, ``resolve_options`` and
``load_pretrained`` are as for image encoders; the entry point group is ``latent_policy_ros.text_encoders``.
"""

from latent_policy_ros.common.registry import Registry

IMAGE_ENCODERS = Registry(
    "image encoder",
    "latent_policy_ros.image_encoders",
    {
        "keypoints": "latent_policy_ros.policy.network.encoders.keypoint_net:KeypointNet",
        "resnet18": "latent_policy_ros.policy.network.encoders.resnet:ResNet18",
        "dinov2": "latent_policy_ros.policy.network.encoders.dinov2:Dinov2Encoder",
    },
)
TEXT_ENCODERS = Registry(
    "text encoder",
    "latent_policy_ros.text_encoders",
    {"words": "latent_policy_ros.policy.network.encoders.task_text:WordEmbedding"},
)
