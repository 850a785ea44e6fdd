"""Definitions of message types, for bags that explain themselves. Needs no ROS."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.paths import PACKAGE, config_dir

NONE = MessageDefinitionFormat.NONE


@lru_cache(maxsize=1)
def message_types() -> Typestore:
    """ROS 2's common message types, and this package's own.

    Raises:
        FileNotFoundError: The ``msg`` folder is neither in the checkout nor installed beside the configuration.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = config_dir().parent / "msg"
    files = sorted(folder.glob("*.msg"))
    if not files:
        raise FileNotFoundError(f"no message definitions of {PACKAGE} in {folder}")
    for file in files:
        store.register(get_types_from_msg(file.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{file.stem}"))
    return store


def types_of(connections: Collection[Connection]) -> Typestore:
    """The message types of a bag's connections, as the bag defines them; the common ones where it does not.

    Raises:
        TypesysError: A definition is missing, cannot be read, or is not what the bag's hash of it says.
    """
    told, needed = {c.msgtype: c for c in connections if c.msgdef.format != NONE}, {c.msgtype for c in connections}
    types = {} if needed <= told.keys() else dict(message_types().fielddefs)
    for kind, connection in told.items():
        types |= _defined(connection.msgdef, kind)
    if unknown := needed - types.keys():
        raise TypesysError(f"no definition of {', '.join(sorted(unknown))}, neither in the bag nor among ROS 2's common types")
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    for kind, connection in told.items():
        if connection.digest and (got := store.hash_rihs01(kind)) != connection.digest:
            raise TypesysError(f"{kind}: its definition has the hash {got}, but the bag says {connection.digest}")
    return store


def _defined(told: MessageDefinition, kind: str) -> Typesdict:
    """A type and those of its fields, from MSG text or from one or several IDL texts."""
    if told.format == MessageDefinitionFormat.MSG:
        return get_types_from_msg(told.data, kind)
    types: Typesdict = {}
    for text in re.split(r"^={80}\nIDL: .*\n", told.data, flags=re.MULTILINE):
        types |= get_types_from_idl(text) if text.strip() else {}
    return types


def definition(kind: str) -> tuple[str, str]:
    """The text that defines a message type with all that it consists of, and its RIHS01 hash.

    Args:
        kind: E.g. ``sensor_msgs/msg/Image``. Types that are not common are looked up in the sourced ROS installation.

    Raises:
        ArtifactError: It is not defined anywhere; says where was looked.
    """
    store = message_types()
    _learn(store, kind)
    return store.generate_msgdef(kind, ros_version=2)[0], store.hash_rihs01(kind)


def _learn(store: Typestore, kind: str) -> None:
    """Register an installed type and those of its fields."""
    if kind in store.fielddefs:
        return
    package, _, name = kind.split("/")
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [Path(sys.prefix)]
    tried = [prefix / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    file = next((file for file in tried if file.is_file()), None)
    if file is None:
        raise ArtifactError(f"message type {kind}: no definition; looked for {', '.join(map(str, tried))}")
    found = get_types_from_msg(file.read_text(encoding="utf-8"), kind)
    for _, fields in found.values():
        for _, (node, detail) in fields:
            if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                node, detail = detail[0]
            if node == Nodetype.NAME and detail not in found:
                _learn(store, detail)
    store.register(found)
