"""Definitions of message types: those in a bag, those of ROS 2 and this package, and those of an installed ROS. Needs no ROS."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.common.path_names import path_name
from latent_policy_ros.common.paths import PACKAGE, config_dir
from latent_policy_ros.data.bags.metadata import StoredTopic

MAX_DEFINITION = 1 << 20  # characters
TYPE_NAME, FIELD_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)+", re.ASCII), re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: Definitions of widely used types of other packages; sqlite3 files of older rosbag2 versions hold none.
FOREIGN = {
    "control_msgs/msg/GripperCommand": "float64 position\nfloat64 max_effort\n",
    "control_msgs/msg/InterfaceValue": "string[] interface_names\nfloat64[] values\n",
    "control_msgs/msg/DynamicJointState": "std_msgs/Header header\nstring[] joint_names\n"
    "control_msgs/InterfaceValue[] interface_values\n",
    "foxglove_msgs/msg/CompressedVideo": "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}
LANGUAGES = {"ros2msg": "msg", "ros2idl": "idl", "omgidl": "idl"}  # languages of definitions in bags that can be parsed


@lru_cache(maxsize=1)
def message_types() -> Typestore:
    """ROS 2's common message types, some of other packages, and those of this package.

    Raises:
        FileNotFoundError: No ``msg`` folder beside the configuration.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in FOREIGN.items():
        store.register(get_types_from_msg(text, name))
    folder = config_dir().parent / "msg"
    files = sorted(folder.glob("*.msg"))
    if not files:
        raise FileNotFoundError(f"no message definitions of {PACKAGE} in {folder}")
    for file in files:
        store.register(get_types_from_msg(file.read_text(encoding="utf-8"), f"{PACKAGE}/msg/{file.stem}"))
    return store


def typestore_of(topics: Collection[StoredTopic]) -> Typestore:
    """Message types of topics, as their bag defines them; ROS 2's common types for those that the bag does not define.

    Raises:
        TypesysError: A definition is missing or invalid, or does not match the hash in the bag.
    """
    defined = {topic.msg_type: topic for topic in topics if topic.language in LANGUAGES}
    needed = {topic.msg_type for topic in topics}
    types = {} if needed <= defined.keys() else dict(message_types().fielddefs)
    for msg_type, topic in defined.items():
        parsed = _parse(topic.definition, LANGUAGES[topic.language], msg_type)
        _check_names(parsed)
        types |= parsed
    if unknown := needed - types.keys():
        raise TypesysError(f"no definition of {', '.join(sorted(unknown))}, neither in the bag nor among ROS 2's common types")
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    for msg_type, topic in defined.items():
        if topic.type_hash and (got := store.hash_rihs01(msg_type)) != topic.type_hash:
            raise TypesysError(f"{msg_type}: the definition has the hash {got}, but the bag says {topic.type_hash}")
    return store


def _check_names(types: Typesdict) -> None:
    """Check names of types and fields from a bag: rosbags generates Python code that contains them."""
    for msg_type, (_, fields) in types.items():
        for name, form in ((msg_type, TYPE_NAME), *((field, FIELD_NAME) for field, _ in fields)):
            if not form.fullmatch(name):
                raise TypesysError(f"{msg_type[:60]!r}: {name[:60]!r} is no name of a message type or field")


def _parse(text: str, language: str, msg_type: str) -> Typesdict:
    """A type and those of its fields, from one MSG text or from one or more IDL texts."""
    if len(text) > MAX_DEFINITION:
        raise TypesysError(f"the definition of {msg_type[:60]!r} has {len(text)} characters; the limit is {MAX_DEFINITION}")
    if language == "msg":
        return get_types_from_msg(text, msg_type)
    types: Typesdict = {}
    for part in re.split(r"^={80}\nIDL: .*\n", text, flags=re.MULTILINE):
        types |= get_types_from_idl(part) if part.strip() else {}
    return types


def definition(msg_type: str) -> tuple[str, str]:
    """The definition of a message type including the types of its fields, and its RIHS01 hash.

    Args:
        msg_type: E.g. ``sensor_msgs/msg/Image``. Types that are not common are read from the sourced ROS installation.

    Raises:
        ArtifactError: No definition was found; lists the files that were tried.
    """
    store = message_types()
    _register_installed(store, msg_type)
    return store.generate_msgdef(msg_type, ros_version=2)[0], store.hash_rihs01(msg_type)


def _register_installed(store: Typestore, msg_type: str) -> None:
    """Register an installed message type and those of its fields."""
    if msg_type in store.fielddefs:
        return
    package, _, name = (path_name(part, f"message type {msg_type!r}") for part in msg_type.split("/", 2))
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [Path(sys.prefix)]
    tried = [prefix / "share" / package / "msg" / f"{name}.msg" for prefix in prefixes]
    file = next((file for file in tried if file.is_file()), None)
    if file is None:
        raise ArtifactError(f"message type {msg_type}: no definition; tried {', '.join(map(str, tried))}")
    found = get_types_from_msg(file.read_text(encoding="utf-8"), msg_type)
    for _, fields in found.values():
        for _, field in fields:
            element = field[1][0] if field[0] == Nodetype.ARRAY or field[0] == Nodetype.SEQUENCE else field
            if element[0] == Nodetype.NAME and element[1] not in found:
                _register_installed(store, element[1])
    store.register(found)
