"""policy_node: observations of all robots are one batch of the policy, and each robot gets an action chunk."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, JointState

from latent_policy_ros.bringup.fleet import RATES
from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.observations.modalities import COLOR_IMAGE, JOINT_STATE, WRIST_POSE, Modality, value_modality
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import JOINTS, WRIST, ObservationBuffer, Tolerances
from latent_policy_ros.observations.publisher_conflict import CONFLICT

if TYPE_CHECKING:
    from latent_policy_ros.policy.runtime import PolicyInput

OPTIONAL_COLUMNS = "images", "streams"  # parameters with one entry per robot that may be left out


def parse_streams(where: str, text: str) -> dict[str, tuple[Modality, str]]:
    """Read additional streams from a parameter.

    Args:
        where: Name of the parameter in errors.
        text: ``NAME:MODALITY`` or ``NAME:MODALITY:MESSAGE_TYPE``, separated by commas.

    Returns:
        {name: (modality, message type)}; the message type defaults to the first one of the modality.

    Raises:
        LatentPolicyError: Another form, an unknown modality, or a message type that the modality does not convert.
    """
    streams: dict[str, tuple[Modality, str]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, *rest = entry.split(":")
        if not name or len(rest) not in (1, 2):
            raise LatentPolicyError(f"{where}: expected NAME:MODALITY or NAME:MODALITY:MESSAGE_TYPE, got {entry!r}")
        modality = value_modality(rest[0])
        msg_type = rest[1] if len(rest) == 2 else modality.message_types[0]
        if msg_type not in modality.message_types:
            raise LatentPolicyError(f"{where}: {modality.name} does not convert {msg_type!r}; {available(modality.message_types)}")
        streams[name] = modality, msg_type
    return streams


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
    """Policy node of one or more robots.

    Subscribes to ``<robot>/<camera>/image_raw`` (or ``/compressed``), ``<robot>/joint_states``, ``<robot>/wrist_pose`` and
    additional streams of every robot, relative to the namespace of the node. Publishes ``<robot>/latent_action``.

    A robot with missing or stale topics gets no action chunk and is named in the diagnostics; the other robots are not affected.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("policy", rate=10.0, **node_options)
        self.declare("policy", "default", "Policy: a folder, or a name under config/policies.")
        self.declare("latent", "default", "Latent space: a folder, or a name under config/latents.")
        self.declare("robots", [""], "Namespaces of the robots.")
        self.declare("embodiments", [""], "End-effector of each robot: a name under config/embodiments, or a YAML file.")
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("images", [""], "Image topics of each robot: raw or compressed; empty: raw for all.")
        self.declare("streams", [""], "Additional streams of each robot, separated by commas: NAME:MODALITY or "
                     "NAME:MODALITY:MESSAGE_TYPE for topic <robot>/NAME; empty: none.")  # fmt: skip
        self.declare("rate", 10.0, "Rate of action chunks [Hz].", *RATES)
        self.declare("max_age", 0.3, "Age from which a camera or state is stale [s].", 0.05, 5.0)
        self.declare("camera_skew", 0.1, "Largest time difference between an observation and each of its images [s].", 0.001, 1.0)
        self.declare(
            "state_skew", 0.1, "Largest time difference between an observation and its joints and wrist pose [s].", 0.001, 1.0
        )
        self.declare("task", "", "Task description that is part of every observation, in plain text.")
        self.declare("device", "auto", "Device of the network: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.")
        self.declare("threads", 1, "Threads of torch; more than 1 is slower beside other busy processes.", 1, 64)
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
        columns = {key: self._column(key, names) for key in ("embodiments", "cameras", *OPTIONAL_COLUMNS)}
        for name, embodiment, cameras, images, streams in zip(names, *columns.values()):
            self.robots[name] = self._robot(name, load_embodiment(embodiment), cameras, images or "raw", streams)
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
            missing = self._with_publishers(name, robot.missing)
            values[f"{name}/missing"] = "; ".join(missing) or "-"
            values[f"{name}/refused"] = "; ".join(f"{why}: {n}" for why, n in robot.buffer.refused.items()) or "-"
            if missing:
                out.append(f"{name} ({'; '.join(missing)})")
        return (WARN, f"left out: {', '.join(out)}", values) if out else (OK, "running", values)

    def _with_publishers(self, name: str, missing: tuple[str, ...]) -> tuple[str, ...]:
        """Reasons, with the nodes that publish the joint states where two of them contradict each other."""
        if not any(CONFLICT in reason for reason in missing):
            return missing
        topic = self.resolve_topic_name(f"{name}/joint_states")
        nodes = sorted({f"{p.node_namespace}/{p.node_name}".replace("//", "/") for p in self.get_publishers_info_by_topic(topic)})
        return tuple(
            f"{reason}; {topic} is published by {', '.join(nodes)}" if CONFLICT in reason else reason for reason in missing
        )

    def _column(self, key: str, names: list[str]) -> list[str]:
        """A parameter with one entry for each robot."""
        values = list(self.value(key))
        if key in OPTIONAL_COLUMNS and not any(values):
            return [""] * len(names)
        if len(values) != len(names):
            raise LatentPolicyError(f"parameter {key}: expected one entry for each of {', '.join(names)}; got {values}")
        return values

    def _robot(self, name: str, embodiment: Embodiment, cameras: str, images: str, streams: str) -> RobotChannel:
        self.policy.latent_space.check(embodiment)
        size, known = self.policy.settings.image_size, self.policy.cameras
        listed = [camera.strip() for camera in cameras.split(",") if camera.strip()]
        used = [camera for camera in listed if camera in known]
        if not used:
            raise LatentPolicyError(f"{name}: cameras: the policy knows {', '.join(known)}; got {', '.join(listed) or 'none'}")
        additional = parse_streams(f"{name}: streams", streams)
        tolerances = Tolerances(self.value("max_age"), self.value("camera_skew"), self.value("state_skew"))
        values = {stream: modality.tolerance or tolerances.state_skew for stream, (modality, _) in additional.items()}
        buffer = ObservationBuffer(
            used,
            embodiment,
            (),
            self.policy.dt,
            self.policy.observation_steps,
            (size, size),
            tolerances,
            values=values,
            task=self.value("task"),
        )
        robot = RobotChannel(name, embodiment, buffer)
        robot.output = self.publisher(LatentAction, f"{name}/latent_action", qos.LATENTS)
        for camera in used:
            compressed = images == "compressed"
            topic = f"{name}/{camera}/image_raw" + ("/compressed" if compressed else "")
            self._listen(buffer, camera, COLOR_IMAGE, topic, CompressedImage if compressed else Image, qos.IMAGES)
        self._listen(buffer, JOINTS, JOINT_STATE, f"{name}/joint_states", JointState, qos.STATES)
        self._listen(buffer, WRIST, WRIST_POSE, f"{name}/wrist_pose", PoseStamped, qos.STATES)
        for stream, (modality, msg_type) in additional.items():
            self._listen(buffer, stream, modality, f"{name}/{stream}", message_conversion.message_class(msg_type), qos.STATES)
        return robot

    def _listen(
        self, buffer: ObservationBuffer, name: str, modality: Modality, topic: str, message_type: type, profile: QoSProfile
    ) -> None:
        def push(message: Any) -> None:
            buffer.push_message(name, modality, message, self.now())

        self.subscribe(message_type, topic, push, profile)

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
    return run_node(PolicyNode, images=True)


if __name__ == "__main__":
    sys.exit(main())
