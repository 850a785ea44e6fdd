"""``latent-policy record`` and ``latent-policy episode``: start a recorder, and call the services of a running one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from latent_policy_ros.cli.common import call_trigger
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import runs_dir

if TYPE_CHECKING:
    from latent_policy_ros.bringup import NodeSpec
    from latent_policy_ros.bringup.node_list import Parameter


class Action(str, Enum):
    """A request to a recorder."""

    start = "start"
    stop = "stop"
    success = "success"
    failure = "failure"
    discard = "discard"


def record_command(
    what: Annotated[
        list[str], typer.Argument(help="A fleet (a YAML file, or a name in `config/robots`), or topics: `/a /b/c`.")
    ],
    topic: Annotated[Optional[list[str]], typer.Option(help="Additional topic to record. Repeatable.")] = None,
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="Folder for the bags; default `runs/bags`.")] = None,
    task: Annotated[str, typer.Option(help="Description of the task; default: the fleet's.")] = "",
    images: Annotated[str, typer.Option(help="How raw images are recorded: jpeg or raw.")] = "jpeg",
    wait: Annotated[float, typer.Option(help="Time to wait for a message on every topic before giving up [s].")] = 10.0,
    services: Annotated[
        bool, typer.Option("--services", help="Start and stop with the services of `/recorder`, not at once.")
    ] = False,
) -> None:  # fmt: skip
    """Record a running fleet, or any topics, into an MCAP bag, until Ctrl-C.

    Examples:

        latent-policy record my_fleet.yaml --task "stack the cups"
        latent-policy record /camera/image_raw /tf --images raw
    """
    from latent_policy_ros.bringup.supervisor import Supervisor

    raise typer.Exit(Supervisor([recorder(what, topic or [], out, task, images, wait, services)]).run())


def episode_command(
    action: Annotated[Action, typer.Argument(help="Request; success and failure mark the current episode, or else the last one.")],
    recorder: Annotated[str, typer.Option(help="Name of the recorder's node.")] = "/recorder",
) -> None:
    """Send a request to a running recorder: start, stop, mark or discard an episode.

    Calls the same services as `ros2 service call /recorder/start std_srvs/srv/Trigger`.

    Examples:

        latent-policy episode start
        latent-policy episode success
    """
    raise typer.Exit(ask(action, recorder))


def recorder(what: list[str], topics: list[str], out: Path | None, task: str, images: str, wait: float, services: bool) -> NodeSpec:
    """The recorder node of a fleet, or of topics. The output folder is created if it is given.

    Raises:
        ConfigError: The arguments name neither a fleet nor topics, or the image format is unknown.
        OSError: The folder cannot be created.
    """
    from latent_policy_ros.bringup import NodeSpec, load_fleet, recorder_spec
    from latent_policy_ros.common.yaml_file import YAML_SUFFIXES
    from latent_policy_ros.data.recording.jpeg import IMAGE_FORMATS

    if images not in IMAGE_FORMATS:
        raise ConfigError("command line", "--images", f"expected one of {', '.join(IMAGE_FORMATS)}; got {images!r}")
    more: dict[str, Parameter] = {"images": images, "start_wait": wait, "start_now": not services, "topics": topics}
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
    if out:  # reports an unusable folder before a node starts
        out.expanduser().mkdir(parents=True, exist_ok=True)
    return NodeSpec(spec.executable, spec.name, spec.namespace, {**spec.parameters, **({"task": task} if task else {})})


def ask(action: Action, recorder: str) -> int:
    """Call a recorder's service and print its answer.

    Returns:
        Exit status: 0 if the recorder did it.
    """
    service = f"mark_{action.value}" if action in (Action.success, Action.failure) else action.value
    return call_trigger(f"{recorder}/{service}")
