"""Training of a policy: one command, resumed by the same command."""

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
from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.common.progress import progress_bar
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.device import choose_device
from latent_policy_ros.policy.diffusion import ImageBatch, PolicyNetwork
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.demonstrations import Batch, Demonstrations
from latent_policy_ros.policy.training.state import load_state, save_state


def train_policy(
    settings: PolicySettings,
    data_dirs: Sequence[Path | str],
    latent_space: LatentSpace,
    out_dir: Path | str,
    resume: bool = True,
    console: Console | None = None,
    start: Checkpoint | None = None,
) -> Checkpoint:
    """Train one policy on the demonstrations of all embodiments found, and write it to ``out_dir``.

    The training state is written there too, every ``checkpoint_every`` steps and on Ctrl-C. Resumed, a training goes on
    as if it had never been interrupted.

    Args:
        settings: See there.
        data_dirs: Folders of episodes.
        latent_space: Encodes the hands.
        out_dir: Folder for policy.safetensors, policy.json and the training state.
        resume: Go on from the state in ``out_dir``, if there is one.
        console: Where to show progress; None to be silent.
        start: A policy whose weights to begin with, of any latent space: what it sees in images need not be learned anew.

    Raises:
        ArtifactError: Episodes, a saved state or ``start`` do not fit these settings and this latent space.
        LatentPolicyError: The training diverged.
        KeyboardInterrupt: After the state was saved.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    data = Demonstrations(data_dirs, settings, latent_space)
    if console:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(data.episodes.items()))
        console.print(f"{len(data)} frames in episodes: {counts}")
    device = choose_device()
    torch.manual_seed(settings.seed)
    network = PolicyNetwork(settings, latent_space.dim).to(device, memory_format=torch.channels_last)
    if start is not None:
        begin_with(network, start)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    identity = {
        "settings": settings.model_dump(mode="json"),
        "latent_id": latent_space.latent_id,
        "frames": len(data),
        "episodes": data.episodes,
        "demonstrations": data.fingerprint(),
        "start": start.policy_id if start else "",
    }
    saved = load_state(out_dir, identity, network, average, optimizer) if resume else None
    done, seconds, loss = saved or (0, 0.0, math.nan)
    started = time.monotonic() - seconds

    def save(step: int) -> None:
        save_state(out_dir, step, identity, time.monotonic() - started, loss, network, average, optimizer)

    with interrupts() as interrupted, progress_bar(console, settings.steps, "policy", completed=done) as advance:
        for step in range(done, settings.steps):
            recent = train_step(network, average, optimizer, data, settings, step, device)
            stop, told = interrupted.is_set(), step % 20 == 0
            last = stop or step + 1 == settings.steps or (step + 1) % settings.checkpoint_every == 0
            if (told or last) and not math.isfinite(now := recent.item()):  # what was saved before is not written over
                raise LatentPolicyError(f"the training diverged: its loss is {now} at step {step}; lower learning_rate")
            if told:
                loss = now if math.isnan(loss) else 0.95 * loss + 0.05 * now
            advance(f"loss {loss:.4f}" if told else None)
            if last:
                save(step + 1)
            if stop:
                if console:
                    console.print(f"Stopped after {step + 1} steps and saved; the same command goes on from here.")
                raise KeyboardInterrupt
    report: dict[str, Any] = {
        "seconds": round(time.monotonic() - started, 1),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "loss": None if math.isnan(loss) else round(loss, 6),
        "frames": len(data),
        "episodes": data.episodes,
        "start": identity["start"],
    }
    hashes = {name: latent_space.expected_hash(name) for name in data.episodes}
    weights = {name: t.detach().cpu().contiguous().numpy() for name, t in average.state_dict().items()}
    checkpoint = Checkpoint(settings, latent_space.latent_id, hashes, data.scaling, weights, report)
    checkpoint.save(out_dir)
    return checkpoint


def begin_with(network: PolicyNetwork, start: Checkpoint) -> None:
    """Take the weights of another policy.

    Raises:
        ArtifactError: Its network is another one; the first weights that differ are named.
    """
    for name, tensor in network.state_dict().items():
        got = getattr(start.weights.get(name), "shape", None)
        if got != tuple(tensor.shape):
            raise ArtifactError(
                f"policy {start.policy_id[:12]}: {name}: expected shape {tuple(tensor.shape)} to begin with, got {got}; "
                "give both the same cameras and sizes"
            )
    network.load_state_dict({name: torch.from_numpy(array) for name, array in start.weights.items()})


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Ctrl-C as an event, so that no step is left half done; in the main thread only, where signals arrive."""
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
    data: Demonstrations,
    settings: PolicySettings,
    step: int,
    device: torch.device,
) -> Tensor:
    """One step; returns the loss. All that is random in it follows from the seed and the number of the step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    generator = np.random.default_rng([settings.seed, step])
    torch.manual_seed(int(generator.integers(2**62)))
    states, images, plans = to_torch(data.batch(generator), device)
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        loss = network.loss(states, images, plans, settings.noise_samples)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    decay = min(settings.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    return loss.detach()


def learning_rate(settings: PolicySettings, step: int) -> float:
    """Linear warm-up, then down to zero along half a cosine."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def to_torch(batch: Batch, device: torch.device) -> tuple[Tensor, ImageBatch, Tensor]:
    """States, images and plans of a batch as tensors on ``device``."""
    images = {camera: tuple(torch.from_numpy(a).to(device) for a in parts) for camera, parts in batch.images.items()}
    return torch.from_numpy(batch.states).to(device), images, torch.from_numpy(batch.plans).to(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth it there: elsewhere than on the CPU always, on it with instructions of its own."""
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
    """Train with settings from a YAML file (or a name in config/training) and a latent space's folder.

    Raises:
        ConfigError: The settings are wrong.
        ArtifactError: Episodes, latent space or saved state do not fit.
    """
    chosen = load(PolicySettings, config_file("training", settings, "settings"))
    begin = Checkpoint.load(start) if start else None
    checkpoint = train_policy(chosen, data, LatentSpace.load(latent), out, resume, console, begin)
    if console:
        report = checkpoint.report
        console.print(f"policy {checkpoint.policy_id[:12]} in {out}, trained in {report['seconds'] / 60:.1f} minutes")
    return checkpoint
