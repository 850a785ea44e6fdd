"""Training of a latent space: contrastive encoders (stage 2), then decoders and encoders (stage 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.errors import ArtifactError, ConfigError, LatentPolicyError
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent.metrics import Measures, measure, report_table, split_by_recording
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.objective import Objective
from latent_policy_ros.latent.ood_detector import OODDetector
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.retargeting.pairs import PairedActions, make_pairs


def train_latent(
    settings: LatentSettings,
    pairs: PairedActions,
    embodiments: Mapping[str, Embodiment],
    console: Console | None = None,
) -> LatentSpace:
    """Train a latent space on paired actions.

    Args:
        settings: Settings. ``embodiments`` and ``frames`` are not used: the pairs determine both.
        pairs: Paired actions with at least two recordings.
        embodiments: Embodiments of the pairs, by name.
        console: Console for progress; None: silent.

    Raises:
        LatentPolicyError: The training diverged.
    """
    started = time.monotonic()
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    train, held_out = split_by_recording(pairs.recording, settings.held_out, generator)
    actions = {name: np.asarray(pairs.actions[name], dtype=np.float32)[train] for name in sorted(pairs.actions)}
    codecs = {name: TorchCodec.fresh(embodiments[name], x, settings) for name, x in actions.items()}
    objective = Objective(settings, codecs, embodiments, actions, pairs.keyvectors[train])
    with training_progress(console, settings.contrastive_steps + settings.decoding_steps, "latent space") as advance:
        contrast(objective, generator, advance)
        reconstruct(objective, generator, advance)
    space = LatentSpace({name: codec.to_numpy(embodiments[name]) for name, codec in codecs.items()})
    report = {
        "settings": settings.model_dump(mode="json"),
        "seconds": round(time.monotonic() - started, 1),
        "frames": {"train": len(train), "held_out": len(held_out)},
    }
    return LatentSpace(space.codecs, report, _fit_ood_detector(space, pairs, train, held_out))


def _fit_ood_detector(space: LatentSpace, pairs: PairedActions, train: np.ndarray, held_out: np.ndarray) -> OODDetector:
    """Fit the out-of-distribution detector to the latents of all embodiments, with equal weights."""
    seen, unseen = (
        np.concatenate([space.encode(name, x[rows]) for name, x in pairs.actions.items()]) for rows in (train, held_out)
    )
    return OODDetector.fit(seen, unseen)


def contrast(objective: Objective, generator: np.random.Generator, advance) -> None:
    """Stage 2: train the encoders alone."""
    s = objective.settings
    if not s.contrastive_steps:
        return
    optimizer = torch.optim.Adam(_parameters(objective, "encoder"), lr=s.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, s.contrastive_steps)
    for done, rows in _batches(objective, s.contrastive_steps, generator):
        loss = objective.contrast(objective.encode(rows), rows, s.temperature(done))
        _step(optimizer, schedule, loss)
        advance(f"InfoNCE {loss.item():.2f}")


def reconstruct(objective: Objective, generator: np.random.Generator, advance) -> None:
    """Stage 3: train the decoders, and the encoders unless they are frozen."""
    s = objective.settings
    groups: list[dict[str, Any]] = [{"params": _parameters(objective, "decoder")}]
    if s.finetune_encoders:
        groups.append({"params": _parameters(objective, "encoder"), "lr": s.encoder_learning_rate})
    optimizer = torch.optim.Adam(groups, lr=s.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, s.decoding_steps)
    for _, rows in _batches(objective, s.decoding_steps, generator):
        with torch.set_grad_enabled(s.finetune_encoders):
            z = objective.encode(rows)
        own, cross = objective.reconstruction(z, rows)
        loss = own + s.cross_weight * cross
        if s.contrastive_weight > 0 and s.finetune_encoders:
            loss = loss + s.contrastive_weight * objective.contrast(z, rows, s.temperature_end)
        if s.alignment_weight > 0 and s.finetune_encoders:
            loss = loss + s.alignment_weight * objective.alignment(z)
        _step(optimizer, schedule, loss)
        advance(f"own {own.item():.4f} cross {cross.item():.3f}")


def _parameters(objective: Objective, side: str) -> list[torch.nn.Parameter]:
    return [p for name in sorted(objective.learning) for p in getattr(objective.codecs[name], side).parameters()]


def _batches(objective: Objective, steps: int, generator: np.random.Generator) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield (completed fraction of the steps, rows of a batch). Each row is used once before any is used again."""
    size = min(objective.settings.batch, len(objective))
    order = np.empty(0, dtype=np.int64)
    for step in range(steps):
        if len(order) < size:
            order = generator.permutation(len(objective))
        yield step / max(steps - 1, 1), torch.from_numpy(order[:size])
        order = order[size:]


def _step(optimizer, schedule, loss) -> None:
    if not torch.isfinite(loss):
        raise LatentPolicyError("the training diverged: the loss is not finite; reduce learning_rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()


def train_latent_from_settings(settings: str | Path, out_dir: Path | str, console: Console | None = None) -> LatentSpace:
    """Generate hand motion, retarget it to paired actions (stage 1), train a latent space on them and save it to ``out_dir``.

    Raises:
        ConfigError: The settings or an embodiment's YAML are invalid.
        ArtifactError: ``out_dir`` has a latent space with added embodiments, which would no longer fit.
    """
    chosen = load(LatentSettings, config_file("training", settings, "settings"))
    embodiments = {embodiment.name: embodiment for embodiment in map(load_embodiment, chosen.embodiments)}
    if len(embodiments) != len(chosen.embodiments):
        raise ConfigError(settings, "embodiments", f"expected each once, got {list(chosen.embodiments)}")
    Path(out_dir).mkdir(parents=True, exist_ok=True)  # fail before the work, not after it
    refuse_added(Path(out_dir))
    if console:
        console.print(f"Retargeting {chosen.frames} frames of hand motion to {', '.join(embodiments)}")
    pairs = make_pairs(list(embodiments.values()), seed=chosen.seed, frames=chosen.frames)
    space = train_latent(chosen, pairs, embodiments, console)
    measures = measure_held_out(space, chosen, pairs, embodiments)
    space = replace(space, report={**space.report, "held_out": measures.plain()})
    space.save(out_dir)
    if console:
        console.print(report_table(measures))
        console.print(f"latent space {space.latent_id[:12]} in {out_dir}, trained in {space.report['seconds']:.0f} s")
    return space


def refuse_added(folder: Path) -> None:
    """Check that a folder for a new latent space has no embodiments that were added to an earlier one.

    Raises:
        ArtifactError: It has.
    """
    if any(folder.glob("added/*.json")):
        raise ArtifactError(f"{folder / 'added'}: these embodiments were added to an earlier latent space; choose another folder")


def measure_held_out(
    space: LatentSpace, settings: LatentSettings, pairs: PairedActions, embodiments: Mapping[str, Embodiment]
) -> Measures:
    """Metrics on the recordings that :func:`train_latent` holds out with these settings."""
    _, held_out = split_by_recording(pairs.recording, settings.held_out, np.random.default_rng(settings.seed))
    return measure(space, pairs.subset(np.unique(pairs.recording[held_out])), embodiments)
