"""A new embodiment in a latent space that stays as it is: its encoder and decoder are fitted to those that are there.

No demonstrations are needed: people's hand motion is made up and retargeted, as for the space itself. The new encoder
learns to say what the others say of a pose (and what makes their decoders answer rightly), the new decoder to answer what
the others say. Nothing of the others changes, so policies made for the space go on fitting.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.common.artifacts import write_atomically
from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.latent.codec import RETRAIN
from latent_policy_ros.latent.metrics import Measures, measure, split_by_recording
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.objective import Objective
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.space import LatentSpace, both_sides
from latent_policy_ros.latent.training import reconstruct
from latent_policy_ros.retargeting.pairs import make_pairs

FRAMES, STEPS, SEED = 20_000, 1500, 1_000_003  # the seed: of motion that no latent space was trained on


def add_embodiment(space: LatentSpace, embodiment: Embodiment, console: Console | None = None) -> tuple[LatentSpace, Measures]:
    """The space with a codec for ``embodiment`` added, and what was measured with it on held-out recordings.

    Raises:
        ArtifactError: The embodiment is in the space already, or none of the space's own can be found.
        ConfigError: It is a person's hand.
    """
    if embodiment.kind == "human":
        raise ConfigError(embodiment.file, "kind", "expected a hand or a gripper to add, got human")
    others = set(space.codecs) | set(space.added) - {embodiment.name}  # one that was added may be fitted again
    there = [name for name in both_sides(embodiment.name) if name in others]
    if there:
        raise ArtifactError(
            f"{embodiment.name}: {there[0]} is in latent space {space.latent_id[:12]} itself; give yours another name"
        )
    started = time.monotonic()
    known = _known(space)
    if console:
        console.print(f"Retargeting {FRAMES} frames of hand motion to {embodiment.name} and the {len(known)} it is to meet")
    settings = _settings(space)
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    embodiments = {**known, embodiment.name: embodiment}
    pairs = make_pairs(list(embodiments.values()), seed=SEED, frames=FRAMES)
    train, held_out = split_by_recording(pairs.recording, settings.held_out, generator)
    actions = {name: x[train] for name, x in pairs.actions.items()}
    codecs = {name: TorchCodec.from_numpy(space.codec(name)) for name in known}
    new = TorchCodec.fresh(embodiment, actions[embodiment.name], settings)
    codecs[embodiment.name] = new
    objective = Objective(settings, codecs, embodiments, actions, pairs.keyvectors[train], {embodiment.name})
    with training_progress(console, settings.decoding_steps, embodiment.name) as advance:
        reconstruct(objective, generator, advance)
    added = {**space.added, embodiment.name: new.to_numpy(embodiment)}
    bigger = replace(space, added=added)
    measures = measure(bigger, pairs.subset(np.unique(pairs.recording[held_out])), embodiments)
    if console:
        console.print(f"fitted {embodiment.name} to latent space {space.latent_id[:12]} in {time.monotonic() - started:.0f} s")
    return bigger, measures


def add_to_folder(
    embodiment: Embodiment, latent: Path, out: Path | None = None, console: Console | None = None
) -> tuple[LatentSpace, Measures]:
    """Add an embodiment to the latent space in a folder; or, with ``out``, to a copy of it there.

    Raises:
        ArtifactError, ConfigError: As of ``LatentSpace.load`` and ``add_embodiment``.
    """
    space = LatentSpace.load(latent)
    target = latent if out is None else out
    target.mkdir(parents=True, exist_ok=True)
    bigger, measures = add_embodiment(space, embodiment, console)
    if target.resolve() != latent.resolve():
        copy_space(latent, target)
    bigger.save_added(target, bigger.added[embodiment.name], {"held_out": measures.plain()})
    return bigger, measures


def copy_space(latent: Path, target: Path) -> None:
    """Copy a latent space's files with the embodiments added to it, and what was measured of each."""
    for file in (*latent.glob("latent.*"), *latent.glob("added/*")):
        write_atomically(target / file.relative_to(latent), file.read_bytes())


def _known(space: LatentSpace) -> dict[str, Embodiment]:
    """The embodiments that shaped the space, as far as they can still be had as they were."""
    known = {name: embodiment for name, embodiment in space.find_embodiments()[0].items() if name in space.codecs}
    if not known:
        raise ArtifactError(f"latent space {space.latent_id[:12]}: none of its embodiments can be found as it was; {RETRAIN}")
    return known


def _settings(space: LatentSpace) -> LatentSettings:
    """Those that the space was trained with, as far as they are known here, for a short training."""
    told = space.report.get("settings", {})
    kept = {name: value for name, value in told.items() if name in LatentSettings.model_fields}
    ours = LatentSettings()
    return LatentSettings(**kept).model_copy(update={
        "dim": space.dim, "bounded": space.bounded, "decoding_steps": STEPS,
        "finetune_encoders": True, "encoder_learning_rate": ours.learning_rate, "learning_rate": ours.learning_rate,
        "cross_weight": ours.cross_weight, "fingertip_weight": ours.fingertip_weight, "pinch_weight": ours.pinch_weight,
        "contrastive_weight": ours.contrastive_weight, "contrastive_batch": ours.contrastive_batch,
    })  # fmt: skip
