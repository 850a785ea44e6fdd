"""Several nodes in one process: ``composed_node FILE``, where FILE lists them (``bringup/composition.py``)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from latent_policy_ros.common.artifacts import load_json
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.nodes.base.lifecycle_node import ManagedNode
from latent_policy_ros.nodes.base.main_loop import run_nodes


def make_node(entry: Mapping[str, Any]) -> ManagedNode:
    """The node of an entry of the file, unconfigured."""
    module = import_module(f"latent_policy_ros.nodes.{entry['executable']}")
    return module.make_node(cli_args=entry["arguments"])


def main() -> int:
    """Entry point of ``ros2 run latent_policy_ros composed_node FILE``."""
    try:
        file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
        entries = load_json(file, ArtifactError, "expected the file that lists the nodes, as latent-policy up --compose writes it")
    except ArtifactError as error:
        print(f"error: composed_node: {error}", file=sys.stderr)
        return 2
    return run_nodes(lambda: [make_node(entry) for entry in entries["nodes"]])


if __name__ == "__main__":
    sys.exit(main())
