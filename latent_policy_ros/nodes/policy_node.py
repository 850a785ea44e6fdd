"""policy_node: observations of all robots are one batch of the policy, and each robot gets an action chunk."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from latent_policy_ros.common.cpu_meter import CpuMeter
from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.latent_actions import LatentActions
from latent_policy_ros.nodes.topics.observation_synchronizer import ObservationSynchronizer
from latent_policy_ros.nodes.topics.robot_topics import ROBOT_NAMESPACES, ROBOT_NAMESPACES_HELP, robot_prefix
from latent_policy_ros.observations.arrivals import Arrivals, best_moment
from latent_policy_ros.observations.modalities import Modality, value_modality
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import JOINTS, WRIST, ObservationBuffer, Tolerances
from latent_policy_ros.observations.publisher_conflict import CONFLICT
from latent_policy_ros.policy.action_chunk import CHUNK_RATES

if TYPE_CHECKING:
    from latent_policy_ros.policy.runtime import PolicyInput

OPTIONAL_COLUMNS = "images", "streams"  # parameters with one entry per robot that may be left out
MAX_WAIT = 0.4  # share of a period by which a plan waits for observations that are about to arrive
LEAD, MAX_ADVANCE = 0.002, 0.01  # s by which a plan begins to wait before they arrive; share of a period by which it advances


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
    """One robot of the policy node: its embodiment, its observations and its output topic.

    Callbacks that are registered at ``observations``, a message filter, receive every synchronised observation of the robot.
    """

    def __init__(self, namespace: str, embodiment: Embodiment, observations: ObservationSynchronizer) -> None:
        self.namespace, self.embodiment, self.observations = namespace, embodiment, observations
        self.buffer, self.arrivals = observations.buffer, Arrivals()
        self.missing: tuple[str, ...] = ("nothing received",)
        self.answered = 0.0  # stamp of the newest observation that was answered with a chunk
        self.image_texts: dict[str, str] = {}  # of each camera, see PolicyNode._image_sizes
        self.meter = RateMeter()
        self.output: Any = None  # publisher of LatentAction
        self.latent_actions = LatentActions()

    def history(self, now: float) -> list[Observation] | None:
        """Observations to answer now, oldest first; None if there are none, or if the newest was answered already."""
        self.missing = self.buffer.missing(now)
        history = None if self.missing else self.buffer.history()
        return None if history is None or history[-1].stamp == self.answered else history


class PolicyNode(ManagedNode):
    """Policy node of one or more robots.

    Subscribes to ``<robot>/<camera>/image_raw`` (or ``/compressed``), ``<robot>/joint_states``, ``<robot>/wrist_pose`` and
    additional streams of every robot, relative to the namespace of the node. Publishes ``<robot>/latent_action``.

    Chunks are planned at ``rate``. Where images of the robots are about to arrive, the plan waits for them, by up to 0.4 periods.

    While the node is not engaged it publishes nothing, and the robots hold their measured pose. ``~/engage`` and ``~/disengage``
    change that; ``~/engaged`` reports it.

    A robot with missing or stale topics gets no action chunk and is named in the diagnostics; the other robots are not affected.
    """

    poll_period = 0.02  # s: observations are used in the next cycle, which reads the newest ones first

    def __init__(self, **node_options: Any) -> None:
        super().__init__("policy", rate=10.0, **node_options)
        self.declare("policy", "default", "Policy: a folder, or a name under config/policies.")
        self.declare("latent", "default", "Latent space: a folder, or a name under config/latents.")
        self.declare("robots", [""], "Names of the robots.")
        self.declare(ROBOT_NAMESPACES, True, ROBOT_NAMESPACES_HELP)
        self.declare("embodiments", [""], "End-effector of each robot: a name under config/embodiments, or a YAML file.")
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("images", [""], "Image topics of each robot: raw or compressed; empty: raw for all.")
        self.declare("streams", [""], "Additional streams of each robot, separated by commas: NAME:MODALITY or "
                     "NAME:MODALITY:MESSAGE_TYPE for topic <robot>/NAME; empty: none.")  # fmt: skip
        self.declare("rate", 10.0, "Rate of action chunks [Hz].", *CHUNK_RATES)
        self.declare("engage", True, "Drive the robots as soon as the node is active; false: once ~/engage is called.")
        self.declare("max_age", 0.3, "Age from which a camera or state is stale [s].", 0.05, 5.0)
        self.declare("camera_skew", 0.1, "Largest time difference between an observation and each of its images [s].", 0.001, 1.0)
        self.declare(
            "state_skew", 0.1, "Largest time difference between an observation and its joints and wrist pose [s].", 0.001, 1.0
        )
        self.declare(
            "clock_offset", 0.1, "Largest difference between the clock that stamps joint_states and this one [s].", 0.01, 10.0
        )
        self.declare("task", "", "Task description that is part of every observation, in plain text.")
        self.declare("device", "auto", "Device of the network: cpu, cuda, cuda:1, ...; auto: a GPU if there is one.")
        self.declare("sampling_steps", 0, "Sampling steps of an action chunk; 0: as the policy was trained for.", 0, 1000)
        self.declare("threads", 1, "Threads of torch; more than 1 is slower beside other busy processes.", 1, 64)
        self.robots: dict[str, RobotChannel] = {}
        self.engaged = self._postponed = False

    def configure(self) -> None:
        import torch

        from latent_policy_ros.policy import Policy

        torch.set_num_threads(self.value("threads"))
        space = LatentSpace.load(artifact("latents", self.value("latent")))
        folder, device = artifact("policies", self.value("policy")), self.value("device")
        self.policy = Policy.load(folder, space, device=device, sampling_steps=self.value("sampling_steps"))
        self.rate = self.value("rate")
        self.inference, self.network_time = Percentiles(), CpuMeter()
        names = [name for name in self.value("robots") if name]
        if not names:
            raise LatentPolicyError("parameter robots: expected at least one namespace, got none")
        columns = {key: self._column(key, names) for key in ("embodiments", "cameras", *OPTIONAL_COLUMNS)}
        for name, embodiment, cameras, images, streams in zip(names, *columns.values()):
            self.robots[name] = self._robot(name, load_embodiment(embodiment), cameras, images or "raw", streams)
        self._engaged = self.publisher(Bool, "~/engaged", qos.STATE_CHANGES)
        for name, engaged in (("engage", True), ("disengage", False)):
            self.serve(Trigger, f"~/{name}", partial(self._on_engage, engaged))
        self._warm_up()

    def cleanup(self) -> None:
        self.robots.clear()

    def activate(self) -> None:
        for robot in self.robots.values():
            robot.observations.clear()
            robot.arrivals.clear()
            robot.missing = ("nothing received",)
        self._set_engaged(self.value("engage"))
        if not self.engaged:
            service = self.resolve_service_name("~/engage")
            self.get_logger().info(f"not engaged: the robots hold until {service} is called (latent-policy engage)")

    def deactivate(self) -> None:
        """Disengage: after the next activation the parameter ``engage`` counts again."""
        self._set_engaged(False)

    def _set_engaged(self, engaged: bool) -> None:
        self.engaged = engaged
        self._engaged.publish(Bool(data=engaged))

    def _on_engage(self, engaged: bool, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            response.success, response.message = False, f"{self.get_fully_qualified_name()} is not active"
            return response
        self._set_engaged(engaged)
        response.success, response.message = (
            True,
            "engaged: " + ", ".join(self.robots) if engaged else "disengaged: the robots hold",
        )
        self.get_logger().info(response.message)
        self.report_soon()
        return response

    def receive(self) -> None:
        super().receive()
        for robot in self.robots.values():
            if (stamp := robot.buffer.newest) is not None:
                robot.arrivals.add(stamp, self.now())

    def postpone(self, late: float) -> float:
        """Plan when the observations of all robots are youngest, rather than when half an interval of the camera has passed.

        Where a plan comes after an image that it did not wait for, the following plans advance, until they meet their images.
        """
        now, limit = self.now(), MAX_WAIT / self.rate - late
        arrivals = [robot.arrivals for robot in self.robots.values() if not robot.missing]
        wait = best_moment(arrivals, now, limit) - now if self.engaged and limit > 0.0 else 0.0
        self.advance = 0.0
        if not (wait or self._postponed) and arrivals:
            age = now - max(robot.newest for robot in arrivals)
            self.advance = min(age + LEAD, MAX_ADVANCE / self.rate)
        self._postponed = wait > 0.0
        return wait

    def awaited(self, now: float) -> list[Subscription]:
        """The cameras, while a plan waits for their images."""
        return super().awaited(now) if self._postponed else []

    def tick(self, now: float) -> None:
        if not self.engaged:
            for robot in self.robots.values():
                robot.missing = robot.buffer.missing(now)
            return
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
        with self.network_time:
            chunks = self.policy.predict([prepared for _, prepared in batch])
        self.inference.add(time.perf_counter() - began)
        for (robot, _), chunk in zip(batch, chunks):
            robot.output.publish(robot.latent_actions.serialise(chunk, robot.observations.wrist_frame))
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
        values = {"engaged": str(self.engaged).lower(), "inference": self.inference.text_ms(), "device": str(self.policy.device),
                  "network_cpu_s": f"{self.network_time.seconds:.3f}", "policy_id": self.policy.policy_id,
                  "latent_id": self.policy.latent_space.latent_id}  # fmt: skip
        out = []
        for name, robot in self.robots.items():
            values[f"{name}/rate_hz"] = f"{robot.meter.rate(time.monotonic()):.1f}"
            values[f"{name}/clock_offset_ms"] = f"{1e3 * robot.buffer.clock_offset.seconds:.0f}"
            missing = self._with_publishers(name, robot.missing)
            values[f"{name}/missing"] = "; ".join(missing) or "-"
            values |= {f"{name}/{camera}": text for camera, text in self._image_sizes(robot).items()}
            values[f"{name}/refused"] = "; ".join(f"{why}: {n}" for why, n in robot.buffer.refused.items()) or "-"
            if missing:
                out.append(f"{name} ({'; '.join(missing)})")
        if out:
            return WARN, f"left out: {', '.join(out)}", values
        return OK, "running" if self.engaged else "not engaged: the robots hold", values

    def _image_sizes(self, robot: RobotChannel) -> dict[str, str]:
        """{camera: size of its images and what is done to them}; logged once, if their shape changes."""
        resize, sizes = self.policy.settings.resize, robot.buffer.image_sizes
        texts = {camera: resize.text(*size) for camera, size in sizes.items()}
        for camera, text in texts.items():
            if resize.changes_shape(*sizes[camera]) and text != robot.image_texts.get(camera):
                self.get_logger().info(f"{robot.namespace}/{camera}: images of {text} (image_fit of the policy: {resize.fit})")
        robot.image_texts = texts
        return texts

    def _with_publishers(self, name: str, missing: tuple[str, ...]) -> tuple[str, ...]:
        """Reasons, with the nodes that publish the joint states or wrist poses where two of them contradict each other."""
        return tuple(self._with_nodes(name, reason) if CONFLICT in reason else reason for reason in missing)

    def _with_nodes(self, name: str, reason: str) -> str:
        """A reason that begins with the name of a topic, with the nodes that publish it."""
        prefix = robot_prefix(name, self.value(ROBOT_NAMESPACES))
        topic = self.resolve_topic_name(f"{prefix}{reason.partition(':')[0]}")
        nodes = sorted({f"{p.node_namespace}/{p.node_name}".replace("//", "/") for p in self.get_publishers_info_by_topic(topic)})
        return f"{reason}; {topic} is published by {', '.join(nodes)}"

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
        known = self.policy.cameras
        listed = [camera.strip() for camera in cameras.split(",") if camera.strip()]
        used = [camera for camera in listed if camera in known]
        if not used:
            raise LatentPolicyError(f"{name}: cameras: the policy knows {', '.join(known)}; got {', '.join(listed) or 'none'}")
        additional = parse_streams(f"{name}: streams", streams)
        offset = float("inf") if self.simulated_time else self.value("clock_offset")  # simulation time is one clock, received late
        tolerances = Tolerances(self.value("max_age"), self.value("camera_skew"), self.value("state_skew"), offset)
        values = {stream: modality.tolerance or tolerances.state_skew for stream, (modality, _) in additional.items()}
        buffer = ObservationBuffer(
            used,
            embodiment,
            (),
            self.policy.dt,
            self.policy.observation_steps,
            self.policy.settings.resize,
            tolerances,
            values=values,
            task=self.value("task"),
        )
        prefix = robot_prefix(name, self.value(ROBOT_NAMESPACES))
        inputs = {}
        for camera in used:
            topic, image_type = f"{prefix}{camera}/image_raw", Image
            if images == "compressed":
                topic, image_type = f"{topic}/compressed", CompressedImage
            inputs[camera] = self.filter(image_type, topic, qos.IMAGES, awaited=True)
        inputs[JOINTS] = self.filter(JointState, f"{prefix}joint_states", qos.STATES)
        inputs[WRIST] = self.filter(PoseStamped, f"{prefix}wrist_pose", qos.STATES)
        for stream, (_, msg_type) in additional.items():
            inputs[stream] = self.filter(message_conversion.message_class(msg_type), f"{prefix}{stream}", qos.STATES)
        modalities = {stream: modality for stream, (modality, _) in additional.items()}
        robot = RobotChannel(name, embodiment, ObservationSynchronizer(inputs, buffer, self.now, modalities))
        robot.output = self.publisher(LatentAction, f"{prefix}latent_action", qos.LATENTS)
        return robot

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
