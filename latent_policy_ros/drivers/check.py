"""Checks of a driver and its hardware: before a first motion, and with small motions of each joint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from latent_policy_ros.common.errors import HardwareError, describe_error
from latent_policy_ros.drivers.base import Driver, DriverSetup
from latent_policy_ros.drivers.registry import make_driver

PERIOD = 0.01  # s, of the control loop
RATE_TIME, MIN_RATE = 0.5, 50.0  # s of the test of the rate; Hz
OUTSIDE = 0.1  # share of its range by which a joint may be measured outside its limits
STEP = 0.1  # rad, or share of the range of a slide or of a small joint, of the motions
RAMP_TIME, SETTLE_TIME = 1.0, 0.3  # s of a motion and after it
COARSE_SETTLE_TIME = 3.0  # s after a motion of hardware that only knows its two ends
LATE = 2.0  # s that a measurement may be late
READY_TIME = 12.0  # s for hardware to get ready, e.g. for a gripper to be activated
MOVED = 0.3  # share of a motion that must be measured


class Result(NamedTuple):
    """Result of one check: whether it passed, and what was found."""

    passed: bool
    text: str


def check(name: str, setup: DriverSetup) -> Iterator[Result]:
    """Check a driver without any motion and without torque.

    Args:
        name: The driver, as in a fleet file.
        setup: Joints and their limits.
    """
    driver = None
    try:
        driver = make_driver(name, setup)
        driver.connect()
        yield Result(True, f"connected; joints: {', '.join(setup.joint_names)}")
        yield from _check_pose(driver, setup)
        yield from _check_range(driver, setup)
        yield _check_rate(driver)
    except Exception as error:  # noqa: BLE001  drivers of other packages may raise anything
        yield from (Result(False, line) for line in describe_error(error).splitlines())
        if driver is not None:
            yield from _other_hardware(driver)
    finally:
        if driver is not None:
            driver.close()


#: Asks whether joint ``index`` moved as it should: from a pose (n,) by a distance [rad or m].
Confirm = Callable[[int, np.ndarray, float], bool]


def check_motion(name: str, setup: DriverSetup, announce: Callable[[str], None], confirm: Confirm) -> Iterator[Result]:
    """Move each joint a little, one after the other, and back.

    Args:
        name: The driver, as in a fleet file.
        setup: Joints and their limits.
        announce: Called with each motion before it begins, e.g. ``index_mcp by +0.1, from 0.35``.
        confirm: Asks a person after each motion.
    """
    driver = make_driver(name, setup)
    try:
        driver.connect()
        _get_ready(driver)
        for index, joint in enumerate(setup.joint_names):
            start = driver.read().position
            step = _step(driver, start[index], setup.lower[index], setup.upper[index])
            announce(f"{joint} by {step:+.3g}, from {start[index]:.3g}")
            yield _move(driver, setup, index, start, step, confirm)
    except HardwareError as error:
        yield Result(False, str(error))
    finally:
        driver.close()


def _check_pose(driver: Driver, setup: DriverSetup) -> Iterator[Result]:
    position = driver.read().position
    span = setup.upper - setup.lower
    outside = np.maximum(setup.lower - position, position - setup.upper) > OUTSIDE * span
    for index in np.flatnonzero(outside | ~np.isfinite(position)):
        lower, upper, measured = setup.lower[index], setup.upper[index], position[index]
        mirrored = lower - OUTSIDE * span[index] <= -measured <= upper + OUTSIDE * span[index]
        why = "direction reversed?" if mirrored else "wrong zero, ratio or unit?"
        text = f"{setup.joint_names[index]}: measured {measured:.3g}, limits {lower:.3g} to {upper:.3g}: {why}"
        yield Result(False, text)
    if not outside.any():
        yield Result(True, "measured pose within the limits")


def _check_range(driver: Driver, setup: DriverSetup) -> Iterator[Result]:
    if not hasattr(driver, "hardware_range") or not np.isfinite(found := driver.hardware_range()).any():
        return
    slack = 0.01 * (setup.upper - setup.lower)
    narrow = (found[:, 0] > setup.lower + slack) | (found[:, 1] < setup.upper - slack)
    for index in np.flatnonzero(narrow):
        limits = f"{setup.lower[index]:.3g} to {setup.upper[index]:.3g}"
        own = f"{found[index, 0]:.3g} to {found[index, 1]:.3g}"
        text = f"{setup.joint_names[index]}: limits are {limits}, but the hardware's own are {own}; correct its limits or its zero"
        yield Result(False, text)
    if not narrow.any():
        yield Result(True, "limits within those of the hardware")


def _check_rate(driver: Driver) -> Result:
    stamps, slowest, until = set(), 0.0, time.monotonic() + RATE_TIME
    while (began := time.monotonic()) < until:
        stamps.add(driver.read().stamp)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(max(0.0, PERIOD - (time.monotonic() - began)))
    rate = len(stamps) / RATE_TIME
    text = f"{rate:.0f} measurements a second, slowest read {1e3 * slowest:.1f} ms"
    return Result(rate >= MIN_RATE, text if rate >= MIN_RATE else f"{text}; expected at least {MIN_RATE:g}: the bus is slow")


def _other_hardware(driver: Driver) -> Iterator[Result]:
    """What answers in place of the expected hardware, if the driver can tell."""
    if hasattr(driver, "other_hardware"):
        try:
            yield Result(False, driver.other_hardware())
        except HardwareError:
            return


def _get_ready(driver: Driver) -> None:
    """Hold the measured pose until the hardware follows commands, where the driver can tell (attribute ``ready``)."""
    until = time.monotonic() + READY_TIME
    while not getattr(driver, "ready", True) and time.monotonic() < until:
        driver.write(driver.read().position)
        time.sleep(PERIOD)


def _step(driver: Driver, position: float, lower: float, upper: float) -> float:
    """Motion of a joint: a little towards the middle of its range, or to the other end for hardware that only knows the ends."""
    below = position < (lower + upper) / 2
    if getattr(driver, "coarse", False):
        return float((upper if below else lower) - position)
    size = min(STEP, STEP * (upper - lower))
    return float(size if below else -size)


def _move(driver: Driver, setup: DriverSetup, index: int, start: np.ndarray, step: float, confirm: Confirm) -> Result:
    joint, goal = setup.joint_names[index], start.copy()
    goal[index] += step
    reached = _ramp(driver, start, goal)
    moved = reached - start
    others = [i for i in range(len(start)) if i != index and abs(moved[i]) > 0.5 * abs(step)]
    right = confirm(index, start, step) if abs(moved[index]) >= MOVED * abs(step) and not others else True
    _ramp(driver, goal, start)
    if others:
        return Result(False, f"{joint}: also moved {', '.join(setup.joint_names[i] for i in others)}; are two ids exchanged?")
    if moved[index] * np.sign(step) <= -MOVED * abs(step):
        return Result(False, f"{joint}: direction reversed: commanded {step:+.3g}, measured {moved[index]:+.3g}")
    if abs(moved[index]) < MOVED * abs(step):
        return Result(False, f"{joint}: did not move: commanded {step:+.3g}, measured {moved[index]:+.3g}")
    if not right:
        return Result(False, f"{joint}: direction reversed, or the motor of another joint; correct its direction or id")
    return Result(True, f"{joint}: moved {moved[index]:+.3g}")


def _ramp(driver: Driver, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Move from a pose to another one with a smooth speed; returns a pose that is measured after the motion has settled."""
    settle = COARSE_SETTLE_TIME if getattr(driver, "coarse", False) else SETTLE_TIME
    began, sent = time.monotonic(), np.inf  # time of the last set point [s since the epoch]
    while True:
        elapsed = time.monotonic() - began
        driver.write(start + (0.5 - 0.5 * np.cos(np.pi * min(1.0, elapsed / RAMP_TIME))) * (goal - start))
        if elapsed >= RAMP_TIME:
            sent = min(sent, time.time())
        reading = driver.read()
        if reading.stamp > sent + settle or elapsed > RAMP_TIME + settle + LATE:
            return reading.position
        time.sleep(PERIOD)
