"""Node: teleoperation of robots by a human hand, in place of a policy."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.bringup.fleet import LATENT, MODES
from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.data.hand_recordings import FORMATS, HandPlayer, read_hand_recording
from latent_policy_ros.drivers.cameras.camera import Camera
from latent_policy_ros.drivers.cameras.hand_camera import HandCamera, mediapipe_detector
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.embodiments.human.hand_input import HandInput
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import to_hand_frame
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_node
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.nodes.topics import message_conversion, qos
from latent_policy_ros.nodes.topics.latent_actions import LatentActions
from latent_policy_ros.nodes.topics.robot_topics import ROBOT_NAMESPACES, ROBOT_NAMESPACES_HELP, robot_prefix
from latent_policy_ros.observations.joint_matcher import JointMatcher
from latent_policy_ros.observations.messages import pose_array, stamp_of
from latent_policy_ros.observations.modalities import message_types, modality_for
from latent_policy_ros.policy.teleoperation import HandToRobot, NotReady, encode_hand

KEYPOINTS_TYPES = message_types("keypoints")
RATE = 100.0  # Hz of the staleness check and of recordings
ROBOT_TIMEOUT = 20.0  # s to wait for the robots before a recording is played
MAX_STATE_AGE = 0.5  # s: older measured joints and wrist poses are not used


class DrivenRobot:
    """State and output of one driven robot.

    Args:
        namespace: Namespace of the robot.
        embodiment: Its end-effector.
        follower: Maps the hand to the robot's latents or joints.

    Attributes:
        waiting: Reason why the robot is not driven; empty while it is.
        output: Publisher of its action chunks or joint commands.
        wrist_frame: Frame of the newest wrist pose.
    """

    def __init__(self, namespace: str, embodiment: Embodiment, follower: HandToRobot) -> None:
        self.namespace, self.embodiment, self.follower = namespace, embodiment, follower
        self.waiting = "no keypoints yet"
        self.output: Any = None
        self.wrist_frame, self.latent_actions = "", LatentActions()
        self._matcher = JointMatcher(embodiment.joint_names)
        self._joints: tuple[float, np.ndarray] | None = None
        self._wrist: tuple[float, np.ndarray] | None = None

    def on_joints(self, message: JointState) -> None:
        joints = self._matcher.match(message.name, message.position)
        if joints is not None:  # None for the arm's joints, which share the topic
            self._joints = time.monotonic(), joints

    def on_wrist(self, message: PoseStamped) -> None:
        pose = pose_array(message.pose)
        if not np.isfinite(pose).all():
            raise LatentPolicyError("wrist pose is not finite")
        self._wrist, self.wrist_frame = (time.monotonic(), pose), message.header.frame_id

    def ready(self, needs_wrist: bool) -> bool:
        """Whether the robot's state is known and something subscribes to its output."""
        measured = self.joints is not None and (self.wrist is not None or not needs_wrist)
        return measured and self.output.get_subscription_count() > 0

    @property
    def joints(self) -> np.ndarray | None:
        """Measured joints (n,) [rad or m]; None if older than ``MAX_STATE_AGE``."""
        return _fresh(self._joints)

    @property
    def wrist(self) -> np.ndarray | None:
        """Measured wrist pose (7,) in the arm's base frame; None if older than ``MAX_STATE_AGE``."""
        return _fresh(self._wrist)


class HumanHandNode(ManagedNode):
    """Drives robots with the keypoints of a human hand, from the topic ``keypoints``, a recording or a webcam.

    In mode ``latent`` the node encodes the hand once and publishes the latent to the decoder of every robot; the arm holds
    its measured wrist pose. In mode ``direct`` it retargets the hand to the joints of every robot and publishes joint
    commands; the arm gets no commands. In both modes the driver's guard filters the commands. When keypoints become stale
    or are refused, the node publishes nothing more and the robots hold their measured pose.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("human_hand", rate=RATE, **node_options)
        self.declare("robots", [""], "Names of the robots to drive.")
        self.declare(ROBOT_NAMESPACES, True, ROBOT_NAMESPACES_HELP)
        self.declare("embodiments", [""], "End-effector of each robot: a name in config/embodiments, or a YAML file.")
        self.declare("mode", LATENT, "latent: through the latent space and the decoders; direct: by retargeting.")
        self.declare("latent", "default", "Latent space of mode latent: a folder, or a name in config/latents.")
        self.declare("side", "auto", "Side of the hand that the keypoints show: left, right, or auto.")
        self.declare("layout", "auto", "Order of the keypoints: auto, mediapipe, mano, manus, webxr or openxr.")
        self.declare("units", "m", "Unit of the keypoints: m, cm or mm.")
        self.declare(
            "keypoints_type", "geometry_msgs/msg/PoseArray", f"Message type of the topic keypoints: {', '.join(KEYPOINTS_TYPES)}."
        )
        self.declare("file", "", f"Hand recording to play instead of the topic: {FORMATS}.")
        self.declare("entry", "", "Array, topic or hand in the recording; needed if it holds several.")
        self.declare("webcam", "", "Camera that shows the hand, instead of the topic: a device (0), a URL, or a video file.")
        self.declare("hand_model", "", "Path of MediaPipe's hand_landmarker.task, for the webcam.")
        self.declare("speed", 1.0, "Playback speed of the recording, as a factor.", 0.05, 20.0)
        self.declare("loop", False, "Repeat the recording.")
        self.declare("keypoint_timeout", 0.2, "The robots hold when no valid keypoints arrived for this long [s].", 0.02, 1.0)
        self.declare("frozen_after", 1.0, "Identical keypoints for this long [s] mean a stuck device and are refused.", 0.1, 1e6)
        self.declare("transition_time", 0.5, "Time of the transition from a robot's own pose to the hand's [s].", 0.0, 5.0)
        self.robots: dict[str, DrivenRobot] = {}

    def configure(self) -> None:
        """Load the embodiments, the latent space and the recording; create publishers and subscriptions."""
        if self.value("mode") not in MODES:
            raise LatentPolicyError(f"parameter mode: got {self.value('mode')!r}; {available(MODES)}")
        self.latent_mode = self.value("mode") == LATENT
        self.space = LatentSpace.load(artifact("latents", self.value("latent"))) if self.latent_mode else None
        self.keypoint_timeout = self.value("keypoint_timeout")
        self.player, self.webcam, side = None, None, self.value("side")
        if self.value("webcam"):
            if self.value("file"):
                raise LatentPolicyError(f"parameters file and webcam: got both, {self.value('file')} and {self.value('webcam')}")
            self.webcam = HandCamera(Camera(self.value("webcam")), mediapipe_detector(self.value("hand_model")))
        if self.value("file"):
            recording = read_hand_recording(self.value("file"), self.value("entry"))
            hands = recording.hands(self.value("layout"), self.value("units"), side)
            side = hands.side  # decided from all frames
            self.player = HandPlayer(recording, self.value("speed"), self.value("loop"))
            self.get_logger().info(f"playing {recording.file}: {hands.valid.sum()} of {len(hands.valid)} frames show a {side} "
                                   f"hand; {hands.size.text()}")  # fmt: skip
        self.hand = HandInput(self.value("layout"), self.value("units"), side, self.value("frozen_after"))
        names, embodiments = ([v for v in self.value(key) if v] for key in ("robots", "embodiments"))
        if not names or len(names) != len(embodiments):
            raise LatentPolicyError(f"parameters robots and embodiments must have one entry for each robot; "
                                    f"got {names} and {embodiments}")  # fmt: skip
        for name, embodiment in zip(names, embodiments):
            self.robots[name] = self._robot(name, load_embodiment(embodiment))
        self._warm_up()
        self.meter, self.latency = RateMeter(), Percentiles()
        self._last_valid = -np.inf  # time of the newest valid keypoints, monotonic
        self._reason = "no keypoints yet"
        if self.player is None and self.webcam is None:
            kind = self.value("keypoints_type")
            if (modality := modality_for("keypoints", kind)) is None:
                raise LatentPolicyError(f"parameter keypoints_type: got {kind!r}; {available(KEYPOINTS_TYPES)}")
            self._read_points = modality.read
            self.subscribe(message_conversion.message_class(kind), "keypoints", self._on_keypoints, qos.IMAGES)

    def cleanup(self) -> None:
        self.robots.clear()
        if self.webcam is not None:
            self.webcam.stop()

    def activate(self) -> None:
        """Start with the next keypoints, or play the recording once all robots are ready."""
        self.hand.reset()
        self._playback_start: float | None = None
        self._playback_deadline = time.monotonic() + ROBOT_TIMEOUT
        if self.webcam is not None:
            self.webcam.start()

    def deactivate(self) -> None:
        """Let the robots hold their measured pose."""
        if self.webcam is not None:
            self.webcam.stop()
        self._release("inactive")

    def tick(self, now: float) -> None:
        if self.player is not None:
            self._play(now)
        if self.webcam is not None:
            self._watch(self.webcam)
        if time.monotonic() - self._last_valid > self.keypoint_timeout and any(r.follower.following for r in self.robots.values()):
            self.count("keypoints are stale: holding", self._reason)
            self._release(self._reason or f"no keypoints for {self.keypoint_timeout:g} s")

    def _play(self, now: float) -> None:
        if self._playback_start is None:
            ready = all(robot.ready(needs_wrist=self.latent_mode) for robot in self.robots.values())
            if not ready and time.monotonic() < self._playback_deadline:
                return
            self._playback_start = time.monotonic()
        elapsed = time.monotonic() - self._playback_start
        points = self.player.frame(elapsed)
        if points is not None:
            self._drive_robots(points, now)
        elif self.player.finished(elapsed):
            self._release("the recording has ended")

    def _watch(self, webcam: HandCamera) -> None:
        """Drive the robots with the hand in the newest image of the webcam."""
        found = webcam.take()
        if found is None:
            self._reason = webcam.error or self._reason
        elif len(found[1]):
            self._drive_robots(found[1], found[0])
        else:
            self._reason = "no hand in the image"

    def _on_keypoints(self, message: Any) -> None:
        if not self.active:
            return
        now = self.now()
        stamp = stamp_of(message) or now  # a message without a stamp is of now
        if abs(now - stamp) > self.keypoint_timeout:
            self._reason = f"keypoints are stamped {now - stamp:.3f} s ago"
            raise LatentPolicyError(f"{self._reason}, expected {self.keypoint_timeout:g} s at most; synchronise the clocks")
        self._drive_robots(self._read_points(message), stamp)

    def _drive_robots(self, points: np.ndarray, stamp: float) -> None:
        """Publish chunks or commands of all robots for one frame of points (N, 3), in the device's frame and unit."""
        try:
            keypoints = self.hand.push(points, stamp)
        except LatentPolicyError as refused:
            self._reason = str(refused)
            self.count("keypoints refused", self._reason)
            return
        self._last_valid, self._reason = time.monotonic(), ""
        self.meter.tick(self._last_valid)
        latent = encode_hand(self.space, keypoints) if self.latent_mode else None
        for robot in self.robots.values():
            try:
                self._drive(robot, keypoints, latent, stamp)
                robot.waiting = ""
            except NotReady as reason:
                robot.waiting = str(reason)
            except LatentPolicyError as error:
                self.count(f"{robot.namespace}: failed", str(error))
        self.latency.add(self.now() - stamp)

    def _drive(self, robot: DrivenRobot, keypoints: np.ndarray, latent: np.ndarray | None, stamp: float) -> None:
        if latent is not None:
            chunk = robot.follower.chunk(latent, stamp, self.keypoint_timeout, robot.joints, robot.wrist)
            robot.output.publish(robot.latent_actions.serialise(chunk, robot.wrist_frame))
        else:
            q = robot.follower.joints(keypoints, stamp, robot.joints)
            robot.output.publish(message_conversion.command(stamp, self.now() - stamp, robot.embodiment.joint_names, q))

    def _release(self, reason: str) -> None:
        """Let the robots hold their measured pose."""
        for robot in self.robots.values():
            if robot.follower.following and not self.latent_mode:  # in mode latent the decoder commands the hold
                robot.output.publish(message_conversion.command(self.now(), 0.0, robot.embodiment.joint_names, None))
            robot.follower.release()
            robot.waiting = reason

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        values = {
            "mode": self.value("mode"),
            "hand": self.hand.side or "side not known yet",
            "layout": self.hand.layout,
            "size": self.hand.size.text() if self.hand.size else "not measured yet",
            "rate_hz": f"{self.meter.rate(time.monotonic()):.1f}",
            "keypoints_to_output": self.latency.text_ms(),
        }
        waiting = {name: robot.waiting for name, robot in self.robots.items() if robot.waiting}
        values |= {f"{name}/waiting": reason for name, reason in waiting.items()}
        if self._reason:
            return WARN, f"holding: {self._reason}", values
        if waiting:
            return WARN, "holding: " + "; ".join(f"{name}: {reason}" for name, reason in waiting.items()), values
        return (WARN, self.hand.side_warning, values) if self.hand.side_warning else (OK, "driving", values)

    def _robot(self, name: str, embodiment: Embodiment) -> DrivenRobot:
        if embodiment.command is None:
            raise LatentPolicyError(f"{name}: embodiment {embodiment.name} has no joints to command")
        robot = DrivenRobot(name, embodiment, HandToRobot(embodiment, self.space, self.value("transition_time")))
        prefix = robot_prefix(name, self.value(ROBOT_NAMESPACES))
        if self.latent_mode:
            robot.output = self.publisher(LatentAction, f"{prefix}latent_action", qos.LATENTS)
            self.subscribe(PoseStamped, f"{prefix}wrist_pose", robot.on_wrist, qos.STATES)
        else:
            commands = qos.offered_commands(qos.COMMAND_DEADLINE)
            robot.output = self.publisher(JointTrajectory, f"{prefix}{embodiment.command}_command", commands)
        self.subscribe(JointState, f"{prefix}joint_states", robot.on_joints, qos.STATES)
        return robot

    def _warm_up(self) -> None:
        """Run the pipeline once with a synthetic hand: the first calls are slow."""
        for keypoints in HumanHand().keypoints(np.linspace(0.0, 0.5, 5)[:, None] * np.ones(21)):
            hand = to_hand_frame(keypoints)
            for robot in self.robots.values():
                rest, now = robot.embodiment.rest, time.monotonic()
                if self.latent_mode:
                    robot.follower.chunk(encode_hand(self.space, hand), now, 1.0, rest, np.zeros(7))
                else:
                    robot.follower.joints(hand, now, rest)
        for robot in self.robots.values():
            robot.follower.release()


def _fresh(measured: tuple[float, np.ndarray] | None) -> np.ndarray | None:
    return measured[1] if measured is not None and time.monotonic() - measured[0] < MAX_STATE_AGE else None


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros human_hand_node``."""
    return run_node(HumanHandNode)


if __name__ == "__main__":
    sys.exit(main())
