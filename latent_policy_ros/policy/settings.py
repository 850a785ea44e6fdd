"""Settings of a policy: of the model, which are part of its identity, and of its training, which are not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from latent_policy_ros.common.config import Config, Names, Positive, Vector3, field_errors
from latent_policy_ros.observations.resize import ImageFit, Resize

Noise = Annotated[float, Field(ge=0.0)]
ActionAxes = Literal["base", "grasp"]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class ModelSettings(Config):
    """Settings of the policy network, stored in policy.json and covered by the policy id.

    The defaults are part of the file format: a stored policy without a field has that field's default. A new field needs
    the default under which existing policies keep their behaviour, and defaults never change afterwards. The settings of
    new policies are changed in ``config/training/policy.yaml``.
    """

    cameras: Annotated[Names, Field(min_length=1)] = Field(
        ("front", "wrist"), description="Camera inputs. A robot may lack some of them."
    )
    image_size: int = Field(96, ge=16, description="Height and width of the images [px].")
    image_fit: ImageFit = Field(
        "crop",
        description="Treatment of images that are not square. ``crop``: cut off both ends of the longer side; ``pad``: add black "
        "bars to the shorter side; ``stretch``: scale both sides separately. The same in training, evaluation and on the robot.",
    )
    dt: Positive = Field(0.1, description="Time between observations, and between steps of an action chunk [s].")
    observation_steps: int = Field(
        2, ge=1, description="Wrist and hand states in an observation history; only the newest images are used."
    )
    embodiments: Names = Field(
        (), description="Embodiments with a learned embedding; all others share one. Empty: the network is not told the embodiment."
    )
    action_axes: ActionAxes = Field(
        "base",
        description="Axes of the poses in an action chunk: those of the robot's base frame, or of the newest observed grasp frame. "
        "With ``grasp``, what the wrist camera sees asks for the same action wherever the hand is and however it is turned.",
    )
    horizon: int = Field(16, ge=1, description="Steps H of an action chunk.")
    feature_dim: int = Field(256, ge=1, description="Features of each camera, of the state and of the fused observation.")
    image_encoder: str = Field("keypoints", description="Image encoder, see latent_policy_ros/policy/network/encoders.")
    image_encoder_options: dict[str, Any] = Field(default_factory=dict, description="Options of the image encoder.")
    denoiser: str = Field("mlp", description="Denoiser, see latent_policy_ros/policy/network/denoisers.")
    denoiser_options: dict[str, Any] = Field(default_factory=dict, description="Options of the denoiser.")
    text_encoder: str = Field(
        "none",
        description="Encoder of the text of a task, see latent_policy_ros/policy/network/encoders; ``none``: it is not used.",
    )
    text_encoder_options: dict[str, Any] = Field(default_factory=dict, description="Options of the text encoder.")
    objective: Literal["diffusion", "consistency"] = Field(
        "diffusion", description="Training objective and sampler: ``consistency`` needs one or two sampling_steps."
    )
    diffusion_steps: int = Field(100, ge=1, description="Noise levels.")
    sampling_steps: int = Field(8, ge=1, description="Sampling steps at inference; at most diffusion_steps.")

    @property
    def resize(self) -> Resize:
        """Conversion of images to the size that the network takes."""
        return Resize(self.image_size, self.image_size, self.image_fit)

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        if self.sampling_steps > self.diffusion_steps:
            message = f"expected at most diffusion_steps = {self.diffusion_steps}, got {self.sampling_steps}"
            raise field_errors([("sampling_steps", message)])
        return self


class Displacement(Config):
    """Displaced hands in training, see ``latent_policy_ros/policy/training/displacement.py``."""

    share: Probability = Field(0.6, description="Share of the observations in which the hand is displaced.")
    position: Noise = Field(
        0.3, description="Standard deviation of the displacement along x and y, as a share of the height above the plane."
    )
    rotation: Noise = Field(0.15, description="Standard deviation of the rotation about each axis, 0.2 m above the plane [rad].")
    plane: float = Field(0.02, description="Height of the plane in the robot's base frame: about that of the objects' centres [m].")
    camera: str = Field("wrist", description="The camera at the wrist.")
    camera_position: Vector3 = Field(description="Position of that camera in the grasp frame, of right and left hands [m].")
    camera_target: Vector3 = Field(
        description="A point on its optical axis, in the same frame [m]. The approach direction is downwards in the image."
    )
    field_of_view: float = Field(gt=0.0, lt=180.0, description="Its vertical field of view [deg].")

    @model_validator(mode="after")
    def _check(self) -> Displacement:
        if self.camera_position[:2] == self.camera_target[:2]:
            message = (
                f"expected another x or y than in camera_position, {list(self.camera_position)}, got {list(self.camera_target)}"
            )
            raise field_errors([("camera_target", f"{message}: along z, there is no direction of approach in the image")])
        return self


class TrainingSettings(Config):
    """Settings of policy training, recorded in policy.json but not covered by the policy id."""

    seed: int = Field(
        0, ge=0, description="Seed of the initial weights and, with the step number, of all random draws of the step."
    )
    steps: int = Field(6_500, ge=1, description="Training steps.")
    batch_size: int = Field(64, ge=1, description="Observations per step and process.")
    noise_samples: int = Field(4, ge=1, description="Noisy action chunks per observation, which is encoded once.")
    learning_rate: Positive = Field(
        5e-4, description="Peak learning rate of AdamW: after warm-up, before the cosine decay to zero."
    )
    warmup_steps: int = Field(500, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(1e-4, ge=0.0, description="Weight decay of AdamW.")
    ema_decay: Probability = Field(0.999, description="Decay of the averaged weights, which are saved as the policy.")
    image_shift: int = Field(4, ge=0, description="Largest random shift of an image in each direction [px].")
    colour_jitter: Probability = Field(
        0.0, description="Largest relative change of brightness and saturation of an image; half of it for its white balance."
    )
    camera_dropout: dict[str, Probability] = Field(
        {}, description="Probability that the images of a camera are masked, by camera; at least one camera always remains."
    )
    embodiment_dropout: Probability = Field(0.3, description="Probability that the embodiment is withheld from the network.")
    task_dropout: Probability = Field(
        0.1, description="Probability that the task's text is masked, if the policy has a text encoder."
    )
    latent_dropout: Probability = Field(0.5, description="Probability that the observed hand latents are masked.")
    position_noise: Noise = Field(
        0.003, description="Standard deviation of the noise on observed positions of the grasp frame [m]."
    )
    horizontal_offset: Noise = Field(
        0.0,
        description="Standard deviation of an offset of all observed positions of a history along x and y [m]. Actions stay as "
        "they are, so the network cannot tell the scenes of few demonstrations by where the robot is.",
    )
    displacement: Displacement | None = Field(
        None, description="Displaced hands with mapped images of the wrist camera, and actions that lead back; null: none."
    )
    rotation_noise: Noise = Field(0.02, description="Standard deviation of the noise on observed rotations, as 6D components.")
    latent_noise: Noise = Field(0.1, description="Length of the noise on observed hand latents, which have length 1.")
    aperture_noise: Noise = Field(0.003, description="Standard deviation of the noise on observed apertures [m].")
    validation: Probability = Field(
        0.0,
        description="Share of the episodes of each data set that are held out to compute a loss every checkpoint_every steps.",
    )
    checkpoint_every: int = Field(1000, ge=1, description="Steps between saved training states, from which training can resume.")


class PolicySettings(Config):
    """Content of a policy settings file such as ``config/training/policy.yaml``."""

    model: ModelSettings = Field(ModelSettings(), description="The network; part of the policy's identity.")
    training: TrainingSettings = Field(TrainingSettings(), description="Its training; recorded, but no identity.")

    @model_validator(mode="after")
    def _check(self) -> PolicySettings:
        displacement, cameras = self.training.displacement, self.model.cameras
        if displacement and displacement.camera not in cameras:
            message = f"expected one of model.cameras, {list(cameras)}, got {displacement.camera!r}"
            raise field_errors([("training.displacement.camera", message)])
        return self
