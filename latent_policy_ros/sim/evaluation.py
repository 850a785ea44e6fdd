"""Policy rollouts in the simulator, headless, through the very decoder and safety code that runs on the robot.

Only the transport is missing: observations go to :class:`Policy`, its chunks to :class:`RobotDecoder`, its commands
through :class:`CommandGuard` to the simulated joints, on simulated time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from latent_policy_ros.common.errors import ActionRefused
from latent_policy_ros.common.processes import worker_pool
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.observations.images import fit
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy import Policy, RobotDecoder
from latent_policy_ros.sim.world import World

COMMAND_PERIOD = 0.02  # s: decoders command at 50 Hz


@dataclass(frozen=True)
class Rollout:
    """One evaluated episode."""

    embodiment: str
    seed: int
    success: bool
    seconds: float  # simulated time until success, or the time limit


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a success rate (Wilson 1927, the score interval), as fractions.

    Raises:
        ValueError: There were no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials and trials > 0, got {successes} of {trials}")
    p, n = successes / trials, trials
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(before: Sequence[bool], after: Sequence[bool], z: float = 1.96) -> tuple[float, float, float]:
    """Difference of two success rates on the same trials, after - before, and its 95% confidence interval, as fractions.

    Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions": Wald's interval with half
    a trial added to each of the four outcomes.

    Raises:
        ValueError: There were no trials, or not as many of the one as of the other.
    """
    if len(before) != len(after) or not len(before):
        raise ValueError(f"expected the same trials twice, got {len(before)} and {len(after)}")
    won = 0.5 + sum(b and not a for a, b in zip(before, after))
    lost = 0.5 + sum(a and not b for a, b in zip(before, after))
    trials = len(before) + 2
    middle, half = (won - lost) / trials, z / trials * math.sqrt(won + lost - (won - lost) ** 2 / trials)
    return (sum(after) - sum(before)) / len(before), max(-1.0, middle - half), min(1.0, middle + half)


class RobotRollout:
    """One simulated robot under the control of decoded latent actions.

    Args:
        embodiment: Name of the end-effector.
        seed: Decides cube, box and start pose.
        latent: The latent space that the policy was made for.
        observation_steps: How many observations the policy looks at.
        image_size: Of the images that it looks at [pixels]; they are scaled to it as on the robot.
        latency: Time from an observation to the moment its chunk can be used [s].
    """

    def __init__(
        self, embodiment: str, seed: int, latent: LatentSpace, observation_steps: int, image_size: int, latency: float
    ) -> None:
        self.world = World(embodiment)
        self.world.reset(seed)
        self.embodiment, self.arm, self.seed, self.latency = self.world.embodiment, self.world.arm, seed, latency
        self.image_size = image_size
        e, arm = self.embodiment, self.arm
        self.decoder = RobotDecoder(latent, e)
        self.hand_guard = CommandGuard(e.joint_names, e.lower, e.upper, e.max_velocity)
        self.arm_guard = CommandGuard(arm.joint_names, arm.lower, arm.upper, arm.max_velocity)
        self.history: deque[Observation] = deque(maxlen=observation_steps)
        self.pending: deque = deque()
        self.time = self._until = 0.0

    def observe(self) -> list[Observation]:
        """Take an observation now; returns the history, oldest first (repeated at the start of an episode)."""
        world = self.world
        self.history.append(
            Observation(
                stamp=self.time,
                images={camera: fit(world.render(camera), self.image_size, self.image_size) for camera in world.cameras},
                wrist_pose=world.wrist_pose,
                joints=world.hand_q,
                embodiment=self.embodiment,
            )
        )
        missing = self.history.maxlen - len(self.history)
        return [self.history[0]] * missing + list(self.history)

    def accept(self, chunk) -> None:
        """Queue a chunk; it reaches the decoder ``latency`` after its observation."""
        self.pending.append(chunk)

    def advance(self, seconds: float) -> None:
        """Run decoder, guards and physics for ``seconds`` of simulated time, in whole commands; the rest counts next time."""
        self._until += seconds
        while self.time < self._until - 1e-9:
            while self.pending and self.pending[0].stamp + self.latency <= self.time + 1e-9:
                with suppress(ActionRefused):  # as on the robot: a refused plan changes nothing, and silence holds
                    self.decoder.accept(self.pending.popleft(), self.time)
            command = self.decoder.command(self.time)
            hand, arm = self.world.hand_q, self.world.arm_q
            hand_target = command.q if command else None
            arm_target = self.arm.ik(command.wrist_pose, arm) if command else None
            self.world.set_hand_target(self.hand_guard.filter(hand_target, hand, self.time).position)
            self.world.set_arm_target(self.arm_guard.filter(arm_target, arm, self.time).position)
            self.world.step(COMMAND_PERIOD)
            self.time += COMMAND_PERIOD

    @property
    def success(self) -> bool:
        return self.world.success()


def rollouts(
    policy: Policy,
    latent: LatentSpace,
    jobs: Sequence[tuple[str, int]],
    *,
    batch: int = 8,
    time_limit: float = 15.0,
    latency: float = 0.08,
    on_frame: Callable[[RobotRollout], None] | None = None,
) -> Iterator[Rollout]:
    """Run every ``(embodiment, seed)`` job, ``batch`` robots at a time in one policy batch; yields results as they end.

    Raises:
        ArtifactError: The policy was made for another latent space, or the latent space lacks an embodiment.
    """
    waiting, active = deque(jobs), []
    while waiting or active:
        while waiting and len(active) < batch:
            embodiment, seed = waiting.popleft()
            settings = policy.settings
            active.append(RobotRollout(embodiment, seed, latent, settings.observation_steps, settings.image_size, latency))
        for robot, chunk in zip(active, policy.predict([policy.prepare(robot.observe()) for robot in active])):
            robot.accept(chunk)
            robot.advance(policy.dt)
            if on_frame:
                on_frame(robot)
        for robot in [r for r in active if r.success or r.time >= time_limit]:
            active.remove(robot)
            yield Rollout(robot.embodiment.name, robot.seed, robot.success, robot.time)


def _worker(policy_dir: Path, latent_dir: Path, jobs: list[tuple[str, int]], options: dict) -> list[Rollout]:
    import torch

    torch.set_num_threads(1)  # beside another worker, OpenMP barriers would collapse
    latent = LatentSpace.load(latent_dir)
    policy = Policy.load(policy_dir, latent, seed=jobs[0][1])  # noise of its own: rollouts are to be independent
    return list(rollouts(policy, latent, jobs, **options))


def evaluate(
    policy_dir: Path,
    latent_dir: Path,
    embodiments: Sequence[str],
    seeds: Sequence[int],
    *,
    workers: int = 2,
    on_result: Callable[[Rollout], None] | None = None,
    **options,
) -> list[Rollout]:
    """Evaluate a policy on every embodiment and seed, in parallel processes.

    Args:
        policy_dir, latent_dir: What to load.
        embodiments, seeds: Every combination is one rollout.
        workers: Processes, of one thread each.
        on_result: Called as results arrive (for a progress bar).
        options: For :func:`rollouts`.

    Raises:
        ConfigError: No such embodiment, or its file is wrong.
    """
    for embodiment in embodiments:
        load_embodiment(embodiment)  # a wrong name is told before processes start, which takes many seconds
    jobs = [(embodiment, seed) for seed in seeds for embodiment in embodiments]
    pieces = [jobs[i : i + 8] for i in range(0, len(jobs), 8)]
    results: list[Rollout] = []
    with worker_pool(workers) as pool:
        for done in as_completed([pool.submit(_worker, policy_dir, latent_dir, piece, options) for piece in pieces]):
            for result in done.result():
                results.append(result)
                if on_result:
                    on_result(result)
    return sorted(results, key=lambda r: (r.embodiment, r.seed))
