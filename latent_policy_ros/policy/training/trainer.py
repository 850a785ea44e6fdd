"""Trainer: the network, averaged weights, optimizer, demonstrations and progress of a policy training."""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.common.progress import training_progress
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.settings import PolicySettings
from latent_policy_ros.policy.training.dataset import DemonstrationDataset
from latent_policy_ros.policy.training.loader import default_workers, step_batches
from latent_policy_ros.policy.training.picture import write_observations
from latent_policy_ros.policy.training.processes import WHOLE, Share, first_process_first, wait_for_all
from latent_policy_ros.policy.training.step import learning_rate, train_step, validation_loss
from latent_policy_ros.policy.training.training_log import LOGS, TrainingLog
from latent_policy_ros.policy.training.training_state import Progress, load_training_state, save_training_state

REPORT_EVERY = 20  # steps between updates of the reported loss
OBSERVATIONS = "observations.png"  # in the output folder: what the network sees
BEST = "best"  # folder of the policy with the lowest validation loss, in the output folder


@dataclass(frozen=True)
class RunOptions:
    """How a training runs. Except for rounding, the result does not depend on it.

    Attributes:
        device: See :func:`~latent_policy_ros.policy.network.device.choose_device`.
        workers: Processes that read images and make batches; None: see :func:`~.loader.default_workers`.
        log: Name of a training log, see :mod:`~.training_log`; empty: none.
        share: Part of each batch that this process takes.
    """

    device: str = "auto"
    workers: int | None = None
    log: str = ""
    share: Share = WHOLE


DEFAULT_RUN = RunOptions()


class Trainer:
    """A policy training.

    Args:
        settings: Settings of model and training, with all options of the components.
        data_dirs: Folders of data sets.
        latent_space: Latent space of the hand actions.
        grasp: Latents (T, L) of a person's precision grasp.
        out_dir: Folder for the policy and the training state.
        device: Device of the network.
        options: Workers, log and share.
        start: Policy whose weights initialise the network; None: random and pretrained weights.
        console: Console for progress; None: silent.

    Raises:
        ArtifactError: The data sets or ``start`` do not fit these settings and this latent space.
        LatentPolicyError: Unknown network component, option or log.
    """

    def __init__(
        self,
        settings: PolicySettings,
        data_dirs: Sequence[Path | str],
        latent_space: LatentSpace,
        grasp: np.ndarray,
        out_dir: Path,
        device: torch.device,
        options: RunOptions,
        start: Checkpoint | None = None,
        console: Console | None = None,
    ) -> None:
        self.model, self.training = settings.model, settings.training
        self._latent_space, self._grasp, self._out_dir = latent_space, grasp, out_dir
        self._device, self._options, self._share = device, options, options.share
        self._start = start.policy_id if start else ""
        self._console = console if self._share.rank == 0 else None
        self.progress = Progress()
        torch.manual_seed(self.training.seed)
        self.network = PolicyNetwork(self.model, latent_space.dim)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        if start is None:
            self.network.load_pretrained()
        else:
            initialise_weights(self.network, start)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.training.learning_rate, weight_decay=self.training.weight_decay, fused=True
        )
        with first_process_first(self._share):
            scaling = start.scaling if start else None  # the weights are for its numbers
            self.data = DemonstrationDataset(data_dirs, settings, GraspSpace(latent_space, grasp), self._share, scaling=scaling)
        self._identity = {
            "model": self.model.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "latent_id": latent_space.latent_id,
            "frames": len(self.data),
            "episodes": self.data.episodes,
            "demonstrations": self.data.fingerprint(),
            "start": self._start,
            "processes": self._share.processes,
        }
        if self._console:
            counts = ", ".join(f"{count} of {name}" for name, count in sorted(self.data.episodes.items()))
            self._console.print(f"{len(self.data)} frames in episodes: {counts}")
            displacement = self.training.displacement
            if displacement and displacement.camera not in self.data.cameras:
                self._console.print(f"training.displacement: no image of the camera {displacement.camera}; no hand is displaced")

    def resume(self) -> None:
        """Continue from the state in the output folder, if there is one. Raises ArtifactError if it is of another training."""
        saved = load_training_state(self._out_dir, self._identity, self.network, self.average, self.optimizer)
        self.progress = saved or self.progress

    def run(self) -> Checkpoint:
        """Run the remaining steps, and write the policy.

        Raises:
            LatentPolicyError: The training diverged.
            KeyboardInterrupt: After Ctrl-C, once the state was saved.
        """
        if self._share.rank == 0:
            write_observations(self.data, self._out_dir / OBSERVATIONS)
        steps, before = range(self.progress.step, self.training.steps), self.progress.seconds
        started = time.monotonic() - before
        workers = self._options.workers
        workers = default_workers(self._device) if workers is None else workers
        with (
            interrupt_event() as interrupted,
            self._log() as log,
            training_progress(self._console, self.training.steps, "policy", completed=steps.start) as advance,
            step_batches(self.data, self.training.seed, steps, workers) as batches,
        ):
            for step, (batch, seed) in zip(steps, batches):
                recent, stop = train_step(
                    self.network, self.average, self.optimizer, batch, self.training, step, self._device, seed, self._share,
                    interrupted.is_set,
                )  # fmt: skip
                report, completed = step % REPORT_EVERY == 0, step + 1
                due = completed == self.training.steps or completed % self.training.checkpoint_every == 0
                if (report or due or stop) and not math.isfinite(now := recent.item()):  # before a saved state is overwritten
                    raise LatentPolicyError(f"the training diverged: loss {now} at step {step}; reduce learning_rate")
                self.progress = replace(self.progress, step=completed, seconds=time.monotonic() - started)
                if report:
                    self._report(now, log)
                advance(f"loss {self.progress.loss:.4f}" if report else None)
                if due:
                    self._validate(log)
                if due or stop:
                    self._save()
                if stop:
                    if self._console:
                        self._console.print(f"Stopped and saved after {completed} steps. The same command resumes.")
                    raise KeyboardInterrupt
        checkpoint = self._checkpoint()
        if self._share.rank == 0:
            checkpoint.save(self._out_dir)
        wait_for_all(self._share)
        return checkpoint

    def _report(self, loss: float, log: TrainingLog | None) -> None:
        mean = loss if math.isnan(self.progress.loss) else 0.95 * self.progress.loss + 0.05 * loss
        self.progress = replace(self.progress, loss=mean)
        if log:
            step = self.progress.step
            log.add(step, {"loss/training": loss, "learning_rate": learning_rate(self.training, step - 1)})

    def _validate(self, log: TrainingLog | None) -> None:
        """Compute the validation loss of the averaged weights, and save them if they are the best so far."""
        share = self.progress.step / self.training.steps
        loss = validation_loss(self.average, self.data, self.training, self._device, self._share, share)
        if loss is None:
            return
        best = loss < self.progress.best_loss
        self.progress = replace(self.progress, validation_loss=loss, best_loss=min(loss, self.progress.best_loss))
        if log:
            log.add(self.progress.step, {"loss/validation": loss})
        if self._console:
            self._console.print(f"step {self.progress.step}: validation loss {loss:.4f}{', the lowest so far' if best else ''}")
        if best and self._share.rank == 0:
            self._checkpoint().save(self._out_dir / BEST)

    def _save(self) -> None:
        if self._share.rank == 0:
            save_training_state(self._out_dir, self.progress, self._identity, self.network, self.average, self.optimizer)

    def _checkpoint(self) -> Checkpoint:
        progress = self.progress
        record: dict[str, Any] = {
            "settings": self.training.model_dump(mode="json"),
            "embodiments": {name: self._latent_space.expected_hash(name) for name in self.data.episodes},
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "threads": torch.get_num_threads(),
            "device": str(self._device),
            "processes": self._share.processes,
            "loss": None if math.isnan(progress.loss) else round(progress.loss, 6),
            "validation_loss": None if math.isnan(progress.validation_loss) else round(progress.validation_loss, 6),
            "frames": len(self.data),
            "episodes": self.data.episodes,
            "start": self._start,
        }
        weights = {name: t.detach().cpu().contiguous().numpy() for name, t in self.average.state_dict().items()}
        return Checkpoint(self.model, self._latent_space.latent_id, self.data.scaling, self._grasp, weights, record)

    @contextmanager
    def _log(self) -> Iterator[TrainingLog | None]:
        if not self._options.log or self._share.rank > 0:
            yield None
            return
        settings = {"model": self._identity["model"], "training": self._identity["training"]}
        with contextlib.closing(LOGS.load(self._options.log)(self._out_dir, self.progress.step, settings)) as log:
            yield log


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
