"""Results of a run of episodes: success, rates and latencies of each robot, written as JSON; independent of ROS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_policy_ros.nodes.base.statistics import Percentiles


@dataclass(frozen=True)
class EpisodeResult:
    """Result of one episode.

    Attributes:
        episode: Number of the episode, from 1.
        seed: Seed of the simulated scene.
        seconds: Duration [s].
        robots: Time from the start to the success of each robot [s]; None if it did not succeed.
        bag: Path of the recorded bag; empty if none was recorded.
    """

    episode: int
    seed: int
    seconds: float
    robots: Mapping[str, float | None]
    bag: str = ""

    def text(self) -> str:
        """One line about all robots."""
        return ", ".join(f"{r} {'no success' if t is None else f'success after {t:.1f} s'}" for r, t in self.robots.items())


@dataclass
class RobotMeasures:
    """Message counts and latencies of one robot, over all episodes.

    Attributes:
        commands: Number of joint commands.
        chunks: Number of action chunks.
        seconds: Measured time [s].
        latency: Time from each observation to the first joint command computed from it [s].
        observed: Time of the observation behind the newest command [s].
    """

    commands: int = 0
    chunks: int = 0
    seconds: float = 0.0
    latency: Percentiles = field(default_factory=lambda: Percentiles(100_000))
    observed: float = 0.0

    def add_command(self, observed: float, now: float) -> None:
        """Count a joint command.

        Args:
            observed: Time of the observation behind the command [s]. Only the first command of each observation counts
                for the latency; the following ones execute later steps of the same chunk.
            now: Time of receipt [s].
        """
        self.commands += 1
        if observed != self.observed:
            self.observed = observed
            self.latency.add(now - observed)

    def as_dict(self) -> dict[str, Any]:
        """Rates [Hz] and latency percentiles [ms]."""
        span = max(self.seconds, 1e-9)
        latency = {name: round(1e3 * value, 1) for name, value in self.latency.summary().items()}
        return {"command_rate_hz": round(self.commands / span, 1), "chunk_rate_hz": round(self.chunks / span, 1),
                "camera_to_command_ms": latency}  # fmt: skip


def summary(
    results: Sequence[EpisodeResult], measures: Mapping[str, RobotMeasures], diagnostics: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The summary of all episodes as plain data.

    Args:
        results: Results of the episodes.
        measures: Measures of each robot.
        diagnostics: Newest diagnostics of each node.
    """
    robots = {}
    for robot, measured in measures.items():
        times = [r.robots[robot] for r in results if r.robots[robot] is not None]
        robots[robot] = {"successes": len(times), "episodes": len(results), "seconds_to_success": [round(t, 2) for t in times],
                         **measured.as_dict()}  # fmt: skip
    episodes = [
        {"episode": r.episode, "seed": r.seed, "seconds": round(r.seconds, 2), "bag": r.bag,
         "robots": {name: None if t is None else round(t, 2) for name, t in r.robots.items()}}
        for r in results
    ]  # fmt: skip
    return {"robots": robots, "episodes": episodes, "bags": [r.bag for r in results if r.bag], "nodes": dict(diagnostics)}


def write_summary(
    path: Path,
    results: Sequence[EpisodeResult],
    measures: Mapping[str, RobotMeasures],
    diagnostics: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the summary as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".tmp")
    draft.write_text(json.dumps(summary(results, measures, diagnostics), indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
