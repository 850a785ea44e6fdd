"""Policy evaluation: rollouts in the simulator, headless, through the control path of the robot, and confidence intervals."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from latent_policy_ros.common.artifacts import canonical_json, load_json, write_atomically
from latent_policy_ros.common.errors import ActionRefused, ArtifactError
from latent_policy_ros.common.parallel import ALL, Shard, Workers
from latent_policy_ros.control.arm_controller import ArmController
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.control.command_guard import CommandGuard
from latent_policy_ros.control.joint_controller import COMMAND_LEAD, COMMAND_RATE, CONTROL_RATE, JointController
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.resize import DEFAULT_RESIZE, Resize
from latent_policy_ros.policy import ActionChunk, Policy, RobotDecoder
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK, load_task
from latent_policy_ros.sim.world import World

CYCLES_PER_COMMAND = round(CONTROL_RATE / COMMAND_RATE)
BATCH = 8  # robots whose actions the policy computes together


@dataclass(frozen=True)
class Rollout:
    """Result of one evaluated episode.

    Attributes:
        embodiment, seed: Its end-effector, and the seed of its scene.
        success: Whether the task was done within the time limit.
        seconds: Simulated time until success or the time limit [s].
    """

    embodiment: str
    seed: int
    success: bool
    seconds: float


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a success rate (Wilson 1927, score interval), as fractions; 95% by default.

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials and trials > 0, got {successes} of {trials}")
    p, n = successes / trials, trials
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(before: Sequence[bool], after: Sequence[bool], z: float = 1.96) -> tuple[float, float, float]:
    """Difference of two success rates on the same trials, ``after - before``, and its confidence interval, as fractions.

    The interval is that of Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions":
    Wald's interval with half a trial added to each of the four outcomes; 95% by default.

    Raises:
        ValueError: There are no trials, or the two lists differ in length.
    """
    if len(before) != len(after) or not len(before):
        raise ValueError(f"expected the same trials twice, got {len(before)} and {len(after)}")
    won = 0.5 + sum(b and not a for a, b in zip(before, after))
    lost = 0.5 + sum(a and not b for a, b in zip(before, after))
    trials = len(before) + 2
    middle, half = (won - lost) / trials, z / trials * math.sqrt(won + lost - (won - lost) ** 2 / trials)
    return (sum(after) - sum(before)) / len(before), max(-1.0, middle - half), min(1.0, middle + half)


class RobotRollout:
    """One simulated robot that follows the action chunks of a policy.

    The control path is that of the robot, on simulated time: chunks go to :class:`RobotDecoder`, its commands at
    ``COMMAND_RATE`` to a joint controller of the end-effector and an :class:`ArmController`, both of which run at
    ``CONTROL_RATE``. Only the transport and the driver nodes around the controllers are missing.

    Args:
        world: The simulated robot, already reset.
        seed: Seed of that reset.
        latent: Latent space of the policy.
        observation_steps: Length of the observation history.
        resize: Conversion of images to the size that the policy takes, as on the robot.
        latency: Time from an observation to the arrival of its chunk [s].

    Attributes:
        time: Simulated time since the reset [s].
        events: Number of each event that the controllers reported, e.g. ``hand: clamped to limits``.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        latent: LatentSpace,
        observation_steps: int = 1,
        resize: Resize = DEFAULT_RESIZE,
        latency: float = 0.0,
    ) -> None:
        self.world, self.embodiment, self.seed = world, world.embodiment, seed
        self.observation_steps, self.resize, self.latency = observation_steps, resize, latency
        self.events: Counter[str] = Counter()
        e = self.embodiment
        self.decoder = RobotDecoder(latent, e)
        self.hand_controller = JointController(CommandGuard.of(e), report=lambda event, _: self.events.update([f"hand: {event}"]))
        self.arm_controller = ArmController(world.arm, report=lambda event, _: self.events.update([f"arm: {event}"]))
        self.history: deque[Observation] = deque(maxlen=observation_steps)
        self.pending: deque[ActionChunk] = deque()
        self.time = self._until = 0.0
        self._step = 0  # of the control loop
        self._following = False
        self._control()  # drivers run before the first chunk arrives

    def observe(self) -> list[Observation]:
        """Add an observation of this moment; return the history, oldest first (the first observation repeated at the start)."""
        world = self.world
        self.history.append(
            Observation(
                stamp=self.time,
                images={camera: self.resize(world.render(camera)) for camera in world.cameras},
                wrist_pose=world.wrist_pose,
                joints=world.hand_q,
                embodiment=self.embodiment,
                task=world.task.text,
            )
        )
        missing = self.observation_steps - len(self.history)
        return [self.history[0]] * missing + list(self.history)

    def add_chunk(self, chunk: ActionChunk) -> None:
        """Queue a chunk; it arrives at the decoder ``latency`` after its observation."""
        self.pending.append(chunk)

    def advance(self, seconds: float) -> None:
        """Run decoder, controllers and physics for ``seconds`` of simulated time, in whole control cycles.

        A remainder shorter than a cycle is added to the next call.
        """
        self._until += seconds
        while self.time < self._until - 1e-9:
            if self._receive() or self._step % CYCLES_PER_COMMAND == 0:
                self._command()
            self._control()
            self.world.step(1.0 / CONTROL_RATE)
            self._step += 1
            self.time = self._step / CONTROL_RATE

    @property
    def success(self) -> bool:
        """Whether the task is done now."""
        return self.world.success()

    def _receive(self) -> bool:
        """Hand chunks that have arrived to the decoder; whether it accepted any."""
        accepted = False
        while self.pending and self.pending[0].stamp + self.latency <= self.time + 1e-9:
            try:
                self.decoder.accept(self.pending.popleft(), self.time)
                accepted = True
            except ActionRefused:  # as on the robot, the chunk changes nothing
                self.events["decoder: refused"] += 1
        return accepted

    def _command(self) -> None:
        """Send the decoder's present command to both controllers; command them to hold once when chunks go stale."""
        names, command = self.embodiment.joint_names, self.decoder.command(self.time)
        if command is not None:
            age = self.time - command.observed
            self.hand_controller.set_command(names, command.q, age, COMMAND_LEAD / COMMAND_RATE)
            self.arm_controller.set_wrist_command(command.wrist_pose, age=age)
        elif self._following:
            self.hand_controller.set_command(names, None)
            self.arm_controller.set_command((), None)
        self._following = command is not None

    def _control(self) -> None:
        """Run one cycle of both control loops."""
        world = self.world
        for controller, measured, write in (
            (self.hand_controller, world.hand_q, world.set_hand_target),
            (self.arm_controller, world.arm_q, world.set_arm_target),
        ):
            position = controller.cycle(measured, self.time, self.time).position
            if position is not None:
                write(position)


def rollouts(
    policy: Policy,
    latent: LatentSpace,
    jobs: Sequence[tuple[str, int]],
    *,
    task: str = DEFAULT_TASK,
    arm: str = PANDA,
    time_limit: float = 15.0,
    latency: float = 0.08,
    on_frame: Callable[[RobotRollout], None] | None = None,
) -> Iterator[Rollout]:
    """Run one rollout for each ``(embodiment, seed)`` job; yield results as rollouts end.

    Args:
        policy, latent: The policy and its latent space.
        jobs: End-effector and scene seed of each rollout.
        task, arm: Names of the simulated task and arm.
        time_limit: Simulated time after which a rollout has failed [s].
        latency: Time from an observation to the arrival of its chunk at the decoder [s].
        on_frame: Called after every step of the policy.

    Raises:
        ArtifactError: The policy was made for another latent space, or the latent space lacks an embodiment.
        LatentPolicyError: Unknown task, or the embodiment or arm cannot be simulated.
    """
    waiting, active = deque(jobs), list[RobotRollout]()
    while waiting or active:
        while waiting and len(active) < BATCH:
            embodiment, seed = waiting.popleft()
            settings = policy.settings
            world = World(embodiment, task, arm)
            world.reset(seed)
            active.append(RobotRollout(world, seed, latent, settings.observation_steps, settings.resize, latency))
        for robot, chunk in zip(active, policy.predict([policy.prepare(robot.observe()) for robot in active])):
            robot.add_chunk(chunk)
            robot.advance(policy.dt)
            if on_frame:
                on_frame(robot)
        for robot in [r for r in active if r.success or r.time >= time_limit]:
            active.remove(robot)
            yield Rollout(robot.embodiment.name, robot.seed, robot.success, robot.time)


@dataclass(frozen=True)
class _Batch:
    """Rollouts of one end-effector that one process runs, and whose actions the policy computes together."""

    policy: Path
    latent: Path
    embodiment: str
    seeds: tuple[int, ...]
    options: dict

    def run(self) -> list[Rollout]:
        """Run the rollouts. The noise of the policy follows from the first seed, so the result does not depend on other batches."""
        import torch

        torch.set_num_threads(1)  # threads of several workers would wait for each other at OpenMP barriers
        latent = LatentSpace.load(self.latent)
        options = dict(self.options)
        policy = Policy.load(self.policy, latent, seed=self.seeds[0], sampling_steps=options.pop("sampling_steps", 0))
        jobs = [(self.embodiment, seed) for seed in self.seeds]
        return sorted(rollouts(policy, latent, jobs, **options), key=lambda rollout: rollout.seed)

    def file(self, folder: Path, policy_id: str) -> Path:
        """File of the results in ``folder``."""
        embodiment = load_embodiment(self.embodiment)
        content = [policy_id, embodiment.content_hash, self.seeds, self.options]
        key = hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]
        return folder / f"{embodiment.name}_{self.seeds[0]}_{key}.json"


def evaluate(
    policy_dir: Path,
    latent_dir: Path,
    embodiments: Sequence[str],
    seeds: Sequence[int],
    *,
    workers: Workers = Workers(),  # noqa: B008 - immutable
    results: Path | None = None,
    shard: Shard = ALL,
    on_result: Callable[[Rollout], None] | None = None,
    **options,
) -> list[Rollout]:
    """Evaluate a policy on every embodiment and seed, in parallel processes.

    Args:
        policy_dir, latent_dir: Folders of the policy and of its latent space.
        embodiments, seeds: Every combination is one rollout.
        workers: Processes, of one thread each.
        results: Folder in which the results of finished rollouts are stored, and from which those of earlier calls are taken.
        shard: Part of the rollouts that this call runs.
        on_result: Called with each result as it arrives, e.g. for a progress bar.
        options: Keyword arguments of :func:`rollouts`: ``task``, ``arm``, ``latency``, ``time_limit``; and ``sampling_steps`` of
            :class:`Policy`.

    Returns:
        Results, sorted by embodiment and seed; of a shard, only its part.

    Raises:
        ArtifactError: A stored result cannot be read.
        ConfigError: Unknown embodiment or arm, or an error in its file.
        LatentPolicyError: Unknown task.
    """
    for embodiment in embodiments:  # names are checked here because the start of the processes takes many seconds
        load_embodiment(embodiment)
    load_arm(options.get("arm", PANDA))
    load_task(options.get("task", DEFAULT_TASK))
    parts = [tuple(seeds[i : i + BATCH]) for i in range(0, len(seeds), BATCH)]
    batches = shard.part([_Batch(policy_dir, latent_dir, name, part, options) for part in parts for name in embodiments])
    done: list[Rollout] = []

    def report(rollouts_: list[Rollout]) -> None:
        done.extend(rollouts_)
        if on_result:
            for rollout in rollouts_:
                on_result(rollout)

    identity, missing = Checkpoint.load(policy_dir).policy_id if results else "", []
    for batch in batches:
        if results and (file := batch.file(results, identity)).is_file():
            report(
                [
                    Rollout(**rollout)
                    for rollout in load_json(file, ArtifactError, "delete it to run its rollouts again")["rollouts"]
                ]
            )
        else:
            missing.append(batch)
    for batch, new in workers.run(_run, missing):
        if results:
            results.mkdir(parents=True, exist_ok=True)
            content = {"policy": str(policy_dir), **options, "rollouts": [asdict(rollout) for rollout in new]}
            write_atomically(batch.file(results, identity), json.dumps(content, indent=1).encode())
        report(new)
    return sorted(done, key=lambda rollout: (rollout.embodiment, rollout.seed))


def _run(batch: _Batch) -> tuple[_Batch, list[Rollout]]:
    return batch, batch.run()
