"""From topics to synchronised observations of one robot. The same code serves the live node and the bag reader.

Everything goes by the stamps in the messages, never by their arrival: an observation at time t takes from each camera
and state the value that was measured nearest to t.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ObservationRefused, available
from .images import fit
from .time_sync import Stream


@dataclass(frozen=True)
class Frame:
    """What one robot saw and measured at one moment.

    Attributes:
        stamp: Time [s]: the newest moment of which every camera knows.
        images: {camera: (H, W, 3) uint8 RGB}.
        wrist_pose: (7,) x y z [m], qx qy qz qw, of the hand frame in the robot's base.
        joints: (n,) measured end-effector joints [rad or m], in the buffer's order of names.
    """

    stamp: float
    images: dict[str, np.ndarray]
    wrist_pose: np.ndarray
    joints: np.ndarray


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
        image_size: (height, width) of the pictures handed out.
        tolerances: What counts as together, and as stale.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        joint_names: Sequence[str],
        dt: float = 0.1,
        history: int = 2,
        image_size: tuple[int, int] = (96, 96),
        tolerances: Tolerances | None = None,
    ) -> None:
        self.cameras, self.joint_names = tuple(cameras), tuple(joint_names)
        self.dt, self.history_length, self.image_size = dt, history, image_size
        self.tolerances = tolerances or Tolerances()
        keep = history * dt + 2 * self.tolerances.camera_skew + self.tolerances.max_age
        self._images: dict[str, Stream[np.ndarray]] = {camera: Stream(keep) for camera in self.cameras}
        self._joints: Stream[np.ndarray] = Stream(keep)
        self._wrist: Stream[np.ndarray] = Stream(keep)
        self._partial = Counter(self.joint_names)
        #: Why messages were refused, and how often.
        self.refused: Counter[str] = Counter()

    def push_image(self, camera: str, stamp: float, image: np.ndarray) -> None:
        """Take a picture (H, W, 3) uint8 RGB of any size.

        Raises:
            ObservationRefused: Not a camera of this robot, or not such an array.
        """
        if camera not in self._images:
            self._refuse(f"unknown camera {camera!r}; {available(self.cameras)}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            self._refuse(f"{camera}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        self._images[camera].push(self._stamp(camera, stamp), fit(image, *self.image_size))

    def push_joints(self, stamp: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joints, matched by name in any order. Messages without any of ours (the arm's) are passed over.

        Raises:
            ObservationRefused: Some of our joints are missing, named twice, or not finite.
        """
        if tuple(names) == self.joint_names:
            values = np.array(positions, dtype=np.float64)
        else:
            ours = [name for name in names if name in self._partial]
            if not ours:
                return
            missing = [name for name in self.joint_names if name not in ours]
            if missing:
                self._refuse(f"joint_states without {', '.join(missing)}", "joint_states with missing joints")
            if len(ours) != len(set(ours)):
                self._refuse("joint_states names a joint twice")
            if len(positions) != len(names):
                self._refuse(
                    f"joint_states has {len(names)} names and {len(positions)} positions",
                    "joint_states with names and positions of different length",
                )
            by_name = dict(zip(names, positions))
            values = np.array([by_name[name] for name in self.joint_names], dtype=np.float64)
        if values.shape != (len(self.joint_names),):
            self._refuse(
                f"joint_states has {len(names)} names and {len(positions)} positions",
                "joint_states with names and positions of different length",
            )
        if not np.all(np.isfinite(values)):
            self._refuse("joint_states is not finite")
        self._joints.push(self._stamp("joint_states", stamp), values)

    def push_wrist(self, stamp: float, pose: Sequence[float]) -> None:
        """Take a measured wrist pose (7,).

        Raises:
            ObservationRefused: Not finite, or its quaternion is not of length 1 (within 1%).
        """
        values = np.array(pose, dtype=np.float64)
        if values.shape != (7,) or not np.all(np.isfinite(values)):
            self._refuse("wrist_pose is not 7 finite numbers")
        norm = float(np.linalg.norm(values[3:]))
        if abs(norm - 1.0) > 0.01:
            self._refuse(f"wrist_pose has a quaternion of length {norm:.3g}", "wrist_pose with a quaternion not of length 1")
        values[3:] /= norm
        self._wrist.push(self._stamp("wrist_pose", stamp), values)

    def missing(self, now: float) -> tuple[str, ...]:
        """What keeps this robot from being observed at ``now``, in words; empty when nothing does."""
        reasons = []
        for name, stream in self._streams().items():
            if stream.newest is None:
                reasons.append(f"{name}: nothing received")
            elif now - stream.newest > self.tolerances.max_age:
                reasons.append(f"{name}: stale")
            elif stream.newest - now > self.tolerances.max_age:
                reasons.append(f"{name}: stamped in the future")
        if reasons:
            return tuple(reasons)
        stamp = self._reference()
        return tuple(f"{name}: out of step" for name in self._streams() if self._value(name, stamp) is None)

    def observation(self, now: float) -> Frame | None:
        """The newest synchronised frame, or None when ``missing(now)`` says why."""
        return None if self.missing(now) else self._frame(self._reference())

    def observations(self, now: float) -> list[Frame] | None:
        """``history`` frames, ``dt`` apart, oldest first; None when ``missing(now)`` says why.

        Where the past is not known (just started) the oldest known frame is repeated.
        """
        newest = self.observation(now)
        if newest is None:
            return None
        frames = [newest]
        for k in range(1, self.history_length):
            frames.append(self._frame(newest.stamp - k * self.dt) or frames[-1])
        return frames[::-1]

    def clear(self) -> None:
        """Forget everything (the robot was set back, or a new episode begins)."""
        for stream in self._streams().values():
            stream.clear()

    def _streams(self) -> dict[str, Stream]:
        return {**self._images, "joint_states": self._joints, "wrist_pose": self._wrist}

    def _reference(self) -> float:
        streams = self._images.values() if self._images else (self._joints, self._wrist)
        return min(stream.newest for stream in streams if stream.newest is not None)

    def _value(self, name: str, stamp: float) -> np.ndarray | None:
        camera = name in self._images
        found = (self._images[name] if camera else self._streams()[name]).nearest(stamp)
        tolerance = self.tolerances.camera_skew if camera else self.tolerances.state_skew
        return found[1] if found and abs(found[0] - stamp) <= tolerance else None

    def _frame(self, stamp: float) -> Frame | None:
        values = {name: self._value(name, stamp) for name in self._streams()}
        if any(value is None for value in values.values()):
            return None
        wrist, joints = values.pop("wrist_pose"), values.pop("joint_states")
        return Frame(stamp, values, wrist, joints)

    def _stamp(self, name: str, stamp: float) -> float:
        if not np.isfinite(stamp) or stamp <= 0:
            self._refuse(f"{name} has no stamp")
        return float(stamp)

    def _refuse(self, text: str, counted_as: str = "") -> None:
        self.refused[counted_as or text] += 1
        raise ObservationRefused(text)
