"""Demonstrations of the scripted expert as data sets, made in parallel. What is there is kept, so a second call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.processes import worker_pool
from latent_policy_ros.data.lerobot.collection import DatasetCollection
from latent_policy_ros.data.lerobot.episodes import Episode, stage
from latent_policy_ros.data.lerobot.staging import DatasetIdentity, short_hash
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.sim.demonstrations.recording import Disturbance, record
from latent_policy_ros.sim.tasks.expert import DT, plan
from latent_policy_ros.sim.world import World

DISTURBED = 0.5  # share of the episodes
DISTURBANCE_STREAM = 7919  # keeps the disturbances' random numbers apart from the scene's


@dataclass(frozen=True)
class Report:
    """What :func:`generate_episodes` did: episodes written, those that existed already, and seeds that failed."""

    written: int
    kept: int
    failed: tuple[int, ...]

    def __str__(self) -> str:
        failed = f", {len(self.failed)} failed (seeds {', '.join(map(str, self.failed[:8]))})" if self.failed else ""
        return f"{self.written} episodes written, {self.kept} kept{failed}"


def run_episode(world: World, seed: int, disturbed: float = DISTURBED) -> Episode:
    """One seeded demonstration; a share `disturbed` of all seeds is disturbed."""
    world.reset(seed)
    steps = plan(world)
    rng = np.random.default_rng([DISTURBANCE_STREAM, seed])
    push = Disturbance(rng, len(steps) * DT) if rng.random() < disturbed else None
    return record(world, steps, seed, push)


def episode_key(embodiment: str, seed: int, disturbed: float) -> str:
    """Names the demonstration of `seed` by the embodiment of that name."""
    return short_hash("sim", embodiment, str(seed), str(disturbed))


def _worker(embodiment: str, seeds: list[int], staging: Path, disturbed: float) -> list[tuple[int, bool]]:
    world, results = World(embodiment), []
    identity = DatasetIdentity.for_embodiment(world.embodiment, round(1 / DT))
    for seed in seeds:
        episode = run_episode(world, seed, disturbed)
        if episode.meta.success:
            stage(episode, staging, episode_key(world.embodiment.name, seed, disturbed), identity, "sim")
        results.append((seed, episode.meta.success))
    return results


def generate_episodes(
    embodiment: str,
    seeds: Iterable[int],
    out_dir: Path | str,
    workers: int = 2,
    progress: Callable[[int, bool], None] | None = None,
    disturbed: float = DISTURBED,
) -> Report:
    """Demonstrate every seed and put the successes into the data set `out_dir`/`embodiment`.

    Episodes are staged as they are done, so a call that is stopped goes on; the data set is written at the end.

    Args:
        embodiment: Name of the end-effector.
        seeds: One episode each; the same seed gives the same episode.
        out_dir: Folder of data sets; made if missing. Episodes that it has are kept.
        workers: Processes, of one thread each.
        progress: Called with (seed, success) for every seed.
        disturbed: Share of episodes in which something pushes the wrist.

    Raises:
        ArtifactError: The data set was made with another embodiment or rate.
        ConfigError: No such embodiment. HardwareError: No OpenGL to draw images with.
    """
    e = load_embodiment(embodiment)
    collection, seeds = DatasetCollection(Path(out_dir)), list(seeds)
    collection.check_identity(DatasetIdentity.for_embodiment(e, round(1 / DT)))
    kept = [s for s in seeds if collection.has_episode(e.name, episode_key(e.name, s, disturbed), e.content_hash)]
    wanted = sorted(set(seeds) - set(kept))
    results: list[tuple[int, bool]] = []

    def done(some: list[tuple[int, bool]]) -> None:
        results.extend(some)
        for seed, success in some:
            if progress:
                progress(seed, success)

    for seed in kept:
        if progress:
            progress(seed, True)
    how = (collection.staging_folder(e.name), disturbed)
    pieces = [wanted[i : i + 4] for i in range(0, len(wanted), 4)]
    if workers <= 1 or len(pieces) <= 1:
        for piece in pieces:
            done(_worker(embodiment, piece, *how))
    else:
        with worker_pool(workers) as pool:
            for future in as_completed([pool.submit(_worker, embodiment, piece, *how) for piece in pieces]):
                done(future.result())
    if refused := collection.commit(e.name):
        raise ArtifactError(f"{collection.root / e.name}: {len(refused)} episodes do not fit what is there: {refused[0][1]}")
    collection.write_mixture()
    failed = tuple(sorted(seed for seed, success in results if not success))
    return Report(len(results) - len(failed), len(kept), failed)
