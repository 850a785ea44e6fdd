"""``latent-policy drivers``: the registered drivers, and checks of a fleet's hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from latent_policy_ros.cli.common import COMPACT, FleetArgument, console, print_line, print_table

if TYPE_CHECKING:
    from latent_policy_ros.bringup import Robot
    from latent_policy_ros.drivers.base import DriverSetup
    from latent_policy_ros.drivers.check import Result

app = typer.Typer(no_args_is_help=True, help="Hardware drivers.")

#: Directions along the axes of the hand frame, and of an arm's base frame.
HAND_DIRECTIONS = (
    ("out of the palm", "towards the back of the hand"),
    ("towards the side of the right hand's thumb", "away from the side of the right hand's thumb"),
    ("away from the wrist", "towards the wrist"),
)
ARM_DIRECTIONS = ("along +x", "along -x"), ("along +y", "along -y"), ("up", "down")


@app.command("list")
def list_command() -> None:
    """List the registered drivers, and whether their libraries are installed."""
    from latent_policy_ros.common.errors import HardwareError
    from latent_policy_ros.drivers.registry import DRIVERS, driver_class

    table = Table("driver", "hardware", "library", **COMPACT)
    for name in DRIVERS.names():
        try:
            found = driver_class(name)
        except HardwareError as error:
            table.add_row(name, "", str(error))
            continue
        hardware = (found.__doc__ or "").strip().splitlines()
        table.add_row(name, hardware[0] if hardware else "", _library(found))
    print_table(table)


@app.command("check")
def check_command(
    fleet: FleetArgument,
    move: Annotated[bool, typer.Option("--move", help="Also move each joint a little, after asking for each robot.")] = False,
    robot: Annotated[str, typer.Option(help="Check this robot only.")] = "",
) -> None:
    """Check the hardware of a fleet: libraries, ports, motors, limits, rate. No node of the fleet may run.

    Without `--move` nothing moves, and motors get no torque. Exit status 1 if a check fails.

    Examples:

        latent-policy drivers check my_fleet.yaml
        latent-policy drivers check my_fleet.yaml --move --robot left
    """
    from latent_policy_ros import bringup
    from latent_policy_ros.common.errors import ConfigError, available
    from latent_policy_ros.drivers.check import check, check_motion

    loaded, failed = bringup.load_fleet(fleet, decoded=False), False
    if robot and robot not in loaded.robots:
        raise ConfigError(loaded.file, "robots", f"no robot {robot!r}; {available(loaded.robots)}")
    for name, member in loaded.robots.items():
        if robot and name != robot:
            continue
        for part, driver, setup, describe in _parts(member):
            if driver in ("none", "sim"):
                print_line(f"{name} {part}: driver {driver}: nothing to check")
                continue
            ready = _print(f"{name} {part}", check(driver, setup))
            if move and ready:
                question = f"{name} {part}: move each of {len(setup.joint_names)} joints a little? Is the robot free to move?"
                if typer.confirm(question):
                    confirm = lambda index, pose, step, text=describe: typer.confirm(text(index, pose, step))
                    ready = _print(
                        f"{name} {part}", check_motion(driver, setup, lambda motion: print_line(f"moving {motion}"), confirm)
                    )
            failed |= not ready
    raise typer.Exit(int(failed))


def _print(place: str, results: Iterator[Result]) -> bool:
    """Print results as they come; returns whether all passed."""
    passed = True
    for result in results:
        passed &= result.passed
        print_line(f"{place}: {result.text}", "ok  " if result.passed else "FAIL", "green" if result.passed else "red", console)
    return passed


def _library(found: type) -> str:
    from importlib.util import find_spec

    module, extra = getattr(found, "module", ""), getattr(found, "extra", "")
    if not module:
        return "-"
    return f"{module}: installed" if find_spec(module) else f"missing; type: pip install 'latent_policy_ros[{extra}]'"


def _parts(robot: Robot) -> Iterator[tuple[str, str, DriverSetup, Callable[[int, np.ndarray, float], str]]]:
    """Part of a robot, its driver, what it is made from, and a description of a joint's motion."""
    from latent_policy_ros.control.arm_kinematics import ArmKinematics
    from latent_policy_ros.drivers.base import DriverSetup

    arm, hand = robot.arm, robot.embodiment
    flange = arm.base, ArmKinematics(hand, arm).flange_pose
    setup = DriverSetup(arm.joint_names, arm.home, "arm", lower=arm.lower, upper=arm.upper, flange=flange)
    yield "arm", robot.arm_driver or robot.driver, setup, lambda *motion: _arm_motion(robot, *motion)
    setup = DriverSetup(hand.joint_names, hand.rest, "hand", lower=hand.lower, upper=hand.upper)
    yield str(hand.command), robot.driver, setup, lambda *motion: _hand_motion(robot, *motion)


def _hand_motion(robot: Robot, index: int, pose: np.ndarray, step: float) -> str:
    """Question about the motion of the fingertip that a joint moves most."""
    import pinocchio as pin

    from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model

    hand = robot.embodiment
    model = pinocchio_model(hand)
    data, places = model.createData(), []
    moved = pose.copy()
    moved[index] += step
    for q in (pose, moved):
        pin.framesForwardKinematics(model, data, hand.coupling @ q)
        places.append([data.oMf[model.getFrameId(f"{finger}_tip")].translation.copy() for finger in hand.fingertips])
    shifts = (np.array(places[1]) - np.array(places[0])) @ hand.T_base_hand[:3, :3]
    finger = int(np.linalg.norm(shifts, axis=1).argmax())
    return _question(hand.joint_names[index], f"the {list(hand.fingertips)[finger]} tip", shifts[finger], HAND_DIRECTIONS)


def _arm_motion(robot: Robot, index: int, pose: np.ndarray, step: float) -> str:
    """Question about the motion of the flange, in the base frame."""
    import pinocchio as pin

    arm = robot.arm
    data, frames, places = arm.model.createData(), [arm.model.getFrameId(arm.base), arm.model.getFrameId(arm.flange)], []
    moved = pose.copy()
    moved[index] += step
    for q in (pose, moved):
        pin.framesForwardKinematics(arm.model, data, q)
        places.append(data.oMf[frames[0]].actInv(data.oMf[frames[1]]))
    shift = places[1].translation - places[0].translation
    if np.linalg.norm(shift) < 0.002:
        axis = arm.model.joints[index + 1].shortname()[-1]
        return f"{arm.joint_names[index]}: did the flange turn by {np.degrees(step):+.0f} degrees about the joint's axis {axis}?"
    return _question(arm.joint_names[index], "the flange", shift, ARM_DIRECTIONS)


def _question(joint: str, what: str, shift: np.ndarray, directions: tuple[tuple[str, str], ...]) -> str:
    axis = int(np.abs(shift).argmax())
    direction = directions[axis][0 if shift[axis] > 0 else 1]
    return f"{joint}: did {what} move {1e3 * np.linalg.norm(shift):.0f} mm, mainly {direction}?"
