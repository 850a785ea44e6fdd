"""Node: a person's hand drives robots, in the place of a policy."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray, PoseStamped
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from latent_policy_ros.bringup.fleet import LATENT, MODES
from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.data.hand_recordings import HandPlayer, read_hand_recording
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.embodiments.human.hand_input import HandInput, canonical_hands
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import to_hand_frame
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.msg import LatentAction
from latent_policy_ros.nodes.base import message_conversion, qos
from latent_policy_ros.nodes.base.lifecycle_node import OK, WARN, ManagedNode
from latent_policy_ros.nodes.base.lifecycle_node import main as run
from latent_policy_ros.nodes.base.statistics import Percentiles, RateMeter
from latent_policy_ros.observations.joint_matcher import JointMatcher
from latent_policy_ros.observations.messages import pose_array, to_seconds
from latent_policy_ros.policy.teleoperation import HandToRobot, NotReady, encode_hand

RATE = 100.0  # turns per second [Hz]: for staleness, and for recordings
PATIENCE = 20.0  # s that a recording waits for its robots
STATE_AGE = 0.5  # s: measured joints and wrist poses older than this are not known


class DrivenRobot:
    """One robot as this node sees it: what was measured of it, and where its plans or commands go."""

    def __init__(self, namespace: str, embodiment: Embodiment, follower: HandToRobot) -> None:
        self.namespace, self.embodiment, self.follower = namespace, embodiment, follower
        self.waiting = "no keypoints yet"
        self.output = None  # its publisher
        self._matcher = JointMatcher(embodiment.joint_names)
        self._joints: tuple[float, np.ndarray] | None = None
        self._wrist: tuple[float, np.ndarray] | None = None

    def on_joints(self, message: JointState) -> None:
        joints = self._matcher.match(message.name, message.position)
        if joints is not None:  # the arm's come on the same topic
            self._joints = time.monotonic(), joints

    def on_wrist(self, message: PoseStamped) -> None:
        pose = pose_array(message.pose)
        if not np.isfinite(pose).all():
            raise LatentPolicyError("wrist pose not finite")
        self._wrist = time.monotonic(), pose

    def ready(self, wrist: bool) -> bool:
        """Whether it is measured, its wrist too if that is wanted, and listens."""
        measured = self.joints is not None and (self.wrist is not None or not wrist)
        return measured and self.output.get_subscription_count() > 0

    @property
    def joints(self) -> np.ndarray | None:
        """Measured joints (n,); None if they are old."""
        return _fresh(self._joints)

    @property
    def wrist(self) -> np.ndarray | None:
        """Measured wrist pose (7,); None if it is old."""
        return _fresh(self._wrist)


class HumanHandNode(ManagedNode):
    """Subscribes to ``keypoints`` (geometry_msgs/PoseArray; only positions count), or plays a recorded file.

    Mode ``latent``: the person's hand is encoded once, and every robot's own decoder makes its commands of it
    (``<robot>/latent_action``); the arm holds the wrist where it was measured. Mode ``direct``: each robot's joints are
    found by retargeting (``<robot>/hand_command`` or ``gripper_command``); its arm gets no commands. In both modes the
    driver's guard has the last word. When keypoints go stale or are refused, nothing is sent: the robots hold.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("human_hand", rate=RATE, **node_options)
        self.declare("robots", [""], "Namespaces of the robots to drive.")
        self.declare("embodiments", [""], "End-effector of each robot: a name under config/embodiments, or a YAML file.")
        self.declare("mode", LATENT, "latent: through encoder and decoders; direct: by retargeting.")
        self.declare("latent", "default", "Latent space, for mode latent: a folder, or a name under config/latents.")
        self.declare("side", "auto", "Which hand the keypoints show: left, right, or auto: told by how it bends.")
        self.declare("layout", "auto", "Order of the keypoints: auto, mediapipe, mano, manus, webxr or openxr.")
        self.declare("units", "m", "Of the keypoints: m, cm or mm.")
        self.declare("file", "", "A recording to play instead: .npz, .npy, .csv, .mcap, .db3 or a rosbag2 folder.")
        self.declare("entry", "", "Which array or topic of that file, where it has several.")
        self.declare("speed", 1.0, "Of playing: 2 is twice as fast.", 0.05, 20.0)
        self.declare("loop", False, "Play the recording again and again.")
        self.declare("stale", 0.2, "When no good keypoints came for this long [s], the robots hold.", 0.02, 1.0)
        self.declare("frozen_after", 1.0, "Keypoints that do not change at all for this long [s] are of a stuck device.", 0.1, 1e6)
        self.declare("ease", 0.5, "Time in which a robot goes over from its own pose to the person's [s].", 0.0, 5.0)
        self.robots: dict[str, DrivenRobot] = {}

    def configure(self) -> None:
        if self.value("mode") not in MODES:
            raise LatentPolicyError(f"parameter mode: got {self.value('mode')!r}; {available(MODES)}")
        self.latent_mode = self.value("mode") == LATENT
        self.space = LatentSpace.load(artifact("latents", self.value("latent"))) if self.latent_mode else None
        self.stale = self.value("stale")
        self.player, side = None, self.value("side")
        if self.value("file"):
            recording = read_hand_recording(self.value("file"), self.value("entry"))
            hands = canonical_hands(recording.points, self.value("layout"), self.value("units"), side)
            side = hands.side  # of all frames together
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
        self._good = -np.inf  # when good keypoints came last, monotonic
        self._reason = "no keypoints yet"
        if self.player is None:
            self.subscribe(PoseArray, "keypoints", self._on_keypoints, qos.IMAGES)  # as cameras' drivers publish

    def cleanup(self) -> None:
        self.robots.clear()

    def activate(self) -> None:
        self.hand.reset()
        self._began: float | None = None  # when playing began
        self._patient_until = time.monotonic() + PATIENCE

    def deactivate(self) -> None:
        self._release("inactive")

    def tick(self, now: float) -> None:
        if self.player is not None:
            self._play(now)
        if time.monotonic() - self._good > self.stale and any(r.follower.following for r in self.robots.values()):
            self.count("keypoints went stale: holding", self._reason)
            self._release(self._reason or f"no keypoints for {self.stale:g} s")

    def _play(self, now: float) -> None:
        if self._began is None:  # the first frames of a recording are for the robots too
            if not all(robot.ready(self.latent_mode) for robot in self.robots.values()) and time.monotonic() < self._patient_until:
                return
            self._began = time.monotonic()
        elapsed = time.monotonic() - self._began
        points = self.player.frame(elapsed)
        if points is not None:
            self._take(points, now)
        elif self.player.finished(elapsed):
            self._release("the recording is over")

    def _on_keypoints(self, message: PoseArray) -> None:
        if not self.active:
            return
        now, stamp = self.now(), to_seconds(message.header.stamp)
        if stamp == 0.0:
            stamp = now  # the device has no clock
        elif abs(now - stamp) > self.stale:
            self._reason = f"keypoints of another time: stamped {now - stamp:.3f} s ago"
            raise LatentPolicyError(f"{self._reason}; are the clocks of the two machines in step?")
        points = np.array([(p.position.x, p.position.y, p.position.z) for p in message.poses]).reshape(-1, 3)
        self._take(points, stamp)

    def _take(self, points: np.ndarray, stamp: float) -> None:
        """Bring the robots where the hand is."""
        try:
            keypoints = self.hand.push(points, stamp)
        except LatentPolicyError as refused:
            self._reason = str(refused)
            self.count("keypoints refused", self._reason)
            return
        self._good, self._reason = time.monotonic(), ""
        self.meter.tick(self._good)
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
            plan = robot.follower.chunk(latent, stamp, self.stale, robot.joints, robot.wrist)
            robot.output.publish(message_conversion.latent_action(plan, robot.namespace))
        else:
            q = robot.follower.joints(keypoints, stamp, robot.joints)
            robot.output.publish(message_conversion.command(stamp, self.now() - stamp, robot.embodiment.joint_names, q))

    def _release(self, reason: str) -> None:
        """Let the robots hold what they measure."""
        for robot in self.robots.values():
            if robot.follower.following and not self.latent_mode:  # a decoder tells its drivers by itself
                robot.output.publish(message_conversion.command(self.now(), 0.0, robot.embodiment.joint_names, None))
            robot.follower.release()
            robot.waiting = reason

    def status(self) -> tuple[bytes, str, dict[str, str]]:
        if not self.active:
            return OK, "inactive", {}
        values = {
            "mode": self.value("mode"),
            "hand": self.hand.side or "left or right not known yet",
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
            raise LatentPolicyError(f"{embodiment.name} is no robot's end-effector: nothing to command")
        robot = DrivenRobot(name, embodiment, HandToRobot(embodiment, self.space, self.value("ease")))
        if self.latent_mode:
            robot.output = self.publisher(LatentAction, f"{name}/latent_action", qos.LATENTS)
            self.subscribe(PoseStamped, f"{name}/wrist_pose", robot.on_wrist, qos.STATES)
        else:
            robot.output = self.publisher(JointTrajectory, f"{name}/{embodiment.command}_command", qos.COMMANDS)
        self.subscribe(JointState, f"{name}/joint_states", robot.on_joints, qos.STATES)
        return robot

    def _warm_up(self) -> None:
        """Do everything once with a made-up hand: first calls are slow, and shall not be a person's."""
        for keypoints in HumanHand().keypoints(np.linspace(0.0, 0.5, 5)[:, None] * np.ones(21)):
            self._rehearse(to_hand_frame(keypoints))
        for robot in self.robots.values():
            robot.follower.release()

    def _rehearse(self, keypoints: np.ndarray) -> None:
        now = time.monotonic()
        for robot in self.robots.values():
            if self.latent_mode:
                robot.follower.chunk(encode_hand(self.space, keypoints), now, 1.0, robot.embodiment.rest, np.zeros(7))
            else:
                robot.follower.joints(keypoints, now, robot.embodiment.rest)


def _fresh(measured: tuple[float, np.ndarray] | None) -> np.ndarray | None:
    return measured[1] if measured is not None and time.monotonic() - measured[0] < STATE_AGE else None


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros human_hand_node``."""
    return run(HumanHandNode)


if __name__ == "__main__":
    sys.exit(main())
