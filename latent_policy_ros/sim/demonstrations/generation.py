"""Parallel generation of demonstration data sets from the scripted expert of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.parallel import ALL, Shard, Workers
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.data.lerobot.collection import DatasetCollection
from latent_policy_ros.data.lerobot.episodes import Episode, stage
from latent_policy_ros.data.lerobot.layout import WHOLE
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, short_hash
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.sim.demonstrations.missed_grasp import miss_grasp
from latent_policy_ros.sim.demonstrations.recording import Disturbance, record
from latent_policy_ros.sim.tasks.motion import DT
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, load_task
from latent_policy_ros.sim.world import World

DISTURBED_FRACTION = 0.5  # fraction of the episodes that are disturbed
MISSED_FRACTION = 0.3  # fraction of the episodes that start after a missed grasp
DISTURBANCE_STREAM = 7919  # first entry of the disturbances' random seed, which keeps them independent of the scene
SEEDS_PER_JOB = 4


@dataclass(frozen=True)
class Report:
    """Result of :func:`generate_episodes`.

    Attributes:
        written: Number of new episodes.
        kept: Number of requested episodes that the data set already had.
        failed: Seeds with which the expert failed.
    """

    written: int
    kept: int
    failed: tuple[int, ...]

    def __str__(self) -> str:
        failed = f", {len(self.failed)} failed (seeds {', '.join(map(str, self.failed[:8]))})" if self.failed else ""
        return f"{self.written} episodes written, {self.kept} kept{failed}"


@dataclass(frozen=True)
class _Job:
    """Parameters of the workers."""

    embodiment: str
    task: str
    arm: str
    staging: Path
    disturbed: float
    missed: float
    layout: str

    def run(self, seeds: list[int]) -> list[tuple[int, bool]]:
        """Demonstrate every seed, stage the successful episodes and return (seed, success) pairs."""
        world, results = World(self.embodiment, self.task, self.arm), []
        identity = DatasetIdentity.for_embodiment(world.embodiment, round(1 / DT))
        for seed in seeds:
            episode = run_episode(world, seed, self.disturbed, self.missed)
            if episode.meta.success:
                stage(episode, self.staging, self.key(world.embodiment.name, seed), identity, "sim", self.layout)
            results.append((seed, episode.meta.success))
        return results

    def key(self, embodiment: str, seed: int) -> str:
        """Identifier of the demonstration with ``seed``."""
        return short_hash(
            "sim", self.task, load_arm(self.arm).reference, embodiment, str(seed), str(self.disturbed), str(self.missed)
        )


def run_episode(world: World, seed: int, disturbed: float = DISTURBED_FRACTION, missed: float = MISSED_FRACTION) -> Episode:
    """Record one demonstration.

    The seed determines the scene; with probability ``missed``, a missed grasp after which the recording starts; and with
    probability ``disturbed``, a disturbance.
    """
    world.reset(seed)
    rng = np.random.default_rng([DISTURBANCE_STREAM, seed])
    if rng.random() < missed:
        miss_grasp(world, seed, rng)
    plan = world.task.expert(world)
    disturbance = Disturbance(rng, len(plan) * DT) if rng.random() < disturbed else None
    return record(world, plan, seed, disturbance)


def generate_episodes(
    embodiment: str,
    seeds: Iterable[int],
    out_dir: Path | str,
    *,
    task: str = DEFAULT_TASK,
    arm: str = PANDA,
    workers: Workers = Workers(),  # noqa: B008 - immutable
    shard: Shard = ALL,
    progress: Callable[[int, bool], None] | None = None,
    disturbed: float = DISTURBED_FRACTION,
    missed: float = MISSED_FRACTION,
) -> Report:
    """Demonstrate a task with every seed and add the successful episodes to the data set ``out_dir``/``embodiment``.

    Finished episodes are staged immediately, so an interrupted call can be repeated without loss. The data set itself is
    written at the end. Episodes that the data set already has are kept.

    Args:
        embodiment: Name of the end-effector.
        seeds: Seeds of the episodes. Equal seeds give equal episodes.
        out_dir: Folder of data sets; created if missing.
        task: Name of the task.
        arm: Name of the arm.
        workers: Processes, of one thread each.
        shard: Part of the seeds that this call demonstrates. Its episodes stay in the staging area until a call without shards.
        progress: Called with (seed, success) after every episode.
        disturbed: Fraction of the episodes in which the wrist is disturbed.
        missed: Fraction of the episodes that start after a missed grasp.

    Raises:
        ArtifactError: The data set was made with another embodiment or frame rate.
        ConfigError: Unknown embodiment or arm.
        HardwareError: OpenGL is not available.
        LatentPolicyError: Unknown task, or the embodiment or arm cannot be simulated.
    """
    load_task(task)
    e = load_embodiment(embodiment)
    collection, seeds = DatasetCollection(Path(out_dir)), shard.part(list(seeds))
    collection.check_identity(DatasetIdentity.for_embodiment(e, round(1 / DT)))
    job = _Job(embodiment, task, arm, collection.staging_folder(e.name), disturbed, missed, collection.layout(e.name, WHOLE))
    kept = [seed for seed in seeds if collection.has_episode(e.name, job.key(e.name, seed), e.content_hash)]
    missing = sorted(set(seeds) - set(kept))
    failed: list[int] = []

    def report(results: list[tuple[int, bool]]) -> None:
        failed.extend(seed for seed, success in results if not success)
        for seed, success in results:
            if progress:
                progress(seed, success)

    report([(seed, True) for seed in kept])
    batches = [missing[i : i + SEEDS_PER_JOB] for i in range(0, len(missing), SEEDS_PER_JOB)]
    for results in workers.run(job.run, batches):
        report(results)
    if shard.count > 1:
        return Report(len(missing) - len(failed), len(kept), tuple(sorted(failed)))
    if refused := collection.commit(e.name):
        raise ArtifactError(
            f"{collection.root / e.name}: {len(refused)} episodes do not match the existing data set: {refused[0][1]}"
        )
    collection.write_mixture()
    return Report(len(missing) - len(failed), len(kept), tuple(sorted(failed)))
