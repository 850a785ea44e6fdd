"""Training of a policy, resumable with the same command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments.human.keypoints import human_action
from latent_policy_ros.embodiments.kinematics.grasp_frame import REFERENCE_WIDTH
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.network.components import complete_options
from latent_policy_ros.policy.network.denoisers import DENOISERS
from latent_policy_ros.policy.network.device import choose_device
from latent_policy_ros.policy.network.encoders import IMAGE_ENCODERS, TEXT_ENCODERS
from latent_policy_ros.policy.settings import ModelSettings, PolicySettings
from latent_policy_ros.policy.training.processes import process_group
from latent_policy_ros.policy.training.trainer import DEFAULT_RUN, RunOptions, Trainer
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan


def train_policy(
    settings: PolicySettings,
    data_dirs: Sequence[Path | str],
    latent_space: LatentSpace,
    out_dir: Path | str,
    resume: bool = True,
    console: Console | None = None,
    start: Checkpoint | None = None,
    options: RunOptions = DEFAULT_RUN,
) -> Checkpoint:
    """Train one policy on the demonstrations of all embodiments in the data sets, and write it to ``out_dir``.

    The training state is written to ``out_dir`` every ``checkpoint_every`` steps and on Ctrl-C. A resumed training gives the
    same weights as an uninterrupted one. If episodes are held out, the policy with the lowest validation loss is in
    ``out_dir/best``.

    Args:
        settings: Settings of model and training.
        data_dirs: Folders of data sets.
        latent_space: Latent space of the hand actions.
        out_dir: Folder for policy.safetensors, policy.json and the training state.
        resume: Continue from a state in ``out_dir``, if there is one.
        console: Console for progress; None: silent.
        start: Policy whose weights initialise the network. Its latent space may differ.
        options: Device, workers, log, and the share of this process if there are several.

    Raises:
        ArtifactError: The data sets, a saved state or ``start`` do not fit these settings and this latent space.
        LatentPolicyError: Unknown network component or option, no such device, or the training diverged.
        KeyboardInterrupt: After Ctrl-C, once the state was saved.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    complete = settings.model_copy(update={"model": with_default_options(settings.model)})
    device = choose_device(options.share.device_name(options.device))
    with process_group(options.share, device):
        grasp = human_grasp(latent_space)
        trainer = Trainer(complete, data_dirs, latent_space, grasp, out_dir, device, options, start, console)
        if resume:
            trainer.resume()
        return trainer.run()


def human_grasp(latent_space: LatentSpace) -> np.ndarray:
    """Latents (T, L) of a person's precision grasp, from open to closed.

    Raises:
        ArtifactError: The latent space does not have the human hand.
    """
    return latent_space.encode("human_hand", human_action(grasp_plan(REFERENCE_WIDTH).keypoints))


def with_default_options(model: ModelSettings) -> ModelSettings:
    """Model settings with all options of the components filled in, so that the stored settings are complete."""
    options = {
        "image_encoder_options": complete_options(IMAGE_ENCODERS, model.image_encoder, model.image_encoder_options),
        "denoiser_options": complete_options(DENOISERS, model.denoiser, model.denoiser_options),
    }
    if model.text_encoder != "none":
        options["text_encoder_options"] = complete_options(TEXT_ENCODERS, model.text_encoder, model.text_encoder_options)
    return model.model_copy(update=options)


def train_policy_from_settings(
    settings: str | Path,
    data: Sequence[Path],
    latent: Path | str,
    out: Path | str,
    resume: bool = True,
    console: Console | None = None,
    start: Path | None = None,
    options: RunOptions = DEFAULT_RUN,
) -> Checkpoint:
    """Train with settings from a YAML file (or a name in config/training) and the latent space in a folder.

    With ``start``, the folder of a policy, its model settings are used, and those of the file must be absent or equal.

    Raises:
        ConfigError: The settings are invalid, or the model is not that of ``start``.
        ArtifactError: Data sets, latent space or saved state do not fit.
    """
    file = config_file("training", settings, "settings")
    chosen = load(PolicySettings, file)
    initial = Checkpoint.load(start) if start else None
    if initial is not None:
        if "model" in chosen.model_fields_set and with_default_options(chosen.model) != initial.settings:
            raise ConfigError(file, "model", f"differs from that of the policy in {start}; leave the section out to use its model")
        chosen = chosen.model_copy(update={"model": initial.settings})
    checkpoint = train_policy(chosen, data, LatentSpace.load(latent), out, resume, console, initial, options)
    if console and options.share.rank == 0:
        minutes = checkpoint.training["seconds"] / 60
        console.print(f"policy {checkpoint.policy_id[:12]} in {out}, trained in {minutes:.1f} minutes")
    return checkpoint
