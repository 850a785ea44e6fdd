"""Nodes that may have sent a request. Messages do not contain their sender, so all nodes that could be it are named."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.node import Node, NodeNameNonExistentError

MAX_TEXT = 1000  # characters of a text of a message that is stored with a bag


def shortened(text: str) -> str:
    """A text of a message, cut at ``MAX_TEXT`` characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def publishers_of(node: Node, topic: str) -> str:
    """Names of the nodes that publish a topic."""
    infos = node.get_publishers_info_by_topic(topic)
    return _listed(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos)


def clients_of(node: Node, service: str) -> str:
    """Names of the nodes that have a client of a service, given its fully qualified name."""
    found = []
    for name, namespace in node.get_node_names_and_namespaces():
        try:
            services = node.get_client_names_and_types_by_node(name, namespace)
        except NodeNameNonExistentError:  # it has just ended
            continue
        if any(known == service for known, _ in services):
            found.append(f"{namespace.rstrip('/')}/{name}")
    return _listed(found)


def _listed(names: Iterable[str]) -> str:
    return shortened(", ".join(sorted(set(names))) or "an unknown node")
