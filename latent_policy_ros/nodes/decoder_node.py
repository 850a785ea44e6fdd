"""decoder_node: decodes latent action chunks to commands of one robot."""

from __future__ import annotations

import sys
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.source_monitor import SourceMonitor
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.observations.messages import to_seconds
from latent_policy_ros.policy import ActionChunk, RobotDecoder

OUT_OF_DISTRIBUTION = "out-of-distribution latents"


class Decoder(ManagedNode):
    """Subscribes to ``latent_action``; publishes ``hand_command`` or ``gripper_command``, and ``wrist_command``.

    The stamp of a command is that of the newest observation it is based on, so that the latency from camera to command can be
    measured. ``time_from_start`` of a joint command is the time after that stamp at which its positions are to be reached. When
    chunks become stale, the node commands both drivers once to hold the measured pose (a trajectory without points; for the arm on
    ``arm_command``), and publishes nothing until a fresh chunk arrives.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("decoder", rate=50.0, **node_options)
        self.declare("embodiment", "", "End-effector of the robot: a name under config/embodiments, or a YAML file.")
        self.declare("latent", "default", "Latent space: a folder, or a name under config/latents.")
        self.declare("rate", 50.0, "Command rate [Hz].", 10.0, 500.0)
        self.declare("max_age", 0.5, "Maximum age of the observation of a chunk [s]; older chunks are stale.", 0.05, 2.0)
        self.declare("silence", 0.2, "Time without a new chunk after which the measured pose is held [s].", 0.05, 2.0)
        self.declare("blend", 0.2, "Time in which a new chunk replaces the previous ones [s]; 0 replaces them at once.", 0.0, 2.0)
        self.declare("alarm", 1.5, "Out-of-distribution distance that is reported; 0.1% of good latents exceed 1.", 0.1, 1e3)
        self.declare("base_frame", "panda_link0", "Frame of wrist poses: the arm's base.")

    def configure(self) -> None:
        self.embodiment = load_embodiment(self.value("embodiment"))
        kind = self.embodiment.command
        if kind is None:
            raise LatentPolicyError(f"{self.embodiment.name} is not a robot's end-effector: it has no commands")
        self.rate, self.frame = self.value("rate"), self.value("base_frame")
        space = LatentSpace.load(artifact("latents", self.value("latent")))
        self.decoder = RobotDecoder(space, self.embodiment, self.value("max_age"), self.value("blend"), self.value("silence"))
        self.following, self.distance = False, 0.0
        self.meter, self.latency, self.chunk_age = RateMeter(), Percentiles(), Percentiles()
        self._observed = 0.0
        self._joint_commands = self.publisher(JointTrajectory, f"{kind}_command", qos.COMMANDS)
        self._wrist_commands = self.publisher(PoseStamped, "wrist_command", qos.COMMANDS)
        self._arm_commands = self.publisher(JointTrajectory, "arm_command", qos.COMMANDS)
        self.subscribe(LatentAction, "latent_action", self._on_chunk, qos.LATENTS)
        self._sources = SourceMonitor(self, ("latent_action",))

    def activate(self) -> None:
        self.decoder.reset()
        self.following = False

    def deactivate(self) -> None:
        self._hold()

    def _on_chunk(self, message: LatentAction) -> None:
        if not self.active or self._sources.conflict:
            return
        now = self.now()
        chunk = ActionChunk.from_message(message)
        self.decoder.accept(chunk, now, time.monotonic())
        self._check_distribution(chunk)
        self.chunk_age.add(now - to_seconds(message.header.stamp))
        self.tick(now)  # publish the first command without delay

    def _check_distribution(self, chunk: ActionChunk) -> None:
        """Report out-of-distribution latents. They are executed within the limits of the command guard."""
        if self.decoder.latent_space.ood_detector is None:
            return
        self.distance = float(self.decoder.latent_space.distance(chunk.latents).max())
        if self.distance > self.value("alarm"):
            self.count(OUT_OF_DISTRIBUTION, f"distance {self.distance:.2f}")

    def tick(self, now: float) -> None:
        conflict = self._sources.update(time.monotonic())
        command = None if conflict else self.decoder.command(now, time.monotonic())
        if command is None:
            if self.following:
                self.count("held" if conflict else "stale chunks: holding", conflict)
            self._hold()
            return
        self.following = True
        reach_in = now + 1.0 / self.rate - command.observed
        self._joint_commands.publish(message_conversion.command(command.observed, reach_in, self.embodiment.joint_names, command.q))
        self._wrist_commands.publish(message_conversion.pose_stamped(command.observed, self.frame, command.wrist_pose))
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
            return WARN, f"{self._sources.conflict or 'no fresh chunk'}: holding", values
        return (WARN, OUT_OF_DISTRIBUTION, values) if self.distance > self.value("alarm") else (OK, "decoding", values)


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros decoder_node``."""
    return run_node(Decoder)


if __name__ == "__main__":
    sys.exit(main())
