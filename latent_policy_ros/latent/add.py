"""Addition of an embodiment to a frozen latent space, and refit of one that it was trained with.

Encoder and decoder of the embodiment are trained against the frozen ones, on generated hand motion that is retargeted as in the
training of the space. No demonstrations are needed, and the other codecs do not change. An addition leaves the ``latent_id`` as it
is, so existing policies remain valid. A refit changes it, because it covers the codec; :meth:`Checkpoint.for_refitted_space
<latent_policy_ros.policy.checkpoint.Checkpoint.for_refitted_space>` makes a policy valid for the new id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.common.artifacts import write_atomically
from latent_policy_ros.common.errors import ArtifactError, ConfigError, available
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.latent.codec import RETRAIN, Codec
from latent_policy_ros.latent.metrics import Measures, measure, split_by_recording
from latent_policy_ros.latent.networks import TorchCodec
from latent_policy_ros.latent.objective import Objective
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.space import LatentSpace, both_sides
from latent_policy_ros.latent.training import reconstruct, refuse_added
from latent_policy_ros.retargeting.pairs import PairedActions, make_pairs

FRAMES, STEPS = 20_000, 1500
SEED = 1_000_003  # of the hand motion; differs from the seeds in config/training


def add_embodiment(space: LatentSpace, embodiment: Embodiment, console: Console | None = None) -> tuple[LatentSpace, Measures]:
    """Add a codec for ``embodiment``; returns the new space and its metrics on held-out recordings.

    Raises:
        ArtifactError: The space was trained with the embodiment, or none of its embodiments can be found.
        ConfigError: The embodiment is a human hand.
    """
    if embodiment.kind == "human":
        raise ConfigError(embodiment.file, "kind", "expected a hand or a gripper to add, got human")
    others = set(space.codecs) | set(space.added) - {embodiment.name}  # an added embodiment may be added again
    there = [name for name in both_sides(embodiment.name) if name in others]
    if there:
        raise ArtifactError(f"latent space {space.latent_id[:12]} was trained with {there[0]}; give {embodiment.name} another name")
    started, known = time.monotonic(), _known(space)
    codec, held_out = _fit(space, embodiment, known, _settings(space), FRAMES, SEED, console)
    extended = replace(space, added={**space.added, embodiment.name: codec})
    measures = measure(extended, held_out, {**known, embodiment.name: embodiment})
    if console:
        console.print(f"fitted {embodiment.name} to latent space {space.latent_id[:12]} in {time.monotonic() - started:.0f} s")
    return extended, measures


def refit_embodiment(
    space: LatentSpace, embodiment: Embodiment, console: Console | None = None
) -> tuple[LatentSpace, Measures]:  # fmt: skip
    """Fit the codec of an embodiment that the space was trained with anew, e.g. after its retargeting was changed.

    The motion and the number of steps are those of the training of the space. All other codecs and the out-of-distribution detector
    stay as they are. Embodiments that were added are left out, because their files state the ``latent_id``, which changes.

    Returns:
        The new space and its metrics on the recordings that its training held out.

    Raises:
        ArtifactError: The space was not trained with the embodiment.
        ConfigError: The embodiment is a human hand, whose actions do not depend on retargeting.
    """
    if embodiment.kind == "human":
        raise ConfigError(embodiment.file, "kind", "expected a hand or a gripper to refit, got human")
    if embodiment.name not in space.codecs:
        raise ArtifactError(
            f"latent space {space.latent_id[:12]} was not trained with {embodiment.name}; {available(space.codecs)}"
        )
    started = time.monotonic()
    known = {name: other for name, other in _known(space).items() if name != embodiment.name}
    frames = space.report.get("settings", {}).get("frames", FRAMES)
    steps = space.report.get("settings", {}).get("decoding_steps", STEPS)
    settings = _settings(space).model_copy(update={"decoding_steps": steps})
    codec, held_out = _fit(space, embodiment, known, settings, frames, settings.seed, console)
    refitted = LatentSpace({**space.codecs, embodiment.name: codec}, space.report, space.ood_detector)
    measures = measure(refitted, held_out, {**known, embodiment.name: embodiment})
    record = {"from": space.latent_id, "seconds": round(time.monotonic() - started, 1), "held_out": measures.plain()}
    refits = {**space.report.get("refitted", {}), embodiment.name: record}
    return replace(refitted, report={**space.report, "refitted": refits}), measures


def refit_in_folder(
    embodiment: Embodiment, latent: Path, out: Path, console: Console | None = None
) -> tuple[LatentSpace, Measures]:  # fmt: skip
    """Refit an embodiment of the latent space in a folder, and write the new space to the folder ``out``.

    Raises:
        ArtifactError, ConfigError: As in :meth:`LatentSpace.load` and :func:`refit_embodiment`; or ``out`` has embodiments that
            were added to a latent space.
    """
    space = LatentSpace.load(latent)
    refuse_added(out)
    out.mkdir(parents=True, exist_ok=True)  # fail before the work, not after it
    refitted, measures = refit_embodiment(space, embodiment, console)
    refitted.save(out)
    return refitted, measures


def _fit(
    space: LatentSpace, embodiment: Embodiment, known: Mapping[str, Embodiment], settings: LatentSettings, frames: int, seed: int,
    console: Console | None,
) -> tuple[Codec, PairedActions]:  # fmt: skip
    """A codec of ``embodiment``, trained against the frozen ones of ``known``; and the held-out pairs."""
    if console:
        console.print(f"Retargeting {frames} frames of hand motion to {embodiment.name} and {len(known)} embodiments of the space")
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    embodiments = {**known, embodiment.name: embodiment}
    pairs = make_pairs(list(embodiments.values()), seed=seed, frames=frames)
    train, held_out = split_by_recording(pairs.recording, settings.held_out, generator)
    actions = {name: x[train] for name, x in pairs.actions.items()}
    codecs = {name: TorchCodec.from_numpy(space.codec(name)) for name in known}
    new = TorchCodec.fresh(embodiment, actions[embodiment.name], settings)
    codecs[embodiment.name] = new
    objective = Objective(settings, codecs, embodiments, actions, pairs.keyvectors[train], {embodiment.name})
    with training_progress(console, settings.decoding_steps, embodiment.name) as advance:
        reconstruct(objective, generator, advance)
    return new.to_numpy(embodiment), pairs.subset(np.unique(pairs.recording[held_out]))


def add_to_folder(
    embodiment: Embodiment, latent: Path, out: Path | None = None, console: Console | None = None
) -> tuple[LatentSpace, Measures]:
    """Add an embodiment to the latent space in a folder, or to a copy of it in ``out``.

    Raises:
        ArtifactError, ConfigError: As in :meth:`LatentSpace.load` and :func:`add_embodiment`.
    """
    space = LatentSpace.load(latent)
    target = latent if out is None else out
    target.mkdir(parents=True, exist_ok=True)
    extended, measures = add_embodiment(space, embodiment, console)
    if target.resolve() != latent.resolve():
        copy_space(latent, target)
    extended.save_added(target, extended.added[embodiment.name], {"held_out": measures.plain()})
    return extended, measures


def copy_space(latent: Path, target: Path) -> None:
    """Copy the files of a latent space and of its added embodiments."""
    for file in (*latent.glob("latent.*"), *latent.glob("added/*")):
        write_atomically(target / file.relative_to(latent), file.read_bytes())


def _known(space: LatentSpace) -> dict[str, Embodiment]:
    """Embodiments that the space was trained with and that are available in the same version."""
    known = {name: embodiment for name, embodiment in space.find_embodiments()[0].items() if name in space.codecs}
    if not known:
        raise ArtifactError(
            f"latent space {space.latent_id[:12]}: none of its embodiments is available in the version of the training; {RETRAIN}"
        )
    return known


def _settings(space: LatentSpace) -> LatentSettings:
    """Settings for a short training, from those stored with the space."""
    stored = space.report.get("settings", {})
    kept = {name: value for name, value in stored.items() if name in LatentSettings.model_fields}
    defaults = LatentSettings()
    return LatentSettings(**kept).model_copy(update={
        "dim": space.dim, "bounded": space.bounded, "decoding_steps": STEPS,
        "finetune_encoders": True, "encoder_learning_rate": defaults.learning_rate, "learning_rate": defaults.learning_rate,
        "cross_weight": defaults.cross_weight, "fingertip_weight": defaults.fingertip_weight, "pinch_weight": defaults.pinch_weight,
        "contrastive_weight": defaults.contrastive_weight, "contrastive_batch": defaults.contrastive_batch,
    })  # fmt: skip
