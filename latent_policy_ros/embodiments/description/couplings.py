"""What follows what in a described hand: as its YAML says, else as its description does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latent_policy_ros.common.config_reader import Section
from latent_policy_ros.common.errors import available
from latent_policy_ros.embodiments.description.description import Coupling
from latent_policy_ros.embodiments.description.hinge_table import read_couplings
from latent_policy_ros.embodiments.description.subtree import Subtree


def all_couplings(
    top: Section, tree: Subtree, actuated: Sequence[str], locked: Mapping[str, float], notes: list[str]
) -> dict[str, Coupling]:  # fmt: skip
    """Those of the YAML, and those of the description that it does not override; adds to ``notes`` what had to be guessed.

    Raises:
        ConfigError: A joint follows one that does not exist.
    """
    description = tree.description
    given = read_couplings(top.optional("couplings"), tuple(description.joints), "moving joint")
    edges = {name: edge for name, edge in description.couplings.items() if name not in given and name not in locked}
    couplings = {**_oriented(edges, actuated), **given}
    for name, edge in couplings.items():
        if edge.leader in description.joints or not tree.holds(tree.link_of(name).name):
            continue
        alike = [joint for joint in tree.joints() if joint.endswith(edge.leader) and edge.leader]
        if len(alike) != 1:
            form = f"{name}: {{follows: NAME, ratio: 1}}"
            message = f"{description.file.name} lets it follow {edge.leader!r}, which is no joint; write {form}"
            raise top.error(f"couplings.{name}", f"{message}; {available(tree.joints())}")
        couplings[name] = edge._replace(leader=alike[0])
        notes.append(f"{name} follows {edge.leader}, which is no joint: taken for {alike[0]}")
    return couplings


def _oriented(edges: Mapping[str, Coupling], actuated: Sequence[str]) -> dict[str, Coupling]:
    """The file's couplings, turned round where the YAML actuates the joint that the file lets follow."""
    both_ways = list(edges.items())
    both_ways += [(e.leader, Coupling(name, 1.0 / e.ratio, -e.offset / e.ratio)) for name, e in edges.items() if e.ratio]
    result, reached, waiting = dict(edges), set(actuated), list(actuated)
    for name in actuated:
        result.pop(name, None)
    while waiting:
        at = waiting.pop()
        for name, edge in both_ways:
            if edge.leader == at and name not in reached:
                reached.add(name)
                waiting.append(name)
                result[name] = edge
    return result
