"""ObservationSynchronizer: a message filter that combines the topics of one robot into synchronised observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from std_msgs.msg import Header

from latent_policy_ros.common.errors import LatentPolicyError, available
from latent_policy_ros.nodes.topics.filters import SimpleFilter
from latent_policy_ros.nodes.topics.message_conversion import to_stamp
from latent_policy_ros.observations.modalities import COLOR_IMAGE, JOINT_STATE, WRIST_POSE, Modality
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.observations.observation_buffer import JOINTS, WRIST, ObservationBuffer


@dataclass(frozen=True)
class StampedObservation:
    """Output of :class:`ObservationSynchronizer`.

    Attributes:
        header: Time of the observation, as other message filters read it, and the frame of its wrist pose.
        observation: The observation.
    """

    header: Header
    observation: Observation


class ObservationSynchronizer(SimpleFilter):
    """Synchronises the messages of its inputs by their stamps.

    Outputs a :class:`StampedObservation` as soon as every stream has a value within its tolerance, each one once, in the order of
    their stamps. As a ``message_filters.Cache`` it can also be asked, through ``buffer``.

    Args:
        inputs: A message filter for each stream: cameras by name, ``joint_states``, ``wrist_pose`` and additional streams.
        buffer: Stores and aligns their values.
        clock: Returns the time of the node clock [s].
        modalities: Conversions of the messages of additional streams, by name.

    Attributes:
        buffer: The argument.
        wrist_frame: Frame of the newest wrist pose; empty before the first.

    Raises:
        LatentPolicyError: An input has no stream in the buffer.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        buffer: ObservationBuffer,
        clock: Callable[[], float],
        modalities: Mapping[str, Modality] | None = None,
    ) -> None:
        super().__init__()
        self.buffer, self.wrist_frame, self._clock, self._newest = buffer, "", clock, 0.0
        known = {**dict.fromkeys(buffer.cameras, COLOR_IMAGE), JOINTS: JOINT_STATE, WRIST: WRIST_POSE, **(modalities or {})}
        for name, source in inputs.items():
            if name not in known:
                raise LatentPolicyError(f"observation synchroniser: input {name!r} has no stream; {available(known)}")
            source.registerCallback(self.add, name, known[name])

    def add(self, message: Any, name: str, modality: Modality) -> None:
        """Add a message of an input.

        Raises:
            ObservationRefused: As of :meth:`ObservationBuffer.push_message`.
        """
        self.buffer.push_message(name, modality, message, self._clock())
        if name == WRIST:
            self.wrist_frame = message.header.frame_id
        if self.callbacks:  # otherwise nobody receives the output
            self._output()

    def clear(self) -> None:
        """Discard everything received, e.g. when time starts again."""
        self.buffer.clear()
        self._newest = 0.0

    def _output(self) -> None:
        observation = self.buffer.observation(self._clock())
        if observation is not None and observation.stamp > self._newest:
            self._newest = observation.stamp
            header = Header(stamp=to_stamp(observation.stamp), frame_id=self.wrist_frame)
            self.signalMessage(StampedObservation(header, observation))
