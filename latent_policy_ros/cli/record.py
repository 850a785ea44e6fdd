"""What ``latent-policy record`` and ``latent-policy episode`` do."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import runs_dir

if TYPE_CHECKING:
    from latent_policy_ros.bringup.node_list import NodeSpec


class Action(str, Enum):
    """What a recorder can be asked for."""

    start = "start"
    stop = "stop"
    success = "success"
    failure = "failure"
    discard = "discard"


def recorder(what: list[str], topics: list[str], out: Path | None, task: str, images: str, wait: float, services: bool) -> NodeSpec:
    """The recorder of a fleet, or of topics. A folder that is given is made.

    Raises:
        ConfigError: Neither a fleet, nor topics; or no such way to record images.
        OSError: The folder cannot be made.
    """
    from latent_policy_ros.bringup.node_list import NodeSpec, load_fleet, recorder_spec
    from latent_policy_ros.common.config_reader import YAML_SUFFIXES
    from latent_policy_ros.data.recording.jpeg import IMAGES

    if images not in IMAGES:
        raise ConfigError("command line", "--images", f"expected one of {', '.join(IMAGES)}; got {images!r}")
    more = {"images": images, "start_wait": wait, "start_now": not services, "topics": topics}
    if not what[0].startswith("/") or what[0].endswith(YAML_SUFFIXES):
        if len(what) > 1:
            raise ConfigError("command line", "", f"expected one fleet, or topics that begin with /, got {' '.join(what)}")
        spec = recorder_spec(load_fleet(what[0], decoded=False), out, parameters=more)
    else:
        wrong = [name for name in what if not name.startswith("/")]
        if wrong:
            raise ConfigError("command line", "", f"expected topics that begin with /, got {wrong[0]!r}")
        folder = str(out or runs_dir() / "bags")
        spec = NodeSpec("recorder_node", "recorder", "", {**more, "folder": folder, "task": task, "topics": [*what, *topics]})
    if out:  # what is wrong with it is better said here than by a node
        out.expanduser().mkdir(parents=True, exist_ok=True)
    return NodeSpec(spec.executable, spec.name, spec.namespace, {**spec.parameters, **({"task": task} if task else {})})


def ask(action: Action, recorder: str) -> int:
    """Ask a recorder, print its answer; returns the exit status."""
    from latent_policy_ros.common.ros_environment import node_environment

    service = f"mark_{action.value}" if action in (Action.success, Action.failure) else action.value
    command = [sys.executable, "-m", "latent_policy_ros.nodes.recorder.service_call", service, recorder]
    return subprocess.run(command, env=node_environment(), check=False).returncode
