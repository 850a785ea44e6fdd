"""Whether an episode can be what it says: cameras that look, joints that a robot can have, commands that are commands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from latent_policy_ros.data.inspection.episode_view import EpisodeView
from latent_policy_ros.data.issues import Issue, Issues

FROZEN, BLACK = 1.0, 0.5  # [s] that a camera may show one image while the robot moves, or nothing
DARK, FLAT = 8.0, 1.0  # grey levels: mean of a black image; spread of one without any content
MOVED = 0.05, 0.01  # rad or share of a slide's travel; m of the wrist: what counts as motion
CLIPPED = 0.5  # share of frames at a limit
TOO_FAST = 1.5  # times its greatest velocity
BEYOND = 0.05  # share of its range that a joint may be outside of it
OTHER_UNITS = {"revolute": (np.pi / 180, "degrees"), "prismatic": (1e-3, "millimetres")}


def validate(look: EpisodeView) -> list[Issue]:
    """Everything that is wrong with an episode, the faults of its alignment included; the first of each kind and topic."""
    found = Issues()
    checks = (_numbers, _joints, _commands, _cameras) if len(look.state) > 1 else ()
    for fault in itertools.chain(look.faults, *(check(look) for check in checks)):
        found.add(fault)
    return list(found)


def _fault(look: EpisodeView, kind: str, topic: str, frame: int | None, text: str, fatal: bool = True) -> Issue:
    return Issue(kind, text, look.source, look.topics.get(topic, topic), None if frame is None else frame / look.fps, fatal=fatal)


def _numbers(look: EpisodeView) -> Iterator[Issue]:
    for name in ("state", "action"):
        bad = np.argwhere(~np.isfinite(getattr(look, name)))
        if len(bad):
            yield _fault(look, "not finite", name, bad[0, 0], f"{look.joints[bad[0, 1]]} is NaN or infinite")


def _joints(look: EpisodeView) -> Iterator[Issue]:
    e = look.embodiment
    for column, joint in enumerate(look.joints if e else ()):
        if joint not in e.joint_names:
            continue
        k, kind = e.joint_names.index(joint), e.hinge(joint).kind
        low, high = e.lower[k], e.upper[k]
        for name in ("state", "action"):
            q = getattr(look, name)[:, column]
            slack = BEYOND * (high - low)
            outside = (q < low - slack) | (q > high + slack)
            if outside.any():
                yield _outside(look, name, joint, q, outside, low, high, kind)
                continue
            at_limit = np.mean((q <= low) | (q >= high))
            if at_limit > CLIPPED and kind == "revolute" and np.ptp(q) > MOVED[0]:
                text = f"{joint} stands at a limit ({low:.2f} or {high:.2f}) in {at_limit:.0%} of all frames"
                yield _fault(look, "clipped", name, None, text, fatal=False)
            speed = np.abs(np.diff(q)) * look.fps
            if name == "state" and speed.max() > TOO_FAST * e.max_velocity[k]:
                frame, unit = int(speed.argmax()), "rad/s" if kind == "revolute" else "m/s"
                text = f"{joint} at {speed.max():.1f} {unit}, which is made for {e.max_velocity[k]:.1f}"
                yield _fault(look, "jump", name, frame, text)


def _outside(
    look: EpisodeView, name: str, joint: str, q: np.ndarray, outside: np.ndarray, low: float, high: float, kind: str
) -> Issue:
    factor, units = OTHER_UNITS[kind]
    reach, frame = np.abs(q).max(), int(outside.argmax())
    slack = BEYOND * (high - low)
    fits = ((q * factor >= low - slack) & (q * factor <= high + slack)).all()
    if fits and reach > 2 * max(abs(low), abs(high)):
        text = f"{joint} reaches {reach:.1f}, its limits are {low:.2f} to {high:.2f}: {units}?"
        return _fault(look, "units", name, frame, text)
    text = f"{joint} is {q[frame]:.3f}, its limits are {low:.2f} to {high:.2f}"
    return _fault(look, "outside limits", name, frame, text, fatal=False)


def _commands(look: EpisodeView) -> Iterator[Issue]:
    if any(fault.kind == "state equals command" for fault in look.faults):
        return  # found among the messages already
    if np.abs(look.state - look.action).max() < 1e-6 and np.ptp(look.state, axis=0).max() > MOVED[0] / 10:
        text = "one was recorded as the other: no motor follows without any error"
        yield _fault(look, "state equals command", "state", None, text)


def _cameras(look: EpisodeView) -> Iterator[Issue]:
    if len(look.moments) < 2:
        return
    seconds = look.moments / look.fps
    for camera, images in look.images.items():
        grey = images.mean(axis=-1)
        dark = (grey.mean(axis=(1, 2)) < DARK) | (grey.std(axis=(1, 2)) < FLAT)
        for first, last in _runs(dark):
            if seconds[last] - seconds[first] >= BLACK or dark.all():
                text = f"shows nothing for {seconds[last] - seconds[first]:.1f} s"
                yield _fault(look, "black camera", camera, int(look.moments[first]), text)
                break
        still = np.abs(np.diff(images.astype(np.int16), axis=0)).max(axis=(1, 2, 3)) <= 1
        for first, last in _runs(still):
            span = seconds[last + 1] - seconds[first]
            if span >= FROZEN and not dark[first] and _moves(look, look.moments[first], look.moments[last + 1]):
                text = f"shows one image for {span:.1f} s while the robot moves"
                yield _fault(look, "frozen camera", camera, int(look.moments[first]), text)
                break


def _moves(look: EpisodeView, first: int, last: int) -> bool:
    part = look.state[first : last + 1]
    e = look.embodiment
    scale = np.ones(part.shape[1])
    for k, joint in enumerate(look.joints):
        if e and joint in e.joint_names and e.hinge(joint).kind == "prismatic":
            i = e.joint_names.index(joint)
            scale[k] = e.upper[i] - e.lower[i]
    wrist = 0.0 if look.wrist is None else np.ptp(look.wrist[first : last + 1, :3], axis=0).max()
    return bool((np.ptp(part, axis=0) / scale).max() > MOVED[0] or wrist > MOVED[1])


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    for first, end in edges.reshape(-1, 2):
        yield int(first), int(end) - 1
