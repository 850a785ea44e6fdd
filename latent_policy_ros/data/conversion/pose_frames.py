"""Frames of wrist poses: composition from tf, conversion to the robot's base frame, and checks that they agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.data.conversion.sources import PoseSource
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.observations.messages import frame_of
from latent_policy_ros.observations.modalities import Modality
from latent_policy_ros.observations.transforms import TransformChain, compose


class PoseReader:
    """Reads the poses of one source.

    Args:
        source: The topic, or the frames of tf.
        frames: {frame: pose (7,) of that frame in the robot's base frame}.

    Attributes:
        seen: Frames of the messages so far, in order of appearance.
    """

    def __init__(self, source: PoseSource, frames: Mapping[str, tuple[float, ...]]) -> None:
        self.source, self._frames = source, {name: np.array(pose) for name, pose in frames.items()}
        self.chain = TransformChain(*source.frames) if source.frames else None
        self.seen: list[str] = []
        self.frame_change = ""  # what is wrong with the frame of the newest message; empty if nothing is

    def read(self, message: Any, modality: Modality) -> tuple[float | None, np.ndarray] | None:
        """Stamp (None: that of the message) and pose (7,) in the robot's base frame; None if a tf message does not give it.

        Raises:
            ObservationRefused: The message cannot be converted.
        """
        if self.chain is not None:
            return self.chain.push(message)
        inner = message.transforms[0] if len(getattr(message, "transforms", ())) == 1 else message
        frame = frame_of(inner)
        self.frame_change = ""
        if frame not in self.seen:
            if self.seen and not self.is_base(frame, self.seen[0]):
                self.frame_change = f"frame_id changes from {self.seen[0] or '(none)'} to {frame or '(none)'}; expected one frame"
            self.seen.append(frame)
        pose = modality.read(message)
        return None, compose(self._frames[frame], pose) if frame in self._frames else pose

    def read_static(self, message: Any) -> None:
        """Add a message of ``/tf_static``."""
        if self.chain is not None:
            self.chain.push(message, static=True)

    def is_base(self, frame: str, other: str) -> bool:
        """Whether poses in two frames are comparable: the mapping gives one of them in the base frame, or they are equal."""
        return frame == other or frame in self._frames or other in self._frames


def check_frames(readers: Mapping[str, PoseReader], reporter: IssueReporter) -> None:
    """Report tf frames that are not connected, and a wrist that is measured in one frame and commanded in another."""
    for reader in readers.values():
        if reader.chain is not None and reader.source.frames and len(set(reader.source.frames) & set(reader.chain.known)) < 2:
            text = f"frames {' and '.join(reader.source.frames)} are not connected; {available(reader.chain.known)}"
            reporter.report("frames", reader.source.topic, None, text)
    if len(readers) < 2:
        return
    measured, commanded = readers["wrist"], readers["wrist_command"]
    bases = [reader.source.frames[:1] if reader.source.frames else tuple(reader.seen[:1]) for reader in (measured, commanded)]
    if all(bases) and bool(bases[0][0]) != bool(bases[1][0]):
        named = bases[0][0] or bases[1][0]
        unnamed = commanded if bases[0][0] else measured
        text = f"no frame_id; taken for {named}, in which the wrist is {'measured' if bases[0][0] else 'commanded'}"
        reporter.report("assumed", unnamed.source.topic, None, text, fatal=False)
    if all(base and base[0] for base in bases) and not measured.is_base(bases[0][0].lstrip("/"), bases[1][0].lstrip("/")):
        (one,), (other,) = bases
        text = (
            f"the wrist is measured in frame_id {one} and commanded in {other}; if they are the same, or if you know the pose of "
            f"{other} in {one}, give it in the mapping: `frames: {{{other}: same}}`, or x y z qx qy qz qw"
        )
        reporter.report("frames", commanded.source.topic, None, text)
