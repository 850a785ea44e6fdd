"""The generated pages in docs/reference are current."""

from pathlib import Path

import pytest
from typer.main import get_command

from latent_policy_ros.cli import app
from latent_policy_ros.cli.config_reference import config_page
from latent_policy_ros.cli.reference import cli_page, nodes_page

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
COMMAND = "latent-policy reference --write docs/reference"


def check(name, page):
    written = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    generated = page.splitlines()
    new = [line for line in generated if line not in written]
    old = [line for line in written if line not in generated]
    changes = "\n".join([*(f"- {line}" for line in old[:5]), *(f"+ {line}" for line in new[:5])])
    assert written == generated, f"docs/reference/{name} is stale; run: {COMMAND}\n{changes}"


def test_command_line_page_is_current():
    check("CLI.md", cli_page(get_command(app)))


def test_configuration_page_is_current():
    check("CONFIGURATION.md", config_page())


def test_nodes_page_is_current():
    pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
    check("NODES.md", nodes_page())
