"""Demonstrations of the scripted expert as files, in parallel. Existing ones are kept, so a second call resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from latent_policy_ros.data.episodes import SUFFIX, Episode
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.errors import ArtifactError
from latent_policy_ros.sim.demonstrate import Disturbance, record
from latent_policy_ros.sim.expert import DT, plan
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


def episode_file(folder: Path, embodiment: str, seed: int) -> Path:
    """Where the demonstration of `seed` is kept."""
    return folder / f"{embodiment}_{seed:07d}{SUFFIX}"


def _worker(embodiment: str, seeds: list[int], folder: Path, disturbed: float) -> list[tuple[int, bool]]:
    world, results = World(embodiment), []
    for seed in seeds:
        episode = run_episode(world, seed, disturbed)
        if episode.meta.success:
            episode.save(episode_file(folder, embodiment, seed))
        results.append((seed, episode.meta.success))
    return results


def _usable(file: Path, content_hash: str) -> bool:
    """Whether `file` is a whole episode of this very embodiment."""
    try:
        return Episode.load(file).meta.embodiment_hash == content_hash
    except ArtifactError:
        return False


def generate_episodes(
    embodiment: str, seeds: Iterable[int], out_dir: Path | str, workers: int = 2,
    progress: Callable[[int, bool], None] | None = None, disturbed: float = DISTURBED,
) -> Report:
    """Demonstrate every seed and keep the successes, one file each.

    Args:
        embodiment: Name of the end-effector.
        seeds: One episode each; the same seed gives the same episode.
        out_dir: Folder for the files; made if missing. Whole episodes in it are kept, others made anew.
        workers: Processes, of one thread each.
        progress: Called with (seed, success) for every seed.
        disturbed: Share of episodes in which something pushes the wrist.

    Raises:
        ConfigError: No such embodiment. HardwareError: No OpenGL to draw pictures with.
    """
    content_hash, folder = load_embodiment(embodiment).content_hash, Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = list(seeds)
    kept = [seed for seed in seeds if _usable(episode_file(folder, embodiment, seed), content_hash)]
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
    pieces = [wanted[i : i + 4] for i in range(0, len(wanted), 4)]
    if workers <= 1 or len(pieces) <= 1:
        for piece in pieces:
            done(_worker(embodiment, piece, folder, disturbed))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(_worker, embodiment, piece, folder, disturbed) for piece in pieces]):
                done(future.result())
    failed = tuple(sorted(seed for seed, success in results if not success))
    return Report(len(results) - len(failed), len(kept), failed)
