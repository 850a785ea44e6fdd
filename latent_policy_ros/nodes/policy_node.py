"""Node: the policy of all its robots. Their observations are one batch; each robot gets its plan."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState

from latent_policy_ros.bringup.fleet import RATES
from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.lifecycle_node import main as run
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.observations.images import compressed_to_rgb, raw_to_rgb
from latent_policy_ros.observations.messages import pose_array, to_seconds
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import ObservationBuffer, Tolerances

if TYPE_CHECKING:
    from latent_policy_ros.policy.runtime import PolicyInput


class RobotChannel:
    """One robot of the policy node: its embodiment, its observation buffer and its output topic."""

    def __init__(self, namespace: str, embodiment: Embodiment, buffer: ObservationBuffer) -> None:
        self.namespace, self.embodiment, self.buffer = namespace, embodiment, buffer
        self.missing: tuple[str, ...] = ("nothing received",)
        self.answered = 0.0  # stamp of the newest observation that was answered with a chunk
        self.meter = RateMeter()
        self.output: Any = None  # publisher of LatentAction

    def history(self, now: float) -> list[Observation] | None:
        """Observations to answer now, oldest first; None if there are none, or if the newest was answered already."""
        self.missing = self.buffer.missing(now)
        history = self.buffer.observations(now)
        return None if history is None or history[-1].stamp == self.answered else history


class PolicyNode(ManagedNode):
    """Subscribes to ``<robot>/<camera>/image_raw`` (or ``/compressed``), ``<robot>/joint_states`` and
    ``<robot>/wrist_pose`` of every robot, all relative to its own namespace; publishes ``<robot>/latent_action``.

    A robot of which something is missing or stale is left out, named in the diagnostics; the others go on.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("policy", rate=10.0, **node_options)
        self.declare("policy", "default", "Policy: a folder, or a name under config/policies.")
        self.declare("latent", "default", "Latent space: a folder, or a name under config/latents.")
        self.declare("robots", [""], "Namespaces of the robots.")
        self.declare("embodiments", [""], "End-effector of each robot: a name under config/embodiments, or a YAML file.")
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("images", [""], "For each robot, which image topics to read: raw or compressed; empty: all raw.")
        self.declare("rate", 10.0, "Observations answered per second [Hz].", *RATES)
        self.declare("max_age", 0.3, "A camera or state older than this [s] is stale.", 0.05, 5.0)
        self.declare("camera_skew", 0.1, "Cameras of one observation may lie this far apart [s].", 0.001, 1.0)
        self.declare("state_skew", 0.1, "Joints and wrist pose may lie this far from an observation [s].", 0.001, 1.0)
        self.declare("task", "", "Task description that is part of every observation, in plain text.")
        self.declare("device", "auto", "Where the network runs: cpu, cuda, cuda:1, ...; auto: on a GPU if there is one.")
        self.declare("threads", 1, "Threads of torch; more than 1 slows down beside busy processes.", 1, 64)
        self.robots: dict[str, RobotChannel] = {}

    def configure(self) -> None:
        import torch

        from latent_policy_ros.policy import Policy

        torch.set_num_threads(self.value("threads"))
        space = LatentSpace.load(artifact("latents", self.value("latent")))
        self.policy = Policy.load(artifact("policies", self.value("policy")), space, device=self.value("device"))
        self.rate = self.value("rate")
        self.inference = Percentiles()
        names = [name for name in self.value("robots") if name]
        if not names:
            raise LatentPolicyError("parameter robots: expected at least one namespace, got none")
        columns = {key: self._column(key, names) for key in ("embodiments", "cameras", "images")}
        for name, embodiment, cameras, images in zip(names, *columns.values()):
            self.robots[name] = self._robot(name, load_embodiment(embodiment), cameras, images or "raw")
        self._warm_up()

    def cleanup(self) -> None:
        self.robots.clear()

    def activate(self) -> None:
        for robot in self.robots.values():
            robot.buffer.clear()
            robot.missing = ("nothing received",)

    def tick(self, now: float) -> None:
        batch: list[tuple[RobotChannel, PolicyInput]] = []
        for robot in self.robots.values():
            try:
                history = self._history(robot, now)
                if history is not None:
                    batch.append((robot, self.policy.prepare(history)))
            except Exception as error:  # must not stop the other robots
                self.count(f"{robot.namespace}: refused", str(error))
        if not batch:
            return
        began = time.perf_counter()
        chunks = self.policy.predict([prepared for _, prepared in batch])
        self.inference.add(time.perf_counter() - began)
        for (robot, _), chunk in zip(batch, chunks):
            robot.output.publish(message_conversion.latent_action(chunk, robot.namespace))
            robot.answered = chunk.stamp
            robot.meter.tick(time.monotonic())

    def _history(self, robot: RobotChannel, now: float) -> list[Observation] | None:
        complete_before, history = not robot.missing, robot.history(now)
        if history is None and robot.missing and complete_before:
            self.count(f"{robot.namespace}: left out", "; ".join(robot.missing))
        return history

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        values = {"inference": self.inference.text_ms(), "device": str(self.policy.device),
                  "policy_id": self.policy.policy_id, "latent_id": self.policy.latent_space.latent_id}  # fmt: skip
        out = []
        for name, robot in self.robots.items():
            values[f"{name}/rate_hz"] = f"{robot.meter.rate(time.monotonic()):.1f}"
            values[f"{name}/missing"] = "; ".join(robot.missing) or "-"
            values[f"{name}/refused"] = "; ".join(f"{why}: {n}" for why, n in robot.buffer.refused.items()) or "-"
            if robot.missing:
                out.append(f"{name} ({'; '.join(robot.missing)})")
        return (WARN, f"left out: {', '.join(out)}", values) if out else (OK, "running", values)

    def _column(self, key: str, names: list[str]) -> list[str]:
        """A parameter with one entry per robot."""
        values = list(self.value(key))
        if key == "images" and not any(values):
            return [""] * len(names)
        if len(values) != len(names):
            raise LatentPolicyError(f"parameter {key}: expected one entry for each of {', '.join(names)}; got {values}")
        return values

    def _robot(self, name: str, embodiment: Embodiment, cameras: str, images: str) -> RobotChannel:
        self.policy.latent_space.check(embodiment)
        size, known = self.policy.settings.image_size, self.policy.cameras
        listed = [camera.strip() for camera in cameras.split(",") if camera.strip()]
        used = [camera for camera in listed if camera in known]
        if not used:
            raise LatentPolicyError(f"{name}: cameras: the policy knows {', '.join(known)}; got {', '.join(listed) or 'none'}")
        tolerances = Tolerances(self.value("max_age"), self.value("camera_skew"), self.value("state_skew"))
        buffer = ObservationBuffer(
            used, embodiment, (), self.policy.dt, self.policy.observation_steps, (size, size), tolerances, task=self.value("task")
        )
        robot = RobotChannel(name, embodiment, buffer)
        robot.output = self.publisher(LatentAction, f"{name}/latent_action", qos.LATENTS)
        for camera in used:
            topic = f"{name}/{camera}/image_raw"
            if images == "compressed":
                on_compressed = partial(self._on_compressed, buffer, camera)
                self.subscribe(CompressedImage, f"{topic}/compressed", on_compressed, qos.IMAGES)
            else:
                self.subscribe(Image, topic, partial(self._on_image, buffer, camera), qos.IMAGES)
        self.subscribe(JointState, f"{name}/joint_states", partial(self._on_joints, buffer), qos.STATES)
        self.subscribe(PoseStamped, f"{name}/wrist_pose", partial(self._on_wrist, buffer), qos.STATES)
        return robot

    def _on_image(self, buffer: ObservationBuffer, camera: str, message: Image) -> None:
        pixels = raw_to_rgb(message.encoding, message.height, message.width, message.step, message.data)
        buffer.push_image(camera, to_seconds(message.header.stamp), pixels)

    def _on_compressed(self, buffer: ObservationBuffer, camera: str, message: CompressedImage) -> None:
        pixels = compressed_to_rgb(message.data, message.format)
        buffer.push_image(camera, to_seconds(message.header.stamp), pixels)

    def _on_joints(self, buffer: ObservationBuffer, message: JointState) -> None:
        buffer.push_joints(to_seconds(message.header.stamp), message.name, message.position)

    def _on_wrist(self, buffer: ObservationBuffer, message: PoseStamped) -> None:
        buffer.push_wrist(to_seconds(message.header.stamp), pose_array(message.pose))

    def _warm_up(self) -> None:
        """Predict once for synthetic observations: the first call of a network is slow."""
        size = self.policy.settings.image_size
        rest = np.array([0.4, 0.0, 0.4, 0.0, 0.0, 0.0, 1.0])
        histories = [
            [Observation(1.0, {c: np.zeros((size, size, 3), np.uint8) for c in robot.buffer.cameras}, rest,
                         robot.embodiment.rest, robot.embodiment)]
            for robot in self.robots.values()
        ]  # fmt: skip
        self.policy.predict([self.policy.prepare(history) for history in histories])


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros policy_node``."""
    return run(PolicyNode, images=True)


if __name__ == "__main__":
    sys.exit(main())
