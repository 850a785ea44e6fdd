"""What a run of episodes amounted to: per robot and episode, as data and as JSON. Knows nothing of ROS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_policy_ros.nodes.base.statistics import Percentiles


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        episode: Its number, from 1.
        seed: Of the simulated scene.
        seconds: How long it lasted.
        robots: Seconds after which each robot had done the task; None if it had not.
        bag: Where it was recorded; empty if it was not.
    """

    episode: int
    seed: int
    seconds: float
    robots: Mapping[str, float | None]
    bag: str = ""

    def text(self) -> str:
        """In a line for people."""
        return ", ".join(f"{r} {'not done' if t is None else f'done in {t:.1f} s'}" for r, t in self.robots.items())


@dataclass
class RobotMeasures:
    """What was measured of one robot while episodes ran."""

    commands: int = 0
    plans: int = 0
    seconds: float = 0.0
    latency: Percentiles = field(default_factory=lambda: Percentiles(100_000))
    _observed: float = 0.0

    def command(self, observed: float, now: float) -> None:
        """A joint command came at ``now`` that answers the observation of time ``observed`` [s].

        The latency is that of the first command which answers a new observation; the ones after it go on with its plan.
        """
        self.commands += 1
        if observed != self._observed:
            self._observed = observed
            self.latency.add(now - observed)

    def close_interval(self, seconds: float) -> None:
        """``seconds`` of measuring have passed."""
        self.seconds += seconds

    def as_dict(self) -> dict[str, Any]:
        """Rates [Hz] and latency percentiles [ms]."""
        span = max(self.seconds, 1e-9)
        latency = {name: round(1e3 * value, 1) for name, value in self.latency.summary().items()}
        return {"command_rate_hz": round(self.commands / span, 1), "plan_rate_hz": round(self.plans / span, 1),
                "camera_to_command_ms": latency}  # fmt: skip


def summary(
    results: Sequence[EpisodeResult], measures: Mapping[str, RobotMeasures], status: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """All of it as plain data.

    Args:
        results: The episodes.
        measures: By robot.
        status: Last diagnostics of each node.
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
    return {"robots": robots, "episodes": episodes, "bags": [r.bag for r in results if r.bag], "nodes": dict(status)}


def write_summary(
    path: Path,
    results: Sequence[EpisodeResult],
    measures: Mapping[str, RobotMeasures],
    status: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the summary as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".tmp")
    draft.write_text(json.dumps(summary(results, measures, status), indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
