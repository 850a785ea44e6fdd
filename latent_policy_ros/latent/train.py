"""Training of a latent space: contrastive encoders first, then decoders with the encoders fine-tuned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.errors import ConfigError
from latent_policy_ros.latent.metrics import cross_reconstruction, split_by_recording
from latent_policy_ros.latent.networks import TorchCodec, info_nce
from latent_policy_ros.latent.progress import progress_bar
from latent_policy_ros.latent.settings import as_plain, read_settings
from latent_policy_ros.latent.space import LatentSpace

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment


@dataclass(frozen=True)
class LatentSettings:
    """Settings of the latent space and its training; METHOD.md stages 1 to 3.

    Attributes:
        embodiments: Who shares the space.
        frames: Number of paired actions to make.
        seed: Of the hand motion, the initial weights and the batches.
        held_out: Fraction of the recordings kept from training, for the report.
        dim: Latent dimension L.
        hidden: Width of encoders and decoders.
        batch: Paired actions in a batch; all but one are negatives.
        contrastive_steps: Steps of stage 2, encoders alone.
        decoding_steps: Steps of stage 3, decoders and encoders.
        learning_rate: Adam's, of what is trained from scratch; it falls to zero along a cosine in each stage.
        encoder_learning_rate: Adam's, of the encoders in stage 3.
        temperature_start: InfoNCE temperature at the first step; it falls exponentially through stage 2 ...
        temperature_end: ... to this, and stays there in stage 3.
        contrastive_weight: lambda in L = L_recon + lambda L_NCE.
        cross_weight: Weight in L_recon of decoding j from what i encoded, against 1 for decoding i from i.
        latent_noise: Deviation of the noise that decoders learn to bear, as a length beside the unit sphere's radius.
    """

    embodiments: tuple[str, ...] = ("human_hand", "faive_hand", "mimic_hand", "panda_gripper")
    frames: int = 40_000
    seed: int = 0
    held_out: float = 0.1
    dim: int = 32
    hidden: int = 256
    batch: int = 512
    contrastive_steps: int = 2000
    decoding_steps: int = 4000
    learning_rate: float = 1e-3
    encoder_learning_rate: float = 1e-4
    temperature_start: float = 0.3
    temperature_end: float = 0.05
    contrastive_weight: float = 0.01
    cross_weight: float = 0.1
    latent_noise: float = 0.05

    def __post_init__(self) -> None:
        if len(self.embodiments) < 2:
            raise ValueError(f"embodiments: expected at least 2 to share a space, got {list(self.embodiments)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: expected a fraction between 0 and 1, got {self.held_out}")


class PairedActions(Protocol):
    """Actions of all embodiments for the same hand poses, {name: (N, d)}, and which recording each is from, (N,)."""

    actions: Mapping[str, np.ndarray]
    recording: np.ndarray


def train_latent(
    settings: LatentSettings,
    pairs: PairedActions,
    embodiments: Mapping[str, Embodiment],
    out_dir: Path | str | None = None,
    console: Console | None = None,
) -> LatentSpace:
    """Train a latent space on paired actions, and save it to ``out_dir`` if one is given.

    Args:
        settings: See there; ``embodiments`` and ``frames`` are not used, the pairs decide.
        pairs: Paired actions with at least two recordings.
        embodiments: By name, those in ``pairs``.
        out_dir: Folder for latent.safetensors and latent.json.
        console: Where to show progress; None to be silent.
    """
    started = time.monotonic()
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    names = sorted(pairs.actions)
    train, held_out = split_by_recording(pairs.recording, settings.held_out, generator)
    actions = {name: np.asarray(pairs.actions[name], dtype=np.float32) for name in names}
    codecs = {name: TorchCodec(actions[name][train], settings.hidden, settings.dim) for name in names}
    scores = {name: codecs[name].normalise(torch.from_numpy(actions[name][train])) for name in names}
    batch = min(settings.batch, len(train))

    def batches(steps: int):
        for step in range(steps):
            rows = torch.from_numpy(generator.choice(len(train), batch, replace=False))
            yield step / max(steps - 1, 1), [scores[name][rows] for name in names]

    with progress_bar(console, settings.contrastive_steps + settings.decoding_steps, "latent space") as advance:
        encoders = [p for codec in codecs.values() for p in codec.encoder.parameters()]
        optimizer = torch.optim.Adam(encoders, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.contrastive_steps)
        for done, x in batches(settings.contrastive_steps):
            ratio = settings.temperature_end / settings.temperature_start
            loss = info_nce(
                [codecs[n].encode(v) for n, v in zip(names, x, strict=True)], settings.temperature_start * ratio**done
            )
            _step(optimizer, schedule, loss)
            advance(f"InfoNCE {loss.item():.2f}")

        decoders = [p for codec in codecs.values() for p in codec.decoder.parameters()]
        groups = [{"params": decoders}, {"params": encoders, "lr": settings.encoder_learning_rate}]
        optimizer = torch.optim.Adam(groups, lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.decoding_steps)
        for _, x in batches(settings.decoding_steps):
            z = [codecs[n].encode(v) for n, v in zip(names, x, strict=True)]
            own, cross = _reconstruction(codecs, names, x, z, settings.latent_noise)
            nce = info_nce(z, settings.temperature_end)
            _step(optimizer, schedule, own + settings.cross_weight * cross + settings.contrastive_weight * nce)
            advance(f"reconstruction {own.item():.4f} cross {cross.item():.3f} InfoNCE {nce.item():.2f}")

    space = LatentSpace({name: codec.to_numpy(embodiments[name]) for name, codec in codecs.items()})
    report = {
        "settings": as_plain(settings),
        "seconds": round(time.monotonic() - started, 1),
        "frames": {"train": len(train), "held_out": len(held_out)},
        "cross_reconstruction": cross_reconstruction(space, {n: a[held_out] for n, a in actions.items()}),
    }
    space = LatentSpace(space.codecs, report)
    if out_dir is not None:
        space.save(out_dir)
    return space


def _reconstruction(codecs, names, x, z, noise) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error in z-scores: own (decoding j from j) and cross (decoding j from each other i)."""
    own, cross = [], []
    for j, name in enumerate(names):
        everyone = torch.stack(z)
        everyone = everyone + noise / everyone.shape[-1] ** 0.5 * torch.randn_like(everyone)
        errors = (codecs[name].decode(everyone) - x[j]).square().mean(dim=(1, 2))
        own.append(errors[j])
        cross.append((errors.sum() - errors[j]) / (len(names) - 1))
    return torch.stack(own).mean(), torch.stack(cross).mean()


def _step(optimizer, schedule, loss) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()


def train_latent_from_settings(
    settings: str | Path, out_dir: Path | str, console: Console | None = None
) -> LatentSpace:
    """All of stages 1 to 3: hand motion, retargeted pairs, and the latent space trained on them.

    Raises:
        ConfigError: The settings or an embodiment's YAML are wrong.
    """
    from latent_policy_ros.embodiments import load_embodiment
    from latent_policy_ros.latent.metrics import report_table
    from latent_policy_ros.retargeting.pairs import make_pairs

    chosen = read_settings(LatentSettings, settings)
    embodiments = {name: load_embodiment(name) for name in chosen.embodiments}
    if len(embodiments) != len(chosen.embodiments):
        raise ConfigError(settings, "embodiments", f"expected each once, got {list(chosen.embodiments)}")
    if console:
        console.print(f"Retargeting {chosen.frames} frames of hand motion to {', '.join(embodiments)}")
    pairs = make_pairs(list(chosen.embodiments), seed=chosen.seed, frames=chosen.frames)
    space = train_latent(chosen, pairs, embodiments, out_dir, console)
    if console:
        console.print(report_table(space.report["cross_reconstruction"]))
        console.print(f"latent space {space.latent_id[:12]} in {out_dir}, trained in {space.report['seconds']:.0f} s")
    return space
