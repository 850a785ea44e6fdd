"""Table of bags: a CSV file with the path of each bag, and its task, outcome and robot."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latent_policy_ros.common.errors import ArtifactError, ConfigError, Finding, available
from latent_policy_ros.data.bags.reader import Bag, find_bags
from latent_policy_ros.data.conversion.bag_metadata import WORDS, json_object

SUFFIX = ".csv"
COLUMNS = "path", "task", "outcome", "robot"


@dataclass(frozen=True)
class TableRow:
    """One row: task and outcome of a bag, and the robot they are for. Empty values leave those of the bag."""

    task: str = ""
    outcome: str = ""
    robot: str = ""


@dataclass(frozen=True)
class BagTable:
    """Bags to convert, and what tables say about them.

    Attributes:
        bags: The bags, in order.
        rows: Rows of the bags that are in a table.
    """

    bags: Sequence[Path]
    rows: Mapping[Path, Sequence[TableRow]] = field(default_factory=dict)

    @classmethod
    def find(cls, paths: Iterable[Path]) -> BagTable:
        """Find bags at or below some paths; a path ``*.csv`` is a table of further ones.

        Raises:
            ArtifactError: A path does not exist or holds no bag.
            ConfigError: Errors in a table; lists all of them.
        """
        bags: list[Path] = []
        rows: dict[Path, list[TableRow]] = {}
        for path in paths:
            if path.suffix != SUFFIX:
                bags += [bag for bag in find_bags([path]) if bag not in rows]
                continue
            for bag, row in _read(path):
                if bag not in rows:
                    bags.append(bag)
                rows.setdefault(bag, []).append(row)
        return cls(list(dict.fromkeys(bags)), rows)

    def apply(self, bag: Bag) -> tuple[str, ...]:
        """Replace task and outcome in the metadata of a bag; returns the robots to convert, all if empty."""
        rows = self.rows.get(bag.path, ())
        for row in rows:
            for key, value in (("task", row.task), ("outcome", row.outcome)):
                if value and not row.robot:
                    bag.custom[key] = value
                    bag.custom.pop(f"{key}s", None)
                elif value:
                    bag.custom[f"{key}s"] = json.dumps({**json_object(bag, f"{key}s"), row.robot: value})
        return tuple(row.robot for row in rows) if rows and all(row.robot for row in rows) else ()


def _read(file: Path) -> list[tuple[Path, TableRow]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, skipinitialspace=True)
            names, lines = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}") from error
    findings = [Finding(f"column {name}", f"unknown; {available(COLUMNS)}") for name in names if name not in COLUMNS]
    if "path" not in names:
        findings.append(Finding("column path", f"missing; got {', '.join(names) or 'no columns'}"))
    rows: list[tuple[Path, TableRow]] = []
    for number, line in enumerate(lines, 2):
        values = {name: (line.get(name) or "").strip() for name in COLUMNS}
        place = file.parent / Path(values["path"]).expanduser()
        if "path" in names and (not values["path"] or not place.exists()):
            findings.append(Finding(f"line {number}, path", f"no such bag: {values['path'] or '(empty)'}"))
        elif values["outcome"] not in ("", *WORDS):
            findings.append(Finding(f"line {number}, outcome", f"got {values['outcome']!r}; expected success, failure or nothing"))
        else:
            rows.append((place, TableRow(values["task"], values["outcome"], values["robot"])))
    if findings:
        raise ConfigError(file, findings[0].path, findings[0].message, findings[1:])
    return [(bag, row) for place, row in rows for bag in find_bags([place])]
