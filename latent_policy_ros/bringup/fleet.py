"""A fleet of robots, as its YAML file describes it: read whole and checked, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from latent_policy_ros.common.config_reader import YAML_SUFFIXES, Section
from latent_policy_ros.common.errors import ArtifactError, ConfigError, HardwareError, available
from latent_policy_ros.common.paths import artifact, config_dir
from latent_policy_ros.control.arm_controller import ANYWHERE
from latent_policy_ros.control.arm_description import PANDA, Arm, list_arms, load_arm
from latent_policy_ros.drivers.registry import driver_class
from latent_policy_ros.embodiments import Embodiment, list_embodiments, load_embodiment
from latent_policy_ros.latent import LatentSpace

if TYPE_CHECKING:
    from latent_policy_ros.embodiments.human.hand_input import CanonicalHands

IMAGES = ("raw", "compressed")
RATES = 5.0, 100.0  # Hz, of the policy node; with fewer plans the robots would hold between them
MAX_SEED = 2**31 - 1  # of the simulator node
LATENT = "latent"
MODES = LATENT, "direct"  # of teleoperation
NONE = "none"  # no driver node: a node of one's own does its work
DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]+)?")
NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # a token of a ROS name


@dataclass(frozen=True)
class Robot:
    """One robot of a fleet.

    Attributes:
        namespace: Its name in the graph.
        embodiment: Its end-effector.
        arm: What carries it.
        cameras: Its cameras; ``<namespace>/<camera>/image_raw`` are their topics.
        sources: Of cameras that this package is to open, what OpenCV opens; see ``drivers/camera.py``.
        driver: What moves the end-effector: a registered driver, ``package.module:Class@address``, or ``none``.
        arm_driver: What moves the arm, likewise; empty: the same.
        images: Which image topics the policy reads, ``raw`` or ``compressed``.
        seed: Where its simulated scene begins.
        workspace: Lowest and highest x, y, z of its wrist in the arm's base [m].
    """

    namespace: str
    embodiment: Embodiment
    arm: Arm
    cameras: tuple[str, ...]
    driver: str = "sim"
    arm_driver: str = ""
    images: str = "raw"
    seed: int = 0
    workspace: tuple[float, ...] = ANYWHERE
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fleet:
    """Robots that one policy drives.

    Attributes:
        file: Where it was described.
        robots: By namespace, in the file's order.
        policy, latent: Folders of policy and latent space.
        rate: Observations answered per second [Hz].
        task: The task in words.
        device: Where the policy's network runs.
    """

    file: Path
    robots: Mapping[str, Robot]
    policy: Path
    latent: Path
    rate: float
    task: str
    device: str = "auto"

    def text(self) -> str:
        """Its file; where it came from launch arguments, the file that says the same."""
        if self.file.is_file():
            return self.file.read_text(encoding="utf-8")
        robots = {
            name: {"embodiment": robot.embodiment.reference, "cameras": list(robot.cameras), "driver": robot.driver,
                   **({"arm_driver": robot.arm_driver} if robot.arm_driver else {}), "arm": robot.arm.reference}
            for name, robot in self.robots.items()
        }  # fmt: skip
        content = {"policy": str(self.policy), "latent": str(self.latent), "rate": self.rate, "robots": robots}
        return yaml.safe_dump(content, sort_keys=False)


@dataclass(frozen=True)
class Teleoperation:
    """How a person drives the robots of a fleet, in the place of its policy.

    Attributes:
        mode: ``latent`` (through the latent space and the robots' decoders) or ``direct`` (by retargeting).
        robots: Namespaces of those that are driven; empty: all.
        file: A recording to play, in the place of the topic ``keypoints``; empty: none.
        loop: Play it again and again.
        side, layout, units: Of the keypoints; see ``embodiments/hand_input.py``.
    """

    mode: str = LATENT
    robots: tuple[str, ...] = ()
    file: str = ""
    loop: bool = False
    side: str = "auto"
    layout: str = "auto"
    units: str = "m"

    def driven(self, fleet: Fleet) -> list[Robot]:
        """The robots that are driven.

        Raises:
            ConfigError: The fleet has no robot of that name, or no such mode.
        """
        if self.mode not in MODES:
            raise ConfigError("teleoperation", "mode", f"got {self.mode!r}; {available(MODES)}")
        unknown = [name for name in self.robots if name not in fleet.robots]
        if unknown:
            raise ConfigError(fleet.file, "robots", f"no robot {unknown[0]!r} to teleoperate; {available(fleet.robots)}")
        return [robot for name, robot in fleet.robots.items() if not self.robots or name in self.robots]

    def hands(self) -> CanonicalHands | None:
        """The hand that its file shows; None without a file.

        Raises:
            KeypointsRefused: No such side, layout or units, or the keypoints of the file are not of that kind.
            ArtifactError, FileNotFoundError: The file cannot be read.
        """
        from latent_policy_ros.data.hand_recordings import read_hand_recording  # slow to import, and seldom needed
        from latent_policy_ros.embodiments.human.hand_input import HandInput, canonical_hands

        HandInput(self.layout, self.units, self.side)
        if not self.file:
            return None
        return canonical_hands(read_hand_recording(self.file).points, self.layout, self.units, self.side)


def load_fleet(name_or_path: str | Path, *, decoded: bool = True) -> Fleet:
    """The fleet of that name under ``config/robots``, or in that YAML file.

    Args:
        name_or_path: Which.
        decoded: Whether its robots follow plans, so that its latent space must know them all.

    Raises:
        ConfigError: No such name or file, or the file is wrong; says where, what was got and what was expected.
    """
    text = str(name_or_path)
    folder = config_dir() / "robots"
    path = Path(text).expanduser() if text.endswith(YAML_SUFFIXES) else folder / f"{text}.yaml"
    if not path.is_file():
        raise ConfigError(path, "", f"no fleet {text!r}; {available(p.stem for p in folder.glob('*.yaml'))}")
    top = Section.load(path)
    robots = {name: _robot(name, section) for name, section in top.section("robots").sections()}
    if not robots:
        raise top.error("robots", "expected at least one robot, got none")
    policy = _artifact(top, "policy", "policies")
    latent = _artifact(top, "latent", "latents")
    rate = top.number_in("rate", *RATES) if top.has("rate") else 10.0
    task = top.string("task") if top.has("task") else ""
    device = top.string("device") if top.has("device") else "auto"
    if not DEVICE.fullmatch(device):
        raise top.error("device", f"got {device!r}; expected auto, cpu, cuda or cuda:N")
    top.finish()
    fleet = Fleet(path, robots, policy, latent, rate, task, device)
    return _checked(fleet) if decoded else fleet


def single_robot(
    namespace: str,
    embodiment: str,
    cameras: Sequence[str],
    driver: str = "sim",
    policy: str = "default",
    latent: str = "default",
    arm_driver: str = "",
    arm: str = PANDA,
) -> Fleet:
    """A fleet of one robot, from launch arguments; an empty ``arm_driver``: as ``driver``.

    Raises:
        ConfigError: An argument is wrong; names it.
    """
    robot = {"embodiment": embodiment, "cameras": list(cameras), "driver": driver, "arm": arm}
    if arm_driver:
        robot["arm_driver"] = arm_driver
    content = {"policy": policy, "latent": latent, "robots": {namespace: robot}}
    top = Section("launch arguments", "", content)
    robots = {name: _robot(name, section) for name, section in top.section("robots").sections()}
    policy_dir, latent_dir = _artifact(top, "policy", "policies"), _artifact(top, "latent", "latents")
    return _checked(Fleet(Path("launch arguments"), robots, policy_dir, latent_dir, 10.0, ""))


def _robots() -> list[str]:
    return [name for name in list_embodiments() if load_embodiment(name).command]


def _robot(namespace: str, section: Section) -> Robot:
    if not NAMESPACE.fullmatch(namespace):
        raise section.error("", f"got the name {namespace!r}; expected a ROS name: letters, digits and _, first a letter")
    name = section.string("embodiment")
    try:
        embodiment = load_embodiment(name)
    except ConfigError as error:
        if name.endswith(YAML_SUFFIXES):
            raise
        raise section.error("embodiment", f"got {name!r}; {available(_robots())}, each hand also with _left") from error
    if not embodiment.command:
        raise section.error("embodiment", f"{name} is no robot's; {available(_robots())}")
    cameras, sources = _cameras(section)
    for camera in cameras:
        if not NAMESPACE.fullmatch(camera):
            raise section.error("cameras", f"got {camera!r}; expected a ROS name: letters, digits and _, first a letter")
    driver, arm_driver = _drivers(section)
    arm = _arm(section, embodiment, driver)
    if driver == "sim":
        if sources:
            raise section.error("cameras", "a simulated robot publishes its own; expected a list of names, got sources")
        from latent_policy_ros.sim.scene import scene_cameras  # it takes time, which real robots need not wait for

        whose = f"a simulated {embodiment.name}"
        known_cameras(section.file, section.path, cameras, scene_cameras(embodiment), whose)
    images = section.choice("images", IMAGES) if section.has("images") else "raw"
    if images != "raw" and (driver == "sim" or sources):
        raise section.error("images", "simulators and cameras that are opened here publish raw images only; expected raw")
    seed = int(section.number_in("seed", 0, MAX_SEED, whole=True)) if section.has("seed") else 0
    workspace = _workspace(section.optional("workspace"))
    section.finish()
    return Robot(namespace, embodiment, arm, cameras, driver, arm_driver, images, seed, workspace, sources)


def _cameras(section: Section) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names, and the sources of those that have one."""
    if not section.has("cameras") or section.is_list("cameras") or section.is_text("cameras"):
        return section.strings("cameras"), {}
    given = section.section("cameras")
    named = {camera: given.string(camera) for camera in given.names()}
    return tuple(named), {camera: source for camera, source in named.items() if source != NONE}


def known_cameras(file: str | Path, robot: str, cameras: Sequence[str], known: Sequence[str], whose: str) -> None:
    """Refuse cameras that are not among those that there are.

    Args:
        file, robot: Where they stand; ``robot`` is the dotted path.
        cameras: Their names.
        known, whose: Those that there are, and who has them.

    Raises:
        ConfigError: One is not among them; names it.
    """
    unknown = [camera for camera in cameras if camera not in known]
    if unknown:
        message = f"got {unknown[0]!r}: {whose} has no camera of that name; {available(known)}"
        raise ConfigError(file, f"{robot}.cameras", message)


def _drivers(section: Section) -> tuple[str, str]:
    """What moves end-effector and arm; the latter is empty where one thing moves both."""
    driver = _driver(section, "driver")
    if not section.has("arm_driver") and driver not in ("mock", "sim"):  # a hand's class moves no arm
        message = f"missing: {driver} moves the end-effector; expected mock, none, or a class of yours"
        raise section.error("arm_driver", message)
    arm = _driver(section, "arm_driver") if section.has("arm_driver") else ""
    if arm and driver != arm and "sim" in (driver, arm):
        message = f"sim moves both or none: expected driver and arm_driver sim; got {driver} and {arm}"
        raise section.error("arm_driver", message)
    return driver, arm


def _arm(section: Section, embodiment: Embodiment, driver: str) -> Arm:
    """Its arm, if there is one of that name that carries the end-effector."""
    name = section.string("arm") if section.has("arm") else PANDA
    if not name.endswith(YAML_SUFFIXES) and name not in list_arms():
        raise section.error("arm", f"got {name!r}; {available(list_arms())}, or a YAML file")
    arm = load_arm(name)
    arm.mount(embodiment)
    if driver == "sim" and arm.reference != PANDA:
        raise section.error("arm", f"got {name!r}; a simulated robot has a {PANDA}")
    return arm


def _workspace(section: Section) -> tuple[float, ...]:
    low, high = ANYWHERE[:2]
    bounds = [section.interval(axis) if section.has(axis) else (low, high) for axis in "xyz"]
    for axis, bound in zip("xyz", bounds):
        if bound[0] >= high or bound[1] <= low:
            raise section.error(axis, f"expected a part of {low:g} to {high:g} m, got {list(bound)}")
    section.finish()
    return tuple(bound for pair in bounds for bound in pair)


def _driver(section: Section, field: str) -> str:
    name = section.string(field)
    if name != NONE:
        try:
            driver_class(name)
        except HardwareError as error:
            raise section.error(field, str(error)) from error
    return name


def _artifact(top: Section, key: str, kind: str) -> Path:
    try:
        return artifact(kind, top.string(key)).resolve()
    except FileNotFoundError as error:
        raise top.error(key, str(error)) from error


def _checked(fleet: Fleet) -> Fleet:
    """The fleet, if its latent space knows every embodiment as it is now."""
    try:
        space = LatentSpace.load(fleet.latent)
    except ArtifactError as error:
        raise ConfigError(fleet.file, "latent", str(error)) from error
    for name, robot in fleet.robots.items():
        try:
            space.check(robot.embodiment)
        except ArtifactError as error:
            raise ConfigError(fleet.file, f"robots.{name}.embodiment", str(error)) from error
    return fleet
