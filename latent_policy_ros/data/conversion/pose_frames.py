"""Frames of wrist poses: composition from tf, conversion to the robot's base frame, and checks that they agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import available
from latent_policy_ros.data.conversion.sources import TF_STATIC, PoseSource
from latent_policy_ros.data.issues import IssueReporter
from latent_policy_ros.observations.messages import frame_of
from latent_policy_ros.observations.modalities import Modality
from latent_policy_ros.observations.transforms import MAX_GAP, TransformChain, compose


class PoseReader:
    """Reads the poses of one source.

    Args:
        source: The topic, or the frames of tf.
        frames: {frame: pose (7,) of that frame in the robot's base frame}.
        max_gap: Longest time between two messages of a moving transform that are interpolated [s].

    Attributes:
        chain: The transforms between the two frames of tf; None for a topic of poses.
        seen: Frames of the messages so far, in order of appearance.
        issue: What is wrong with the frames of the newest message; empty if nothing is.
        silent: Whether no message gave a pose so far.
    """

    def __init__(self, source: PoseSource, frames: Mapping[str, tuple[float, ...]], max_gap: float = MAX_GAP) -> None:
        self.source, self._frames = source, {name: np.array(pose) for name, pose in frames.items()}
        self.chain = TransformChain(*source.frames, max_gap) if source.frames else None
        self.seen: list[str] = [self.chain.parent] if self.chain is not None else []
        self._child = ""
        self.issue, self.silent = "", True

    @property
    def base(self) -> str | None:
        """The frame of the poses: the first that the mapping does not give, or else the first; None before the first pose."""
        return next((frame for frame in self.seen if frame not in self._frames), self.seen[0] if self.seen else None)

    def read(self, message: Any, modality: Modality, stamp: float, replaced: bool = False) -> list[tuple[float, np.ndarray]]:
        """Stamps and poses (7,) in the robot's base frame; empty if a tf message does not give any.

        Args:
            message: The message.
            modality: Its conversion.
            stamp: Its stamp [s], or the time of receipt.
            replaced: Whether ``stamp`` also replaces the stamps of the transforms in the message.

        Raises:
            ObservationRefused: The message cannot be converted.
        """
        if self.chain is not None:
            poses = self.chain.push(message, at=stamp if replaced else None)
            self.issue = self.chain.conflict
            self.silent &= not poses
            return [(at, self._in_base(self.chain.parent, pose)) for at, pose in poses]
        pose = modality.read(message)
        inner = message.transforms[0] if hasattr(message, "transforms") else message
        self.issue = self._check_child(inner) or self._check_frame(frame_of(inner))
        self.silent = False
        return [(stamp, self._in_base(frame_of(inner), pose))]

    def read_static(self, message: Any) -> None:
        """Add a message of ``/tf_static``."""
        if self.chain is not None:
            self.chain.push(message, static=True)

    def is_base(self, frame: str, other: str) -> bool:
        """Whether poses in two frames are comparable: the mapping gives one of them in the base frame, or they are equal."""
        return frame == other or frame in self._frames or other in self._frames

    def _in_base(self, frame: str, pose: np.ndarray) -> np.ndarray:
        return compose(self._frames[frame], pose) if frame in self._frames else pose

    def _check_frame(self, frame: str) -> str:
        if frame in self.seen:
            return ""
        base = self.base
        self.seen.append(frame)
        if base is None or self.is_base(frame, base):
            return ""
        return f"frame_id changes from {base or '(none)'} to {frame or '(none)'}; expected one frame"

    def _check_child(self, message: Any) -> str:
        """What is wrong if a topic without named frames has transforms of several frames."""
        if not hasattr(message, "transform"):
            return ""
        child, before = message.child_frame_id.lstrip("/"), self._child
        self._child = before or child
        if child == self._child:
            return ""
        choice = f"`{{topic: {self.source.topic}, frames: [{frame_of(message)}, {before}]}}`"
        return f"transforms of two frames, {before} and {child}; choose one of them in the mapping, e.g. {choice}"


def check_frames(readers: Mapping[str, PoseReader], reporter: IssueReporter) -> None:
    """Report tf frames that give no pose, and a wrist that is measured in one frame and commanded in another."""
    for reader in readers.values():
        if reader.chain is not None and (text := _why_silent(reader.chain, reader.silent)):
            reporter.report("frames", reader.source.topic, None, text)
    if len(readers) < 2:
        return
    measured, commanded = readers["wrist"], readers["wrist_command"]
    one, other = measured.base, commanded.base
    if one is None or other is None:
        return
    if bool(one) != bool(other):
        unnamed = commanded if one else measured
        text = f"no frame_id; taken for {one or other}, in which the wrist is {'measured' if one else 'commanded'}"
        reporter.report("assumed", unnamed.source.topic, None, text, fatal=False)
    elif not measured.is_base(one, other):
        text = (
            f"the wrist is measured in frame_id {one} and commanded in {other}; if they are the same, or if you know the pose of "
            f"{other} in {one}, give it in the mapping: `frames: {{{other}: same}}`, or x y z qx qy qz qw"
        )
        reporter.report("frames", commanded.source.topic, None, text)


def _why_silent(chain: TransformChain, silent: bool) -> str:
    """Why transforms give no pose; empty if they give one."""
    frames, known = (chain.parent, chain.child), chain.known
    if not chain.connected:
        text = f"frames {' and '.join(frames)} are not connected; "
        if not set(frames) <= set(known):
            return text + available(known)
        return text + "; ".join(f"{frame} is in the tree of {', '.join(chain.tree(frame))}" for frame in frames)
    if not silent or chain.conflict:
        return ""
    reason = "are never known at the same time; compare their stamps" if chain.moves else f"are all on {TF_STATIC}"
    return f"no pose of {chain.child} in {chain.parent}: the transforms between them {reason}"
