"""``latent-policy reference``: reference pages of the command line, the nodes and the configuration files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from latent_policy_ros.cli.common import print_line
from latent_policy_ros.common.errors import LatentPolicyError

CLI_HEADER = """\
# Command line

<!-- Generated from the code by: latent-policy reference --write docs/reference -->

"""


def reference_command(
    context: typer.Context,
    write: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("docs/reference"),
) -> None:
    """Write the reference pages of commands, nodes and configuration files, from the code.

    Run it in a source checkout after a change of a command, a parameter, a topic or a field. Needs rclpy.
    """
    write.mkdir(parents=True, exist_ok=True)
    from latent_policy_ros.cli.config_reference import config_page

    pages = {"CLI.md": cli_page(context.find_root().command), "NODES.md": nodes_page(), "CONFIGURATION.md": config_page()}
    for name, page in pages.items():
        (write / name).write_text(page, encoding="utf-8")
        print_line(str(write / name))


def cli_page(command: Any) -> str:
    """Every command with its arguments, options and help, as Markdown.

    Args:
        command: The command ``latent-policy``, as typer makes it from the application.
    """
    from typer.cli import get_docs_for_click

    for group in _groups(command):
        for sub in group.commands.values():  # the list of commands shows whole sentences
            sub.short_help = sub.short_help or " ".join((sub.help or "").split("\n\n")[0].split())
    docs = get_docs_for_click(obj=command, ctx=typer.Context(command), name="latent-policy", indent=1)
    return CLI_HEADER + docs.strip() + "\n"


def _groups(command: object) -> Iterator[TyperGroup]:
    """The command and all below it, as far as they are groups."""
    if isinstance(command, TyperGroup):
        yield command
        for sub in command.commands.values():
            yield from _groups(sub)


def nodes_page() -> str:
    """Every node with its topics, services and parameters, as Markdown.

    Raises:
        LatentPolicyError: rclpy is missing, or a node cannot be configured.
    """
    from latent_policy_ros.common.ros_environment import node_environment, private_domain

    command = [sys.executable, "-m", "latent_policy_ros.nodes.node_reference"]
    with private_domain() as domain:
        environment = node_environment(os.environ | domain)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LatentPolicyError(f"the nodes cannot be described:\n{done.stderr.strip()}")
    return done.stdout
