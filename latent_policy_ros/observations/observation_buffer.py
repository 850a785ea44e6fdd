"""From topics to synchronised observations of one robot. The same code serves the live node and the bag reader.

Everything goes by the stamps in the messages, never by their arrival: an observation at time t takes from each camera
and state the value that was measured nearest to t.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available
from latent_policy_ros.observations.images import fit
from latent_policy_ros.observations.joint_matcher import JointMatcher
from latent_policy_ros.observations.streams import Stream

#: An image (H, W, 3) uint8 RGB, or what makes one when it is needed (images of a bag are decoded late, in threads).
RgbImage = Union[np.ndarray, Callable[[], np.ndarray]]


@dataclass(frozen=True)
class Frame:
    """What one robot saw and measured at one moment.

    Attributes:
        stamp: Time [s]: the newest moment of which every camera knows.
        images: {camera: (H, W, 3) uint8 RGB}; as they were pushed where the buffer has no image size.
        wrist_pose: (7,) x y z [m], qx qy qz qw, of the hand frame in the robot's base; None where the buffer has no wrist.
        joints: (n,) measured end-effector joints [rad or m], in the buffer's order of names.
        offsets: {stream: how much later than ``stamp`` its value was measured [s]}.
    """

    stamp: float
    images: dict[str, RgbImage]
    wrist_pose: np.ndarray | None
    joints: np.ndarray
    offsets: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Tolerances:
    """How far in time things may lie apart [s].

    Attributes:
        max_age: The oldest that the newest value of any stream may be when it is used.
        camera_skew: Between cameras of one observation.
        state_skew: Between an observation and the joints and wrist pose in it.
    """

    max_age: float = 0.3
    camera_skew: float = 0.1
    state_skew: float = 0.05


class ObservationBuffer:
    """Collects what comes from one robot's topics and hands out synchronised frames.

    Args:
        cameras: Cameras that every frame must have.
        joint_names: The n end-effector joints of a frame, in this order.
        dt: Time between the frames of a history [s].
        history: Number of frames in a history.
        image_size: (height, width) of the images handed out; None: as they come, undecoded ones too.
        tolerances: What counts as together, and as stale.
        wrist: Whether the robot has a wrist pose, without which there is no frame.
        keep: Seconds that are remembered; by default what live observations need.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        joint_names: Sequence[str],
        dt: float = 0.1,
        history: int = 2,
        image_size: tuple[int, int] | None = (96, 96),
        tolerances: Tolerances | None = None,
        wrist: bool = True,
        keep: float | None = None,
    ) -> None:
        self.cameras, self.joint_names = tuple(cameras), tuple(joint_names)
        self.dt, self.history_length, self.image_size = dt, history, image_size
        self.tolerances = tolerances or Tolerances()
        keep = keep or history * dt + 2 * self.tolerances.camera_skew + self.tolerances.max_age
        self._images: dict[str, Stream[RgbImage]] = {camera: Stream(keep) for camera in self.cameras}
        self._joints: Stream[np.ndarray] = Stream(keep)
        self._wrist: Stream[np.ndarray] = Stream(keep)
        self._streams: dict[str, Stream] = {**self._images, "joint_states": self._joints}
        if wrist:
            self._streams["wrist_pose"] = self._wrist
        self._matcher = JointMatcher(self.joint_names)
        #: Why messages were refused, and how often.
        self.refused: Counter[str] = Counter()

    def push_image(self, camera: str, stamp: float, image: RgbImage) -> None:
        """Take an image (H, W, 3) uint8 RGB of any size; undecoded ones only where the buffer has no image size.

        Raises:
            ObservationRefused: Not a camera of this robot, or not such an array.
        """
        if camera not in self._images:
            self._refuse(f"unknown camera {camera!r}; {available(self.cameras)}")
        if self.image_size is not None:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                self._refuse(f"{camera}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
            image = fit(image, *self.image_size)
        self._images[camera].push(self._stamp(camera, stamp), image)

    def push_joints(self, stamp: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joints, matched by name in any order. Messages without any of ours (the arm's) are passed over.

        Raises:
            ObservationRefused: Some of our joints are missing, named twice, or not finite.
        """
        try:
            values = self._matcher.match(names, positions)
        except ObservationRefused as error:
            self.refused[str(error)] += 1
            raise
        if values is not None:
            self._joints.push(self._stamp("joint_states", stamp), values)

    def push_wrist(self, stamp: float, pose: Sequence[float]) -> None:
        """Take a measured wrist pose (7,).

        Raises:
            ObservationRefused: Not finite, or its quaternion is not of length 1 (within 1%).
        """
        values = np.array(pose, dtype=np.float64)
        if values.shape != (7,) or not np.all(np.isfinite(values)):
            self._refuse("wrist_pose is not 7 finite numbers")
        try:
            values = with_unit_quaternion(values, "wrist_pose")
        except ObservationRefused:
            self.refused["wrist_pose with a quaternion not of length 1"] += 1
            raise
        self._wrist.push(self._stamp("wrist_pose", stamp), values)

    def missing(self, now: float) -> tuple[str, ...]:
        """What keeps this robot from being observed at ``now``, in words; empty when nothing does."""
        reasons = []
        for name, stream in self._streams.items():
            if stream.newest is None:
                reasons.append(f"{name}: nothing received")
            elif now - stream.newest > self.tolerances.max_age:
                reasons.append(f"{name}: stale")
            elif stream.newest - now > self.tolerances.max_age:
                reasons.append(f"{name}: stamped in the future")
        if reasons:
            return tuple(reasons)
        stamp = self._reference()
        return tuple(f"{name}: out of step" for name in self._streams if self._value(name, stamp) is None)

    def observation(self, now: float) -> Frame | None:
        """The newest synchronised frame, or None when ``missing(now)`` says why."""
        return None if self.missing(now) else self.frame_at(self._reference())

    def observations(self, now: float) -> list[Frame] | None:
        """``history`` frames, ``dt`` apart, oldest first; None when ``missing(now)`` says why.

        Where the past is not known (just started) the oldest known frame is repeated.
        """
        newest = self.observation(now)
        if newest is None:
            return None
        frames = [newest]
        for k in range(1, self.history_length):
            frames.append(self.frame_at(newest.stamp - k * self.dt) or frames[-1])
        return frames[::-1]

    def frame_at(self, stamp: float) -> Frame | None:
        """The frame at any time that is remembered; None where a stream has nothing near enough."""
        found = {name: self._value(name, stamp) for name in self._streams}
        if any(value is None for value in found.values()):
            return None
        offsets = {name: at - stamp for name, (at, _) in found.items()}
        values = {name: value for name, (_, value) in found.items()}
        wrist, joints = values.pop("wrist_pose", None), values.pop("joint_states")
        return Frame(stamp, values, wrist, joints, offsets)

    def lacking(self, stamp: float) -> list[tuple[str, float]]:
        """The streams that keep ``stamp`` from having a frame, each with the time [s] within which it has nothing."""
        return [(name, self._tolerance(name)) for name in self._streams if self._value(name, stamp) is None]

    def first_from(self, stamp: float) -> float | None:
        """Stamp of the first image of the first camera (without cameras: of the joints) that is not older than ``stamp``."""
        stream = next(iter(self._streams.values()))
        return next((at for at, _ in stream if at >= stamp), None)

    @property
    def newest_joints(self) -> np.ndarray | None:
        """The newest measured joints (n,)."""
        newest = self._joints.newest
        return None if newest is None else self._joints.held(newest)[1]

    def clear(self) -> None:
        """Forget everything (the robot was set back, or a new episode begins)."""
        for stream in self._streams.values():
            stream.clear()

    def _reference(self) -> float:
        streams = self._images.values() if self._images else (self._joints, self._wrist)
        return min(stream.newest for stream in streams if stream.newest is not None)

    def _value(self, name: str, stamp: float) -> tuple[float, RgbImage] | None:
        found = self._streams[name].nearest(stamp)
        return found if found and abs(found[0] - stamp) <= self._tolerance(name) else None

    def _tolerance(self, name: str) -> float:
        return self.tolerances.camera_skew if name in self._images else self.tolerances.state_skew

    def _stamp(self, name: str, stamp: float) -> float:
        if not np.isfinite(stamp) or stamp <= 0:
            self._refuse(f"{name} has no stamp")
        return float(stamp)

    def _refuse(self, text: str) -> None:
        self.refused[text] += 1
        raise ObservationRefused(text)


def with_unit_quaternion(pose: np.ndarray, name: str) -> np.ndarray:
    """A pose (7,) with its quaternion brought to length 1.

    Raises:
        ObservationRefused: The quaternion is not of length 1 (within 1%); ``name`` says whose.
    """
    length = float(np.linalg.norm(pose[3:]))
    if abs(length - 1.0) > 0.01:
        raise ObservationRefused(f"{name} has a quaternion of length {length:.3g}")
    return np.concatenate((pose[:3], pose[3:] / length))
