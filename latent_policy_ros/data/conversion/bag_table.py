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
        rows: Rows of the bags that are in a table, by resolved path.
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
                bags += find_bags([path])
                continue
            for bag, row in _read(path):
                bags.append(bag)
                rows.setdefault(bag.resolve(), []).append(row)
        return cls(list({bag.resolve(): bag for bag in reversed(bags)}.values())[::-1], rows)

    def apply(self, bag: Bag) -> tuple[str, ...]:
        """Replace task and outcome in the metadata of a bag; returns the robots to convert, all if empty."""
        rows = self.rows.get(bag.path.resolve(), ())
        for row in sorted(rows, key=lambda row: bool(row.robot)):  # those for one robot last, as they have precedence
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
            names, lines = reader.fieldnames or [], [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}") from error
    findings = [Finding(f"column {name}", f"unknown; {available(COLUMNS)}") for name in names if name not in COLUMNS]
    if "path" not in names:
        findings.append(Finding("column path", f"missing; got {', '.join(names) or 'no columns'}"))
    findings += [Finding(f"column {name}", "more than once") for name in COLUMNS if list(names).count(name) > 1]
    if not lines:
        findings.append(Finding("rows", "expected at least one, got none"))
    rows: dict[tuple[Path, str], tuple[Path, TableRow]] = {}  # by resolved path and robot
    for number, line in lines:
        values = {name: (line.get(name) or "").strip() for name in COLUMNS}
        place = file.parent / Path(values["path"]).expanduser()
        if "path" in names and (not values["path"] or not place.exists()):
            findings.append(Finding(f"line {number}, path", f"no such bag: {values['path'] or '(empty)'}"))
        elif values["outcome"] not in ("", *WORDS):
            findings.append(Finding(f"line {number}, outcome", f"got {values['outcome']!r}; expected success, failure or nothing"))
        elif None in line:
            more = ", ".join(line[None])
            findings.append(Finding(f"line {number}", f"more values than columns: {more}; quote texts that contain commas"))
        elif "path" in names:
            row = TableRow(values["task"], values["outcome"], values["robot"])
            for bag in find_bags([place]):
                _, other = rows.setdefault((bag.resolve(), row.robot), (bag, row))
                if other != row:
                    findings.append(Finding(f"line {number}", f"contradicts another line about {bag}"))
    if findings:
        raise ConfigError(file, findings[0].path, findings[0].message, findings[1:])
    return list(rows.values())
