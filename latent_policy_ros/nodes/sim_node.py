"""Node that simulates one robot at a table in real time."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from latent_policy_ros.bringup.fleet import MAX_SEED
from latent_policy_ros.common.cpu_meter import CpuMeter
from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.control.arm_description import PANDA
from latent_policy_ros.msg import EpisodeEvent
from latent_policy_ros.nodes.base.lifecycle_node import OK, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import RateMeter
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.camera_publisher import CameraPublisher
from latent_policy_ros.sim.driver_bus import SimulatedRobot, SimulationClock
from latent_policy_ros.sim.scene import MAX_IMAGE_SIZE
from latent_policy_ros.sim.tasks.registry import DEFAULT_TASK
from latent_policy_ros.sim.world import World

RATE = 50.0  # Hz, at least, at which the world advances
OVERVIEW, OVERVIEW_CAMERA = "overview", "front"
OVERVIEW_RATE = 5.0  # Hz
OVERVIEW_SHARE = 0.05  # largest share of the time spent on the overview, which is for people: a slow machine serves the policy
OVERVIEW_PERIOD = 0.9  # longest time between two overviews [s]: a recorder refuses to begin while a topic is silent for 1 s
SUCCESS_RATE = 20.0  # Hz, at which success is checked
SUCCESS_TIME = 0.3  # time for which the task must be done before success is published [s]


class Sim(ManagedNode):
    """Simulator of one robot: serves its joints to the driver nodes, and publishes its cameras' images with ``camera_info``.

    The service ``~/reset`` starts an episode with the seed in parameter ``seed`` and increments the parameter. The topic
    ``robot_event`` reports the start of episodes and success.

    Without ``use_sim_time`` the simulation follows the system clock. With it, it follows ``/clock``, or, with ``publish_clock``,
    publishes simulation time there: from 0, in real time, and slower where the machine is too slow.
    """

    needs_clock = False

    def __init__(self, **node_options: Any) -> None:
        super().__init__("sim", rate=RATE, **node_options)
        self.declare("embodiment", "", "End-effector: a name under config/embodiments, or a YAML file.")
        self.declare("arm", PANDA, "Arm: a name under config/arms, or a YAML file.")
        self.declare("task", DEFAULT_TASK, "Simulated task, e.g. cube_in_box; `latent-policy eval --help` lists them.")
        self.declare("cameras", [""], "Cameras to publish; empty: all cameras of the robot.")
        self.declare("camera_rate", 20.0, "Rate of each camera [Hz].", 1.0, 60.0)
        self.declare("compressed", False, "Also publish image_raw/compressed (JPEG).")
        self.declare("image_size", 96, "Width and height of the cameras' images [pixels].", 16, MAX_IMAGE_SIZE)
        self.declare("overview", False, "Also publish a larger image of the scene on overview/image_raw.")
        self.declare("overview_size", 320, "Width and height of the overview [pixels].", 16, MAX_IMAGE_SIZE)
        self.declare("socket_path", "", "Path of the socket that the driver nodes connect to; required.")
        self.declare("publish_clock", False, "Publish simulation time on /clock; needs use_sim_time. Only one node may do so.")
        self.declare("tf", False, "Publish the frames of the cameras, in those of the arm's links.")
        self.declare("seed", 0, "Seed of the next episode: layout of the scene and start pose.", 0, MAX_SEED, read_only=False)
        self.robot: SimulatedRobot | None = None

    def configure(self) -> None:
        cameras = tuple(camera for camera in self.value("cameras") if camera)
        self.rate = self.value("camera_rate") * math.ceil(RATE / self.value("camera_rate"))  # for images at equal intervals
        self.world = World(
            self.value("embodiment"),
            self.value("task"),
            self.value("arm"),
            cameras=cameras or None,
            image_size=self.value("image_size"),
        )
        self.physics_time, self.image_time = CpuMeter(), CpuMeter()
        names = [*self.world.cameras, *([OVERVIEW] if self.value("overview") else [])]
        self._cameras = {name: CameraPublisher(self, name, self.value("compressed")) for name in names}
        #: The simulated camera that a published one shows, and the size of its images.
        self._views = dict.fromkeys(names, (OVERVIEW_CAMERA, self.value("overview_size")))
        self._views |= {name: (name, self.value("image_size")) for name in self.world.cameras}
        self._frames = None
        if self.value("tf"):
            self._tf_message = message_conversion.message_class("tf2_msgs/msg/TFMessage")
            self._frames = self.publisher(self._tf_message, "/tf_static", qos.STATE_CHANGES)
        self._events = self.publisher(EpisodeEvent, "robot_event", qos.EVENTS)
        self.serve(Trigger, "~/reset", self._on_reset)
        if not self.value("socket_path"):
            raise LatentPolicyError("parameter socket_path: expected the path of a socket, got an empty string")
        for name in names:
            self._image(name)  # the first image is slow: render it before drivers connect
        self._clock_output = None
        if self.value("publish_clock"):
            if not self.simulated_time:
                raise LatentPolicyError("parameter publish_clock: needs use_sim_time true, got false")
            self._clock_output = self.publisher(Clock, "/clock", qos.CLOCK)
        clock = SimulationClock() if self._clock_output else self.now if self.simulated_time else time.time
        self.robot = SimulatedRobot(self.world, self.value("socket_path"), clock, self.physics_time)
        self.meters = {name: RateMeter() for name in names}
        self._episode = 0
        self._reset()

    def activate(self) -> None:
        self._publish_frames()
        self._due = dict.fromkeys(("cameras", OVERVIEW, "success"), 0.0)

    def cleanup(self) -> None:
        if self.robot is not None:
            self.robot.close()
            self.robot = None

    def tick(self, now: float) -> None:
        """Advance the world to the present, and publish images and success when due."""
        self.robot.advance()
        if self._clock_output:
            self._clock_output.publish(Clock(clock=message_conversion.to_stamp(self.robot.time)))
        self._publish_images()
        self._check_success()

    def _publish_images(self) -> None:
        """Publish the cameras, all at the same time, or the overview; never both in one cycle, to keep the cycle short."""
        if self._is_due("cameras", self.value("camera_rate")):
            self._publish(self.world.cameras)
        elif self.value("overview") and self._is_due(OVERVIEW, OVERVIEW_RATE):
            start = time.monotonic()
            self._publish((OVERVIEW,))
            duration = time.monotonic() - start
            self._due[OVERVIEW] = max(self._due[OVERVIEW], start + min(duration / OVERVIEW_SHARE, OVERVIEW_PERIOD))

    def _is_due(self, what: str, rate: float) -> bool:
        """Whether ``what`` is due now; if so, schedule the next one: half a cycle early, as cycles come early or late."""
        now = time.monotonic()
        if now < self._due[what]:
            return False
        due = self._due[what] if now - self._due[what] < 1.0 / rate else now - 0.5 / self.rate
        self._due[what] = due + 1.0 / rate
        return True

    def _publish(self, names: Sequence[str]) -> None:
        stamp = self.robot.time if self.simulated_time else self.now()
        for name, pixels in [(name, self._image(name)) for name in names]:
            self._cameras[name].publish(stamp, pixels, partial(self.world.calibration, *self._views[name]))
            self.meters[name].tick(time.monotonic())

    def _image(self, name: str) -> np.ndarray:
        with self.image_time:
            return self.world.render(*self._views[name])

    def _check_success(self) -> None:
        """Publish success, once in an episode, when the task has been done for :data:`SUCCESS_TIME`."""
        if self._succeeded or not self._is_due("success", SUCCESS_RATE):
            return
        if not self.world.success():
            self._done_since = None
            return
        self._done_since = self._done_since or self.world.time
        if self.world.time - self._done_since >= SUCCESS_TIME:
            self._succeeded = True
            self._event(EpisodeEvent.SUCCESS, f"after {self.world.time:.1f} s")

    def _reset(self) -> int:
        seed = self.value("seed")
        self.robot.reset(seed)
        self._seed, self._succeeded, self._done_since = seed, False, None
        self._episode += 1
        return seed

    def _publish_frames(self) -> None:
        """Publish the poses of the cameras, which differ a little in each episode."""
        if self._frames is None:
            return
        stamp, found = self.robot.time if self.simulated_time else self.now(), []
        for name, camera in self._cameras.items():
            link, pose = self.world.camera_pose(self._views[name][0])
            found.append(message_conversion.transform_stamped(stamp, self.frame(f"~/{link}"), camera.frame, pose))
        self._frames.publish(self._tf_message(transforms=found))

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        seed = self._reset()
        self._publish_frames()
        self.set_parameters([Parameter("seed", value=(seed + 1) % (MAX_SEED + 1))])
        self._event(EpisodeEvent.BEGIN, "reset")
        response.success, response.message = True, f"seed {seed}"
        return response

    def _event(self, event: str, detail: str) -> None:
        message = EpisodeEvent(
            event=event, task=self.world.task.text, episode=self._episode, seed=self._seed, success=self._succeeded, detail=detail
        )
        message.header.stamp = message_conversion.to_stamp(self.robot.time if self.simulated_time else self.now())
        self._events.publish(message)

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        now = time.monotonic()
        rates = {f"{name}/rate_hz": f"{meter.rate(now):.1f}" for name, meter in self.meters.items()}
        times = {"physics_cpu_s": f"{self.physics_time.seconds:.3f}", "images_cpu_s": f"{self.image_time.seconds:.3f}"}
        values = {**rates, **times, "seed": str(self._seed), "time_s": f"{self.world.time:.1f}"}
        return OK, "task done" if self._succeeded else "running", values


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros sim_node``."""
    return run_node(Sim, images=True)


if __name__ == "__main__":
    sys.exit(main())
