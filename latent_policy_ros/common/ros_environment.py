"""Environment variables of ROS 2 processes, Fast DDS transports, and private ROS domains. Does not import ROS."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import PACKAGE, config_dir

#: Domains whose ports lie below the ephemeral range of Linux (docs.ros.org, "About ROS_DOMAIN_ID"), without 0, the default.
DOMAINS = range(1, 102)
#: UDP ports of the first participant of a domain: offset + 250 * domain (DDSI-RTPS 2.5, 9.6.2.3).
PORT_GAIN, PORT_OFFSETS = 250, (7400, 7410)
#: Variable of the profile file in Fast DDS 2 and older, and in Fast DDS 3.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
#: Variable of the discovery range (docs.ros.org, "Improved Dynamic Discovery").
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
#: Name of the package from PyPI that holds rclpy of a distribution.
WHEEL = re.compile(r"ros-([a-z]+)-rclpy")
#: Set by the ROS wheels in an interpreter whose library path is complete. A child that inherits it without the library path
#: does not find its libraries.
WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def node_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a node: missing variables are added, existing ones kept.

    Args:
        environment: The environment to complete; default that of this process.
    """
    env = dict(os.environ if environment is None else environment)
    env.setdefault("HOME", tempfile.gettempdir())  # rcl writes its logs there
    env.setdefault("OMP_NUM_THREADS", "1")  # thread barriers are slow when other processes use the cores
    env.setdefault("RCUTILS_COLORIZED_OUTPUT", "0")
    _add_install_prefix(env)
    return env


def choose_transport(images: bool, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that select the Fast DDS transport of a process; to be set before its first node is created.

    Images are sent through shared memory. A subscriber that is killed can block publishers that use shared memory for up to a
    second, so nodes without images use UDP only. Existing settings are kept.

    Args:
        images: The process publishes or receives images.
        environment: Environment from ``node_environment``.
    """
    fastdds = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    if not fastdds or any(name in environment for name in PROFILE_VARIABLES):
        return {}
    name, chosen = "shared_memory" if images else "udp", {}
    if environment.get(RANGE) == "LOCALHOST":  # the profile restricts the range instead: rmw_fastrtps would add shared memory
        name, chosen = f"{name}_localhost", {RANGE: "SUBNET"}
    return chosen | dict.fromkeys(PROFILE_VARIABLES, str(config_dir() / "fastdds" / f"{name}.xml"))


def _add_install_prefix(env: dict[str, str]) -> None:
    """Add the ament index and the libraries of this package, if it is installed in the interpreter's environment."""
    prefix, library_folder = sys.prefix, os.path.join(sys.prefix, "lib")
    installed = (Path(prefix) / "share" / PACKAGE / "package.xml").is_file()
    if installed or not env.get("AMENT_PREFIX_PATH"):
        _prepend(env, "AMENT_PREFIX_PATH", prefix)
    if library_folder not in env.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        env.pop(WHEELS_GUARD, None)  # the child completes its own library path
        if installed and importlib.util.find_spec("ros_wheels_bootstrapper") is None:
            _prepend(env, "LD_LIBRARY_PATH", library_folder)


def _prepend(env: dict[str, str], name: str, folder: str) -> None:
    folders = [entry for entry in env.get(name, "").split(os.pathsep) if entry]
    if folder not in folders:
        env[name] = os.pathsep.join([folder, *folders])


@cache
def ros_distribution() -> str:
    """Name of the ROS 2 distribution, e.g. ``jazzy``: sourced or from PyPI; else ``unknown``."""
    if sourced := os.environ.get("ROS_DISTRO"):
        return sourced
    names = (match[1] for d in distributions() if (match := WHEEL.fullmatch(d.metadata["Name"] or "")))
    return next(names, "unknown")


def orphaned_shared_memory(folder: Path = Path("/dev/shm")) -> list[Path]:
    """Shared memory segments of killed Fast DDS processes: segments whose lock is free."""
    orphans = []
    for lock in sorted(folder.glob("fastrtps_*_el")):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held by a running process, or owned by another user
            continue
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if segment.is_file():
            orphans.append(segment)
    return orphans


@contextmanager
def private_domain() -> Iterator[dict[str, str]]:
    """Reserve a ROS domain that no process on this machine uses.

    Yields:
        Environment variables that put a process into the domain and limit discovery to this machine.

    Raises:
        LatentPolicyError: All domains are in use.
    """
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        lock = Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}-domain-{domain}.lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if os.fstat(file.fileno()).st_nlink == 0:  # its owner has removed it since it was opened
                continue
            try:
                if not domain_in_use(domain):
                    yield {"ROS_DOMAIN_ID": str(domain), RANGE: "LOCALHOST"}
                    return
            finally:
                lock.unlink(missing_ok=True)
    raise LatentPolicyError(f"all {len(DOMAINS)} ROS domains are in use on this machine")


def domain_in_use(domain: int) -> bool:
    """Whether a process of any user on this machine listens on the ports of a ROS domain."""
    for offset in PORT_OFFSETS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", offset + PORT_GAIN * domain))
            except OSError:
                return True
    return False
