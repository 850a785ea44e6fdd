"""What a process of a ROS 2 graph needs in its environment, and a graph of one's own. Free of ROS itself."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import PACKAGE, config_dir

#: Domains whose ports stay below Linux' ephemeral range (docs.ros.org, "About ROS_DOMAIN_ID"); 0 is everyone's default.
DOMAINS = range(1, 102)
#: UDP ports that the first participant of a domain listens on: offset + 250 * domain (DDSI-RTPS 2.5, 9.6.2.3).
PORT_GAIN, PORT_OFFSETS = 250, (7400, 7410)
#: Fast DDS up to 2 reads the first, from 3 on the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
#: How far discovery reaches (docs.ros.org, "Improved Dynamic Discovery").
RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
#: Set by the ROS wheels once an interpreter has its library path; inherited alone, a child's libraries are not found.
WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def node_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a node: what is set already stays, what is needed and missing is added.

    Args:
        environment: What to begin with; default this process's.
    """
    env = dict(os.environ if environment is None else environment)
    env.setdefault("HOME", tempfile.gettempdir())  # rcl's log folder
    env.setdefault("OMP_NUM_THREADS", "1")  # barriers between threads collapse beside other busy processes
    env.setdefault("RCUTILS_COLORIZED_OUTPUT", "0")
    _find_own_prefix(env)
    return env


def choose_transport(images: bool, environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process, before its first node, so that Fast DDS carries its messages well.

    Images go through shared memory; but who publishes through it may be kept waiting for a second by a process that is
    killed, so nodes without images do not use it. What is set already stays.

    Args:
        images: Whether the process publishes or receives images.
        environment: As ``node_environment`` completed it.
    """
    fastdds = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    if not fastdds or any(name in environment for name in PROFILE_VARIABLES):
        return {}
    name, chosen = "shared_memory" if images else "udp", {}
    if environment.get(RANGE) == "LOCALHOST":  # the profile's task: rmw_fastrtps would add shared memory to every process
        name, chosen = f"{name}_localhost", {RANGE: "SUBNET"}
    return chosen | dict.fromkeys(PROFILE_VARIABLES, str(config_dir() / "fastdds" / f"{name}.xml"))


def _find_own_prefix(env: dict[str, str]) -> None:
    """Where this package's index and libraries are, if it is installed in this interpreter's environment."""
    prefix, library_folder = sys.prefix, os.path.join(sys.prefix, "lib")
    installed = (Path(prefix) / "share" / PACKAGE / "package.xml").is_file()
    if installed or not env.get("AMENT_PREFIX_PATH"):
        _prepend(env, "AMENT_PREFIX_PATH", prefix)
    if library_folder not in env.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        env.pop(WHEELS_GUARD, None)  # so that the child looks for its libraries itself
        if installed and importlib.util.find_spec("ros_wheels_bootstrapper") is None:
            _prepend(env, "LD_LIBRARY_PATH", library_folder)


def _prepend(env: dict[str, str], name: str, folder: str) -> None:
    folders = [entry for entry in env.get(name, "").split(os.pathsep) if entry]
    if folder not in folders:
        env[name] = os.pathsep.join([folder, *folders])


def orphaned_segments(folder: Path = Path("/dev/shm")) -> list[Path]:
    """Shared memory that Fast DDS processes left behind when they were killed: nobody holds its lock any more."""
    orphans = []
    for lock in sorted(folder.glob("fastrtps_*_el")):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # of a process that lives, or of another user
            continue
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if segment.is_file():
            orphans.append(segment)
    return orphans


@contextmanager
def private_domain() -> Iterator[dict[str, str]]:
    """Hold a ROS domain that no other run of this package holds and that nothing on this machine uses.

    Yields:
        The environment variables that put a process into it, with discovery kept on this machine.

    Raises:
        LatentPolicyError: Every domain is taken.
    """
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        lock = Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}-domain-{domain}.lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if domain_in_use(domain):
                continue
            yield {"ROS_DOMAIN_ID": str(domain), RANGE: "LOCALHOST"}
            return
    raise LatentPolicyError(f"all {len(DOMAINS)} ROS domains are in use on this machine")


def domain_in_use(domain: int) -> bool:
    """Whether any process on this machine, of any user, listens on the ports of a ROS domain."""
    for offset in PORT_OFFSETS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", offset + PORT_GAIN * domain))
            except OSError:
                return True
    return False
