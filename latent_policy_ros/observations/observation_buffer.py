"""ObservationBuffer: time alignment of one robot's streams, for live topics and for bags.

Alignment uses the stamps in the messages, not the time of arrival: an observation at time t contains, for each stream,
the value measured nearest to t.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from latent_policy_ros.common.errors import ObservationRefused, available
from latent_policy_ros.observations.clock_offset import ClockOffset
from latent_policy_ros.observations.joint_matcher import JointMatcher, Selection
from latent_policy_ros.observations.merged_joints import MergedJoints
from latent_policy_ros.observations.messages import stamp_of
from latent_policy_ros.observations.modalities import Modality
from latent_policy_ros.observations.observation import Observation, RgbImage, normalize_pose
from latent_policy_ros.observations.publisher_conflict import PoseConflict, PublisherConflict, whole_pose
from latent_policy_ros.observations.resize import DEFAULT_RESIZE, Resize
from latent_policy_ros.observations.streams import Stream
from latent_policy_ros.observations.video_stream import VideoStream, is_video

if TYPE_CHECKING:
    from latent_policy_ros.embodiments import Embodiment

MAX_REASONS, OTHER_REASONS = 20, "other reasons"  # that are counted separately
JOINTS, WRIST = "joint_states", "wrist_pose"  # names of the two streams every robot may have


@dataclass(frozen=True)
class Tolerances:
    """Largest accepted time differences [s].

    Attributes:
        max_age: Age of the newest value of a stream when an observation is requested.
        camera_skew: Between an observation and each of its images.
        state_skew: Between an observation and its joints, wrist pose and other values.
        clock_offset: Between the clock of this machine and the one that stamps the joints.
    """

    max_age: float = 0.3
    camera_skew: float = 0.1
    state_skew: float = 0.05
    clock_offset: float = 0.1


class ObservationBuffer:
    """Buffers the streams of one robot and returns synchronised observations.

    Messages are validated here, when they are pushed. Observations that leave the buffer are not validated again, except
    against the contract of a policy (:meth:`latent_policy_ros.policy.runtime.Policy.prepare`).

    Args:
        cameras: Cameras required in every observation.
        embodiment: The end-effector; its n joints are required in every observation.
        more_joints: Names of additional joints, appended to those of the embodiment.
        dt: Time between the observations of a history [s].
        history: Number of observations in a history.
        resize: Conversion of images to one size; None keeps images as pushed, undecoded images included.
        tolerances: Largest accepted time differences.
        wrist: Whether a wrist pose is required in every observation.
        values: Additional streams required in every observation, {name: tolerance [s]}.
        task: Task description copied to every observation.
        keep: Duration of the stored past [s]; the default covers one history.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        embodiment: Embodiment,
        more_joints: Sequence[str] = (),
        dt: float = 0.1,
        history: int = 2,
        resize: Resize | None = DEFAULT_RESIZE,
        tolerances: Tolerances | None = None,
        wrist: bool = True,
        values: Mapping[str, float] | None = None,
        task: str = "",
        keep: float | None = None,
    ) -> None:
        self.cameras, self.embodiment, self.task = tuple(cameras), embodiment, task
        self.joint_names = (*embodiment.joint_names, *more_joints)
        self.dt, self.history_length, self.resize = dt, history, resize
        self.tolerances = tolerances or Tolerances()
        keep = keep or history * dt + 2 * self.tolerances.camera_skew + self.tolerances.max_age
        self._images: dict[str, Stream[RgbImage]] = {camera: Stream(keep) for camera in self.cameras}
        self._joints = MergedJoints(self.joint_names, keep)
        self._wrist: Stream[np.ndarray] = Stream(keep)
        self._values: dict[str, Stream[np.ndarray]] = {name: Stream(keep) for name in values or ()}
        self._streams: dict[str, Stream[Any] | MergedJoints] = {**self._images, JOINTS: self._joints}
        if wrist:
            self._streams[WRIST] = self._wrist
        self._streams |= self._values
        names = [*self.cameras, JOINTS, WRIST, *self._values]
        if len(set(names)) != len(names):
            raise ValueError(f"stream names must be unique, got {', '.join(names)}")
        self._tolerance = dict.fromkeys(self._streams, self.tolerances.state_skew)
        self._tolerance |= dict.fromkeys(self._images, self.tolerances.camera_skew)
        self._tolerance |= values or {}
        self._matcher = JointMatcher(self.joint_names)
        more = [0.0] * len(tuple(more_joints))
        self._conflict = PublisherConflict(
            self.joint_names, [*(embodiment.upper - embodiment.lower), *more], [*embodiment.max_velocity, *more]
        )
        self._wrist_conflict = PoseConflict()
        self.clock_offset = ClockOffset(self.tolerances.clock_offset)
        self._videos: dict[str, VideoStream] = {}
        self._last_refusal: dict[str, str] = {}  # by stream
        #: Size (height, width) of the newest image of each camera [px], before it was resized.
        self.image_sizes: dict[str, tuple[int, int]] = {}
        #: Number of refused messages by reason.
        self.refused: Counter[str] = Counter()

    def push_image(self, camera: str, stamp: float, image: RgbImage) -> None:
        """Add an image.

        Args:
            camera: One of ``cameras``.
            stamp: Time of exposure [s].
            image: (H, W, 3) uint8 RGB of any size; undecoded images only if ``resize`` is None.

        Raises:
            ObservationRefused: Unknown camera, or another shape or type.
        """
        if camera not in self._images:
            self._refuse(f"unknown camera {camera!r}; {available(self.cameras)}")
        if self.resize is not None:
            if callable(image):
                self._refuse(f"{camera}: expected (H, W, 3) uint8, got an undecoded image")
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
                self._refuse(f"{camera}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
            self.image_sizes[camera] = image.shape[:2]
            image = self.resize(image)
        self._push(self._images[camera], camera, stamp, image)

    def push_joints(self, stamp: float, names: Sequence[str], positions: Sequence[float] | np.ndarray, limit: float = 0.0) -> str:
        """Add measured joints, matched by name. A message may hold some of the joints; the others come in other messages.

        A message without any joint of this robot, or without positions, is ignored.

        Args:
            stamp: Time of measurement [s].
            names, positions: Content of the message.
            limit: Largest time difference between an observation and these joints [s]; 0 uses the tolerance of the state.

        Returns:
            What is wrong if two publishers contradict each other; empty otherwise.

        Raises:
            ObservationRefused: Positions without names, joints that are named twice or not finite.
        """
        try:
            found = self._matcher.select(names, positions)
        except ObservationRefused as error:
            self._note_refusal(JOINTS, str(error))
            raise
        return "" if found is None else self.push_selected(stamp, found, limit)

    def push_selected(self, stamp: float, found: Selection, limit: float = 0.0, sent: float | None = None) -> str:
        """Like :meth:`push_joints`, for joints that are selected and converted already.

        Args:
            stamp, found, limit: As of :meth:`push_joints`.
            sent: Time of sending [s] if ``stamp`` is that of receipt, which may be in another order.
        """
        self._check_stamp(JOINTS, stamp)
        self._joints.push(float(stamp), found, limit)
        return self._conflict.push(stamp if sent is None else sent, found)

    def push_wrist(self, stamp: float, pose: Sequence[float] | np.ndarray, sent: float | None = None) -> str:
        """Add a measured wrist pose (7,): x y z [m], qx qy qz qw.

        Args:
            stamp: Time of measurement [s].
            pose: The pose.
            sent: As of :meth:`push_selected`.

        Returns:
            What is wrong if two publishers contradict each other; empty otherwise.

        Raises:
            ObservationRefused: As of :func:`~latent_policy_ros.observations.observation.normalize_pose`.
        """
        try:
            values = normalize_pose(pose, WRIST)
        except ObservationRefused:
            self._note_refusal(WRIST, f"{WRIST} is not a valid pose")
            raise
        self._push(self._wrist, WRIST, stamp, values)
        return self._wrist_conflict.push(stamp if sent is None else sent, whole_pose(values))

    def push_value(self, name: str, stamp: float, value: np.ndarray) -> None:
        """Add a value of an additional stream.

        Raises:
            ObservationRefused: Unknown stream, or a shape that differs from that of the previous value.
        """
        if name not in self._values:
            self._refuse(f"unknown stream {name!r}; {available(self._values)}")
        stream = self._values[name]
        if stream.newest_value is not None and value.shape != stream.newest_value.shape:
            self._refuse(f"{name}: expected shape {stream.newest_value.shape} as before, got {value.shape}")
        self._push(stream, name, stamp, value)

    def push_message(self, name: str, modality: Modality, message: Any, received: float) -> None:
        """Convert a message and add its content.

        Args:
            name: Name of the camera or of the additional stream; unused for joints and wrist poses.
            modality: Conversion of the message; its ``field`` selects the stream.
            message: A message of one of the types of the modality.
            received: Time of receipt [s], the stamp of message types without a header.

        Raises:
            ObservationRefused: As of the conversion and of the other methods.
        """
        stamp = stamp_of(message)
        if stamp is not None and stamp <= 0.0:
            self._refuse(f"{name} has no stamp", name)
        stamp = received if stamp is None else stamp
        if modality.field == "images" and is_video(message):
            for shown, image in self._videos.setdefault(name, VideoStream(name)).push(stamp, message):
                self.push_image(name, shown, image)
            return
        value = modality.read(message)
        if modality.field == "images":
            self.push_image(name, stamp, value)
        elif modality.field == "joints":
            self.clock_offset.add(stamp, received)
            self.push_joints(stamp, message.name, value)
        elif modality.field == "wrist_pose":
            self.push_wrist(stamp, value)
        else:
            self.push_value(name, stamp, value)

    def missing(self, now: float) -> tuple[str, ...]:
        """Reasons why no observation is available at ``now``, e.g. ``front: stale``; empty if one is."""
        reasons = [f"{JOINTS}: {offset}"] if (offset := self.clock_offset.text) else []
        for name, stream in self._streams.items():
            if stream.newest is None:
                reasons.append(f"{name}: {self._why_unknown(name)}")
            elif now - stream.newest > self.tolerances.max_age:
                reasons.append(f"{name}: stale")
            elif stream.newest - now > self.tolerances.max_age:
                reasons.append(f"{name}: stamped in the future")
        if reasons:
            return tuple(reasons)
        if conflict := self._conflict.text(self._joints.newest or now):
            return (f"{JOINTS}: {conflict}",)
        if conflict := self._wrist_conflict.text(self._wrist.newest or now):
            return (f"{WRIST}: {conflict}",)
        stamp = self._reference()
        return tuple(f"{name}: out of step" for name in self._streams if self._nearest(name, stamp) is None)

    def _why_unknown(self, name: str) -> str:
        lacking = self._joints.lacking if name == JOINTS else ()
        if lacking and len(lacking) < len(self.joint_names):
            return f"nothing received for {', '.join(lacking)}"
        if name in self._last_refusal:
            return f"all messages refused: {self._last_refusal[name]}"
        return "nothing received"

    def observation(self, now: float) -> Observation | None:
        """The newest synchronised observation; None if :meth:`missing` lists a reason."""
        return None if self.missing(now) else self.observation_at(self._reference())

    def observations(self, now: float) -> list[Observation] | None:
        """``history`` observations, ``dt`` apart, oldest first; None if :meth:`missing` lists a reason.

        Before a full history is available, the oldest observation is repeated.
        """
        return None if self.missing(now) else self.history()

    def history(self) -> list[Observation] | None:
        """As :meth:`observations`, where :meth:`missing` is known to list no reason."""
        newest = self.observation_at(self._reference())
        if newest is None:
            return None
        history = [newest]
        for k in range(1, self.history_length):
            history.append(self.observation_at(newest.stamp - k * self.dt) or history[-1])
        return history[::-1]

    def observation_at(self, stamp: float, slack: float = 0.0) -> Observation | None:
        """The observation at a stored time [s]; None if a stream has no value within its tolerance, or within ``slack`` [s]."""
        offsets: dict[str, float] = {}
        value: dict[str, Any] = {}
        for name in self._streams:
            nearest = self._nearest(name, stamp, slack)
            if nearest is None:
                return None
            offsets[name], value[name] = nearest[0] - stamp, nearest[1]
        return Observation(
            stamp, {name: value[name] for name in self._images}, value.get(WRIST), value[JOINTS], self.embodiment, self.task,
            {name: value[name] for name in self._values}, offsets,
        )  # fmt: skip

    def lacking(self, stamp: float) -> list[tuple[str, float]]:
        """Streams without a value near ``stamp``, each with its tolerance [s]."""
        return [(name, self._tolerance[name]) for name in self._streams if self._nearest(name, stamp) is None]

    def first_from(self, stamp: float) -> float | None:
        """Stamp of the first image of the first camera that is not older than ``stamp``; of the joints without cameras."""
        stream = next(iter(self._streams.values()))
        return next((at for at, _ in stream if at >= stamp), None)

    @property
    def lacking_joints(self) -> tuple[str, ...]:
        """Names of the joints that no message held so far."""
        return self._joints.lacking

    @property
    def newest_joints(self) -> np.ndarray | None:
        """Newest measured joints (n,); None before the first."""
        return self._joints.newest_value

    @property
    def newest(self) -> float | None:
        """Newest time up to which every camera has images [s]; None before the first image of one, and without cameras."""
        known = self._images and all(stream.newest is not None for stream in self._images.values())
        return self._reference() if known else None

    def clear(self) -> None:
        """Discard everything stored, e.g. at the start of an episode."""
        for stream in self._streams.values():
            stream.clear()
        self._conflict.clear()
        self._wrist_conflict.clear()
        self.clock_offset.clear()
        self._videos.clear()
        self._last_refusal.clear()

    def _reference(self) -> float:
        """Newest time up to which every camera has images; without cameras, up to which the state is known."""
        streams = self._images.values() if self._images else (self._joints, self._wrist)
        return min(stream.newest for stream in streams if stream.newest is not None)

    def _nearest(self, name: str, stamp: float, slack: float = 0.0) -> tuple[float, Any] | None:
        found = self._streams[name].nearest(stamp, slack)
        return found if found and abs(found[0] - stamp) <= max(self._tolerance[name], slack) else None

    def _push(self, stream: Stream[Any], name: str, stamp: float, value: Any) -> None:
        self._check_stamp(name, stamp)
        stream.push(float(stamp), value)

    def _check_stamp(self, name: str, stamp: float) -> None:
        if not np.isfinite(stamp) or stamp < 0:
            self._refuse(f"{name} has no stamp", name)

    def _refuse(self, text: str, name: str = "") -> NoReturn:
        self._note_refusal(name, text)
        raise ObservationRefused(text)

    def _note_refusal(self, name: str, text: str) -> None:
        """Count a refusal. Reasons may contain numbers of messages, so that their number is limited."""
        self.refused[text if text in self.refused or len(self.refused) < MAX_REASONS else OTHER_REASONS] += 1
        self._last_refusal[name] = text
