"""Episode validation: frozen or black cameras, joint limits, units, velocity jumps, state/command aliasing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from latent_policy_ros.data.conversion.limit_checks import check_limits
from latent_policy_ros.data.inspection.episode_view import EpisodeView
from latent_policy_ros.data.issues import Issue, Issues
from latent_policy_ros.embodiments import Embodiment

FROZEN_TIME = 1.0  # s; a camera is frozen if it shows one image for this time while the robot moves
BLACK_TIME = 0.5  # s; a camera is black if its images have no content for this time
BLACK_MEAN, BLACK_STD = 8.0, 1.0  # grey levels; an image with a lower mean or standard deviation has no content
JOINT_MOTION = 0.05  # rad, or fraction of the range of a prismatic joint; larger changes are motion
WRIST_MOTION = 0.01  # m; likewise
CLIPPED_FRACTION = 0.5  # of all frames
VELOCITY_FACTOR = 1.5  # a velocity above this multiple of the joint's limit is a jump


def validate(view: EpisodeView) -> list[Issue]:
    """All issues of an episode, including those found while reading it; one for each kind and topic."""
    found = Issues()
    checks = (_check_finite, _check_joints, _check_aliasing, _check_cameras) if len(view.state) > 1 else ()
    for issue in itertools.chain(view.issues, *(check(view) for check in checks)):
        found.add(issue)
    return list(found)


def _issue(view: EpisodeView, kind: str, topic: str, frame: int | None, text: str, fatal: bool = True) -> Issue:
    return Issue(kind, text, view.source, view.topics.get(topic, topic), None if frame is None else frame / view.fps, fatal=fatal)


def _vectors(view: EpisodeView) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
    """Name, joints and values of state and action."""
    yield "state", view.joints, view.state
    yield "action", view.action_joints, view.action


def _check_finite(view: EpisodeView) -> Iterator[Issue]:
    for name, joints, values in _vectors(view):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            yield _issue(view, "not finite", name, bad[0, 0], f"{joints[bad[0, 1]]} is NaN or infinite")


def _check_joints(view: EpisodeView) -> Iterator[Issue]:
    e = view.embodiment
    if e is None:
        return
    for name, joints, values in _vectors(view):
        found = list(check_limits(joints, values, e))
        for finding in found:
            yield _issue(view, finding.kind, name, finding.frame, finding.text, finding.fatal)
        outside = {finding.text.partition(" ")[0] for finding in found}
        for column, joint in enumerate(joints):
            if joint in e.joint_names and joint not in outside:
                yield from _check_motion(view, name, joint, values[:, column], e)


def _check_motion(view: EpisodeView, name: str, joint: str, q: np.ndarray, e: Embodiment) -> Iterator[Issue]:
    k, kind = e.joint_names.index(joint), e.hinge(joint).kind
    low, high = e.lower[k], e.upper[k]
    at_limit = np.mean((q <= low) | (q >= high))
    if at_limit > CLIPPED_FRACTION and kind == "revolute" and np.ptp(q) > JOINT_MOTION:
        text = f"{joint} is at a limit ({low:.2f} or {high:.2f}) in {at_limit:.0%} of all frames"
        yield _issue(view, "clipped", name, None, text, fatal=False)
    speed = np.abs(np.diff(q)) * view.fps
    if name == "state" and speed.max() > VELOCITY_FACTOR * e.max_velocity[k]:
        frame, unit = int(speed.argmax()), "rad/s" if kind == "revolute" else "m/s"
        text = f"{joint} moves at {speed.max():.1f} {unit}; its velocity limit is {e.max_velocity[k]:.1f}"
        yield _issue(view, "jump", name, frame, text)


def _check_aliasing(view: EpisodeView) -> Iterator[Issue]:
    if any(issue.kind == "state equals command" for issue in view.issues):
        return  # already found while reading the messages
    if not view.action_joints:
        return
    measured = view.state[:, [view.joints.index(joint) for joint in view.action_joints]]
    if np.abs(measured - view.action).max() < 1e-6 and np.ptp(view.state, axis=0).max() > JOINT_MOTION / 10:
        text = "equal to the command in all frames; check that measured and commanded joints are not the same topic"
        yield _issue(view, "state equals command", "state", None, text)


def _check_cameras(view: EpisodeView) -> Iterator[Issue]:
    if len(view.image_frames) < 2:
        return
    seconds = view.image_frames / view.fps
    for camera, images in view.images.items():
        grey = images.mean(axis=-1)
        dark = (grey.mean(axis=(1, 2)) < BLACK_MEAN) | (grey.std(axis=(1, 2)) < BLACK_STD)
        for first, last in _runs(dark):
            if seconds[last] - seconds[first] >= BLACK_TIME or dark.all():
                text = f"images without content for {seconds[last] - seconds[first]:.1f} s"
                yield _issue(view, "black camera", camera, int(view.image_frames[first]), text)
                break
        still = np.abs(np.diff(images.astype(np.int16), axis=0)).max(axis=(1, 2, 3)) <= 1
        for first, last in _runs(still):
            span = seconds[last + 1] - seconds[first]
            if span >= FROZEN_TIME and not dark[first] and _moves(view, view.image_frames[first], view.image_frames[last + 1]):
                text = f"the image does not change for {span:.1f} s while the robot moves"
                yield _issue(view, "frozen camera", camera, int(view.image_frames[first]), text)
                break


def _moves(view: EpisodeView, first: int, last: int) -> bool:
    """Whether a joint or the wrist moves between two frames."""
    part = view.state[first : last + 1]
    e = view.embodiment
    scale = np.ones(part.shape[1])
    for k, joint in enumerate(view.joints):
        if e and joint in e.joint_names and e.hinge(joint).kind == "prismatic":
            i = e.joint_names.index(joint)
            scale[k] = e.upper[i] - e.lower[i]
    wrist = 0.0 if view.wrist is None else np.ptp(view.wrist[first : last + 1, :3], axis=0).max()
    return bool((np.ptp(part, axis=0) / scale).max() > JOINT_MOTION or wrist > WRIST_MOTION)


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    for first, end in edges.reshape(-1, 2):
        yield int(first), int(end) - 1
