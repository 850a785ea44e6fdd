"""The library's reader of bags, but a topic that it cannot read spoils nothing else.

rosbag2 writes definitions in no language, or an unknown one, for types that it cannot look up, as those of actions and services.
"""

from __future__ import annotations

from pathlib import Path

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader, Schema
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

LANGUAGES = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL, "omgidl": MessageDefinitionFormat.IDL}
UNDEFINED = MessageDefinition(MessageDefinitionFormat.NONE, "")


class _Schemas(dict[int, Schema]):
    """Those of an MCAP file. One in a language that the library does not know counts as none: it would refuse the whole file."""

    def __setitem__(self, number: int, schema: Schema) -> None:
        super().__setitem__(number, schema if schema.encoding in LANGUAGES else schema._replace(encoding="", data=""))


class _McapFile(McapReader):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.schemas = _Schemas()


class _Database(Sqlite3Reader):
    def _open(self) -> None:
        try:
            super()._open()
        except KeyError:  # a definition in a language that the library does not know: it would refuse the whole file
            self._open_without_unknown()

    def _open_without_unknown(self) -> None:
        """As the library does it where there are definitions; those that it cannot tell count as none."""
        ask = self.dbconn.execute
        texts = ask("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions ORDER BY id DESC")
        known = {kind: MessageDefinition(LANGUAGES[form], text) for kind, form, text in texts if form in LANGUAGES}
        topics = ask(
            "SELECT topics.id, name, type, type_description_hash, count(messages.id), serialization_format, offered_qos_profiles "
            "FROM topics LEFT JOIN messages ON topics.id = messages.topic_id GROUP BY topics.id ORDER BY topics.id"
        )
        self.connections = [
            Connection(key, name, kind, known.get(kind, UNDEFINED), digest, count, ConnectionExtRosbag2(form, parse_qos(qos)), self)
            for key, name, kind, digest, count, form, qos in topics
        ]
        ((first, last, count),) = ask("SELECT min(timestamp), max(timestamp), count(*) FROM messages")
        start, end = (first, last + 1) if count else (2**63 - 1, 0)
        self.metadata = ReaderMetadata(max(0, end - start), start, end, count, None, None, None, None)


class _Folder(DirectoryReader):
    STORAGE_PLUGINS = {"mcap": _McapFile, "sqlite3": _Database}

    @property
    def connections(self) -> list[Connection]:
        """What metadata.yaml says of the topics."""
        return self._connections

    @connections.setter
    def connections(self, told: list[Connection]) -> None:
        # The library refuses a bag for one topic in another form than CDR. Nothing else looks at the form.
        self._connections = [c._replace(ext=c.ext._replace(serialization_format="cdr")) for c in told]


class BagReader(Reader):
    """The library's, but a topic that it cannot read spoils nothing else."""

    STORAGE_PLUGINS = {"dir": _Folder, ".mcap": _McapFile, ".db3": _Database}
