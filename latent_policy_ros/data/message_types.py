"""Definitions of message types, for bags that explain themselves. Needs no ROS."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..errors import ArtifactError
from ..paths import PACKAGE, config_dir


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
