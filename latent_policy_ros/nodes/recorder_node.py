"""Node: records every episode of its robots as one MCAP bag."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.data.recording import EpisodeBag, bag_name, message_types
from latent_policy_ros.errors import LatentPolicyError
from latent_policy_ros.msg import EpisodeEvent, LatentAction
from latent_policy_ros.nodes import qos
from latent_policy_ros.nodes.managed import OK, ManagedNode
from latent_policy_ros.nodes.managed import main as run
from latent_policy_ros.paths import artifact


class Recorder(ManagedNode):
    """Starts and stops with ``episode_event`` (begin, end, discard) or the services ``~/start`` and ``~/stop``.

    Subscribes, for every robot, to its cameras, states, plans, commands and episode events, relative to the node's own
    namespace; messages are written as they come, without being decoded. The bag tells of itself: task, seed, outcome of
    each robot, hashes of policy and latent space, and the fleet's file.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("recorder", rate=5.0, **node_options)
        self.declare("robots", [""], "Namespaces of the robots.")
        self.declare("cameras", [""], "Cameras of each robot, separated by commas.")
        self.declare("folder", "runs/bags", "Folder for the bags.")
        self.declare("task", "", "The task in words; an episode's own begin event goes before.")
        self.declare("fleet", "", "The fleet's file, copied into the bag.")
        self.declare("policy", "", "Policy folder, whose hash goes into the bag.")
        self.declare("latent", "", "Latent space folder, whose hash goes into the bag.")
        self.bag: EpisodeBag | None = None
        self.last: Path | None = None

    def configure(self) -> None:
        message_types()
        self.folder = Path(self.value("folder")).expanduser()
        self.outcomes: dict[str, str] = {}
        robots = [name for name in self.value("robots") if name]
        cameras = list(self.value("cameras"))
        if not robots or len(cameras) != len(robots):
            raise LatentPolicyError(f"parameters robots and cameras must have one entry for each robot; got {robots}, {cameras}")
        for robot, listed in zip(robots, cameras):
            self._record_robot(robot, [camera.strip() for camera in listed.split(",") if camera.strip()])
        self._record(DiagnosticArray, "/diagnostics", True)
        self._record(EpisodeEvent, "episode_event", True)
        self.subscribe(EpisodeEvent, "episode_event", self._on_event, qos.EVENTS)
        self.serve(Trigger, "~/start", self._on_start)
        self.serve(Trigger, "~/stop", self._on_stop)

    def deactivate(self) -> None:
        self.stop()

    def start(self, information: dict[str, str]) -> Path:
        """Begin a bag; one that is open is finished first."""
        self.stop()
        self.outcomes = {}
        self.bag = EpisodeBag(self.folder, bag_name(), {**self._information(), **information})
        self.get_logger().info(f"recording {self.bag.path}")
        return self.bag.path

    def stop(self, information: dict[str, str] | None = None) -> Path | None:
        """Finish the open bag, if there is one; returns its folder."""
        if self.bag is None:
            return None
        bag, self.bag = self.bag, None
        outcomes = {"outcomes": json.dumps(self.outcomes)} if self.outcomes else {}
        self.last = bag.close({**outcomes, **(information or {})})
        self.report()
        self.get_logger().info(f"recorded {sum(bag.counts.values())} messages in {self.last}")
        return self.last

    def _record_robot(self, robot: str, cameras: list[str]) -> None:
        for camera in cameras:
            self._record(Image, f"{robot}/{camera}/image_raw", False)
            self._record(CompressedImage, f"{robot}/{camera}/image_raw/compressed", False)
        for name, kind, reliable in (
            ("joint_states", JointState, False),
            ("wrist_pose", PoseStamped, False),
            ("latent_action", LatentAction, True),
            ("hand_command", JointTrajectory, True),
            ("gripper_command", JointTrajectory, True),
            ("arm_command", JointTrajectory, True),
            ("wrist_command", PoseStamped, True),
            ("episode_event", EpisodeEvent, True),
        ):
            self._record(kind, f"{robot}/{name}", reliable)
        self.subscribe(EpisodeEvent, f"{robot}/episode_event", partial(self._on_robot_event, robot), qos.EVENTS)

    def _record(self, kind: type, topic: str, reliable: bool) -> None:
        full = self.resolve_topic_name(topic)
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"

        def write(data: bytes) -> None:
            if self.bag is not None:
                self.bag.write(full, name, reliable, time.time_ns(), data)

        self.subscribe(kind, topic, write, qos.RECORD_RELIABLE if reliable else qos.RECORD_BEST_EFFORT, raw=True)

    def _on_event(self, message: EpisodeEvent) -> None:
        if not self.active:
            return
        if message.event == EpisodeEvent.BEGIN:
            self.start({"task": message.task or self.value("task"), "seed": str(message.seed), "episode": str(message.episode)})
        elif message.event == EpisodeEvent.END:
            self.stop({"success": str(message.success).lower(), "detail": message.detail})
        elif message.event == EpisodeEvent.DISCARD and self.bag is not None:
            bag, self.bag = self.bag, None
            bag.discard()

    def _on_robot_event(self, robot: str, message: EpisodeEvent) -> None:
        if message.event in (EpisodeEvent.SUCCESS, EpisodeEvent.FAILURE):
            self.outcomes[robot] = message.event

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.active
        response.message = str(self.start({"task": self.value("task")})) if self.active else "the recorder is not active"
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        path = self.stop()
        response.success, response.message = path is not None, str(path or "nothing was being recorded")
        return response

    def _information(self) -> dict[str, str]:
        found = {"robots": ",".join(self.value("robots"))}
        for key, kind, file in (("policy", "policies", "policy.json"), ("latent", "latents", "latent.json")):
            if self.value(key):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    found[f"{key}_id"] = json.loads((artifact(kind, self.value(key)) / file).read_text())[f"{key}_id"]
        if self.value("fleet"):
            with contextlib.suppress(OSError):
                found["fleet"] = Path(self.value("fleet")).read_text(encoding="utf-8")
        return found

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        last = {"last_bag": str(self.last or "-")}
        if self.bag is None:
            return OK, "not recording", last
        return OK, "recording", {**last, "bag": str(self.bag.path), "messages": str(sum(self.bag.counts.values()))}


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros recorder_node``."""
    return run(Recorder)


if __name__ == "__main__":
    sys.exit(main())
