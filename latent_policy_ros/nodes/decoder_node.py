"""decoder_node: decodes latent action chunks to commands of one robot."""

from __future__ import annotations

import sys
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.control.joint_controller import COMMAND_LEAD
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.latent_actions import LatentActions
from latent_policy_ros.nodes.topics.message_template import command_template, pose_stamped_template, serialised_text
from latent_policy_ros.nodes.topics.source_monitor import SourceMonitor
from latent_policy_ros.observations.liveness import Liveness
from latent_policy_ros.policy import ActionChunk, RobotDecoder

OUT_OF_DISTRIBUTION = "out-of-distribution latents"


class Decoder(ManagedNode):
    """Subscribes to ``latent_action``; publishes ``hand_command`` or ``gripper_command``, and ``wrist_command``.

    The stamp of a command is that of the newest observation it is based on, so that the latency from camera to command can be
    measured. ``time_from_start`` of a joint command is the time after that stamp at which its positions are to be reached: 1.5
    periods of the commands from now. When chunks become stale, or one of the robot's two drivers no longer publishes its
    measurements, the node commands both drivers once to hold the measured pose (a trajectory without points; for the arm on
    ``arm_command``), and publishes nothing until a fresh chunk arrives.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("decoder", rate=50.0, **node_options)
        self.declare("embodiment", "", "End-effector of the robot: a name under config/embodiments, or a YAML file.")
        self.declare("latent", "default", "Latent space: a folder, or a name under config/latents.")
        self.declare("rate", 50.0, "Command rate [Hz].", 10.0, 500.0)
        self.declare("max_age", 0.5, "Maximum age of the observation of a chunk [s]; older chunks are stale.", 0.05, 2.0)
        self.declare("silence", 0.2, "Time without a new chunk after which the measured pose is held [s].", 0.05, 2.0)
        self.declare(
            "driver_silence", 0.15,
            "Time without a measurement of one of the robot's drivers after which both hold [s]; three periods of a slower driver.",
            0.02, 2.0,
        )  # fmt: skip
        self.declare("blend", 0.2, "Time in which a new chunk replaces the previous ones [s]; 0 replaces them at once.", 0.0, 2.0)
        self.declare("alarm", 1.5, "Out-of-distribution distance that is reported; 0.1% of good latents exceed 1.", 0.1, 1e3)
        self.declare(
            "deadline", qos.COMMAND_DEADLINE,
            "Longest time between two commands that their publishers offer [s]; with 0 none, which costs less: with one, Fast DDS "
            "awakens a thread for every command.",
            0.0, 2.0,
        )  # fmt: skip
        self.declare(
            "base_frame",
            "panda_link0",
            "Frame of wrist poses, of chunks and of commands: the arm's base; ~/ stands for the node's namespace.",
        )

    def configure(self) -> None:
        self.embodiment = load_embodiment(self.value("embodiment"))
        kind = self.embodiment.command
        if kind is None:
            raise LatentPolicyError(f"{self.embodiment.name} is not a robot's end-effector: it has no commands")
        self.rate, self.frame_id = self.value("rate"), self.frame(self.value("base_frame"))
        self.poll_period = 1.0 / self.rate  # measurements count in the next cycle
        space = LatentSpace.load(artifact("latents", self.value("latent")))
        self.decoder = RobotDecoder(space, self.embodiment, self.value("max_age"), self.value("blend"), self.value("silence"))
        self.following, self.distance = False, 0.0
        self.meter, self.latency, self.chunk_age = RateMeter(), Percentiles(), Percentiles()
        self._observed = 0.0
        commands = qos.offered_commands(self.value("deadline"))
        self._joint_commands = self.publisher(JointTrajectory, f"{kind}_command", commands)
        self._wrist_commands = self.publisher(PoseStamped, "wrist_command", commands)
        self._arm_commands = self.publisher(JointTrajectory, "arm_command", commands)
        names = self.embodiment.joint_names
        self._joint_command, self._wrist_command = command_template(names), pose_stamped_template(self.frame_id)
        # In simulation time the executor, which receives the clock, must not wait for chunks.
        awaited = not self.simulated_time
        self._latent_actions = LatentActions()
        usual = self._latent_actions.read, self._follow
        chunks = self.subscribe(LatentAction, "latent_action", self._on_chunk, qos.LATENTS, awaited=awaited, usual=usual)
        self._sources = SourceMonitor(self, ("latent_action",), 1, [chunks])
        # Of the drivers' messages only the arrival counts: a short queue, and no deserialisation.
        self._first_joint = serialised_text(names[0])
        self.subscribe(JointState, "joint_states", self._on_joints, qos.IMAGES, raw=True)
        self.subscribe(PoseStamped, "wrist_pose", self._on_wrist, qos.IMAGES, raw=True)
        self._drivers: dict[str, Liveness] = {}

    def activate(self) -> None:
        self.decoder.reset()
        silence = self.value("driver_silence")
        self._drivers = {"joint states of the end-effector": Liveness(silence), "wrist pose": Liveness(silence)}
        self.following = False

    def deactivate(self) -> None:
        self._hold()

    def _on_chunk(self, message: LatentAction) -> None:
        if self._follow(chunk := ActionChunk.from_message(message), message.header.frame_id):
            self._latent_actions.learn(chunk, message.header.frame_id)

    def _follow(self, chunk: ActionChunk, frame: str) -> bool:
        """Follow a chunk whose wrist poses are in ``frame``; false if chunks do not count now."""
        if not self.active or self._sources.conflict:
            return False
        now = self.now()
        if frame not in ("", self.frame_id):
            expected = f"expected {self.frame_id} (parameter base_frame), got {frame}"
            raise LatentPolicyError(f"header.frame_id, the frame of wrist poses: {expected}")
        self.decoder.accept(chunk, now, time.monotonic())
        self.tick(now)  # publish the first command without delay
        self._check_distribution(chunk)
        self.chunk_age.add(now - chunk.stamp)
        return True

    def _on_joints(self, data: bytes) -> None:
        if self.active and self._first_joint in data:
            self._drivers["joint states of the end-effector"].receive(time.monotonic())

    def _on_wrist(self, _: bytes) -> None:
        if self.active:
            self._drivers["wrist pose"].receive(time.monotonic())

    def _driver_silence(self) -> str:
        """The measurements that no longer arrive; an empty string if all do. A robot holds with all of its joints."""
        now = time.monotonic()
        silent = [f"no {name} for {seconds:.2f} s" for name, stream in self._drivers.items() if (seconds := stream.silence(now))]
        return ", ".join(silent)

    def _check_distribution(self, chunk: ActionChunk) -> None:
        """Report out-of-distribution latents. They are executed within the limits of the command guard."""
        if self.decoder.latent_space.ood_detector is None:
            return
        self.distance = float(self.decoder.latent_space.distance(chunk.latents).max())
        if self.distance > self.value("alarm"):
            self.count(OUT_OF_DISTRIBUTION, f"distance {self.distance:.2f}")

    def tick(self, now: float) -> None:
        obstacle = self._sources.update(time.monotonic()) or self._driver_silence()
        command = None if obstacle else self.decoder.command(now, time.monotonic())
        if command is None:
            was_following = self.following
            self._hold()
            if was_following:  # after the command, as writing a log may take 0.1 s on a busy disk
                self.count("held" if obstacle else "stale chunks: holding", obstacle)
            return
        self.following = True
        reach_in = now + COMMAND_LEAD / self.rate - command.observed
        self._joint_commands.publish(self._joint_command.serialise(command.observed, max(0.0, reach_in), command.q))
        self._wrist_commands.publish(self._wrist_command.serialise(command.observed, command.wrist_pose))
        self.meter.tick(time.monotonic())
        if command.observed != self._observed:
            self._observed = command.observed
            self.latency.add(self.now() - command.observed)

    def _hold(self) -> None:
        """Command the drivers once to hold the measured pose. Without further commands they keep holding."""
        if not self.following:
            return
        self.following = False
        now = self.now()
        self._joint_commands.publish(message_conversion.command(now, 0.0, self.embodiment.joint_names, None))
        self._arm_commands.publish(message_conversion.command(now, 0.0, (), None))

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        values = {
            "rate_hz": f"{self.meter.rate(time.monotonic()):.1f}",
            "observation_to_chunk": self.chunk_age.text_ms(),
            "observation_to_command": self.latency.text_ms(),
            "latent_distance": f"{self.distance:.2f}",
            "latent_id": self.decoder.latent_space.latent_id,
        }
        if not self.following:
            return WARN, f"{self._sources.conflict or self._driver_silence() or 'no fresh chunk'}: holding", values
        return (WARN, OUT_OF_DISTRIBUTION, values) if self.distance > self.value("alarm") else (OK, "decoding", values)


make_node = Decoder


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros decoder_node``."""
    return run_node(make_node)


if __name__ == "__main__":
    sys.exit(main())
