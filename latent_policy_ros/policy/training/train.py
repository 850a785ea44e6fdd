"""Training of a policy, resumable with the same command."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.errors import ArtifactError, ConfigError, LatentPolicyError
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments.human.keypoints import human_action
from latent_policy_ros.embodiments.kinematics.grasp_frame import REFERENCE_WIDTH
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.components import complete_options
from latent_policy_ros.policy.denoisers import DENOISERS
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import PolicyNetwork
from latent_policy_ros.policy.encoders import IMAGE_ENCODERS, TEXT_ENCODERS
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.settings import ModelSettings, PolicySettings, TrainingSettings
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.training_state import load_training_state, save_training_state
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan

REPORT_EVERY = 20  # steps between updates of the reported loss


def train_policy(
    settings: PolicySettings,
    data_dirs: Sequence[Path | str],
    latent_space: LatentSpace,
    out_dir: Path | str,
    resume: bool = True,
    console: Console | None = None,
    start: Checkpoint | None = None,
) -> Checkpoint:
    """Train one policy on the demonstrations of all embodiments in the data sets, and write it to ``out_dir``.

    The training state is written to ``out_dir`` every ``checkpoint_every`` steps and on Ctrl-C. A resumed training gives the
    same weights as an uninterrupted one.

    Args:
        settings: Settings of model and training.
        data_dirs: Folders of data sets.
        latent_space: Latent space of the hand actions.
        out_dir: Folder for policy.safetensors, policy.json and the training state.
        resume: Continue from a state in ``out_dir``, if there is one.
        console: Console for progress; None: silent.
        start: Policy whose weights initialise the network. Its latent space may differ.

    Raises:
        ArtifactError: The data sets, a saved state or ``start`` do not fit these settings and this latent space.
        LatentPolicyError: Unknown network component or option, or the training diverged.
        KeyboardInterrupt: After Ctrl-C, once the state was saved.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    model, training = with_default_options(settings.model), settings.training
    device = choose_device()
    torch.manual_seed(training.seed)
    network = PolicyNetwork(model, latent_space.dim)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if start is None:
        network.load_pretrained()
    else:
        initialise_weights(network, start)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    grasp = human_grasp(latent_space)
    data = DemonstrationDataset(data_dirs, settings, GraspSpace(latent_space, grasp))
    if console:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(data.episodes.items()))
        console.print(f"{len(data)} frames in episodes: {counts}")
    identity = {
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "latent_id": latent_space.latent_id,
        "frames": len(data),
        "episodes": data.episodes,
        "demonstrations": data.fingerprint(),
        "start": start.policy_id if start else "",
    }
    saved = load_training_state(out_dir, identity, network, average, optimizer) if resume else None
    done, seconds, loss = saved or (0, 0.0, math.nan)
    started = time.monotonic() - seconds

    def save(step: int) -> None:
        save_training_state(out_dir, step, identity, time.monotonic() - started, loss, network, average, optimizer)

    with interrupt_event() as interrupted, training_progress(console, training.steps, "policy", completed=done) as advance:
        for step in range(done, training.steps):
            recent = train_step(network, average, optimizer, data, training, step, device)
            stop, report = interrupted.is_set(), step % REPORT_EVERY == 0
            last = stop or step + 1 == training.steps or (step + 1) % training.checkpoint_every == 0
            if (report or last) and not math.isfinite(now := recent.item()):  # before a saved state is overwritten
                raise LatentPolicyError(f"the training diverged: loss {now} at step {step}; reduce learning_rate")
            if report:
                loss = now if math.isnan(loss) else 0.95 * loss + 0.05 * now
            advance(f"loss {loss:.4f}" if report else None)
            if last:
                save(step + 1)
            if stop:
                if console:
                    console.print(f"Stopped and saved after {step + 1} steps. The same command resumes.")
                raise KeyboardInterrupt
    record: dict[str, Any] = {
        "settings": training.model_dump(mode="json"),
        "embodiments": {name: latent_space.expected_hash(name) for name in data.episodes},
        "seconds": round(time.monotonic() - started, 1),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "loss": None if math.isnan(loss) else round(loss, 6),
        "frames": len(data),
        "episodes": data.episodes,
        "start": identity["start"],
    }
    weights = {name: t.detach().cpu().contiguous().numpy() for name, t in average.state_dict().items()}
    checkpoint = Checkpoint(model, latent_space.latent_id, data.scaling, grasp, weights, record)
    checkpoint.save(out_dir)
    return checkpoint


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


def initialise_weights(network: PolicyNetwork, start: Checkpoint) -> None:
    """Copy the weights of another policy.

    Raises:
        ArtifactError: The networks differ. The message names the first weight that differs.
    """
    for name, tensor in network.state_dict().items():
        got = getattr(start.weights.get(name), "shape", None)
        if got != tuple(tensor.shape):
            raise ArtifactError(
                f"policy {start.policy_id[:12]}: {name}: expected initial weights of shape {tuple(tensor.shape)}, got {got}; "
                "use the same cameras, components and sizes in both"
            )
    network.load_state_dict({name: torch.from_numpy(array) for name, array in start.weights.items()})


@contextmanager
def interrupt_event() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets instead of raising KeyboardInterrupt, so that each step completes.

    Outside the main thread, which alone receives signals, the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def train_step(
    network: PolicyNetwork,
    average: PolicyNetwork,
    optimizer: torch.optim.Optimizer,
    data: DemonstrationDataset,
    settings: TrainingSettings,
    step: int,
    device: torch.device,
) -> Tensor:
    """One optimizer step; returns the loss. All randomness follows from the seed and the step number."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    generator = np.random.default_rng([settings.seed, step])
    torch.manual_seed(int(generator.integers(2**62)))
    batch = data.batch(generator)
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        loss = network.loss(batch.observations.to(device), batch.chunks.to(device), settings.noise_samples, step / settings.steps)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    decay = min(settings.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    return loss.detach()


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Linear warm-up, then cosine decay to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 speeds up training: on every accelerator, and on CPUs with bfloat16 instructions."""
    if device.type != "cpu":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def train_policy_from_settings(
    settings: str | Path,
    data: Sequence[Path],
    latent: Path | str,
    out: Path | str,
    resume: bool = True,
    console: Console | None = None,
    start: Path | None = None,
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
    checkpoint = train_policy(chosen, data, LatentSpace.load(latent), out, resume, console, initial)
    if console:
        minutes = checkpoint.training["seconds"] / 60
        console.print(f"policy {checkpoint.policy_id[:12]} in {out}, trained in {minutes:.1f} minutes")
    return checkpoint
