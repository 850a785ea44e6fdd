"""Writes constraints.txt: one version of every package that core.txt and build.txt bring in, for every Python.

    python requirements/lock.py python3.10 python3.11 python3.12 python3.13

Each interpreter's pip resolves for itself; where they differ the pins carry markers. ros.txt is pinned apart, by hash.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
HELD = ["torch==2.13.0"]  # everything else takes the newest version that fits
HEADER = """\
# Every package beside ROS in one version for each Python, written by lock.py from core.txt and build.txt.
"""


def resolve(python: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The Python's version such as "3.11", and the packages (name -> version) that its pip chooses."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    inner, report = folder / "venv/bin/python", folder / "report.json"
    subprocess.run([inner, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    files = [argument for name in ("core.txt", "build.txt") for argument in ("-r", HERE / name)]
    command = [inner, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
    subprocess.run([*command, *files, *HELD], check=True)
    content = json.loads(report.read_text())
    packages = {i["metadata"]["name"]: i["metadata"]["version"].split("+")[0] for i in content["install"]}
    return ".".join(content["environment"]["python_full_version"].split(".")[:2]), packages


def pins(name: str, chosen: dict[str, str | None]) -> list[str]:
    """Lines for one package, from the version (or None) chosen by each Python, in ascending order of Pythons."""
    versions = {version for version in chosen.values() if version}
    if len(versions) == 1:
        return [f"{name}=={versions.pop()}"]
    lines, pythons = [], list(chosen)
    for python in pythons:  # a Python that does not bring it in (a local torch without CUDA) gets the next one's version
        later = [chosen[other] for other in pythons[pythons.index(python) :] if chosen[other]]
        chosen = {**chosen, python: later[0] if later else chosen[pythons[pythons.index(python) - 1]]}
    for version in sorted(versions, key=list(chosen.values()).index):
        places = [k for k, python in enumerate(pythons) if chosen[python] == version]
        if places != list(range(places[0], places[-1] + 1)):
            raise ValueError(f"{name}=={version} is chosen by Pythons that do not follow each other: {chosen}")
        lower = [f'python_version >= "{pythons[places[0]]}"'] if places[0] > 0 else []
        upper = [f'python_version < "{pythons[places[-1] + 1]}"'] if places[-1] + 1 < len(pythons) else []
        lines.append(f"{name}=={version}; {' and '.join(lower + upper)}")
    return lines


def main(pythons: list[str]) -> None:
    """Resolve for every interpreter and write the file."""
    resolved = {}
    for python in pythons:
        with tempfile.TemporaryDirectory() as folder:
            version, packages = resolve(python, Path(folder))
            resolved[version] = packages
    order = sorted(resolved, key=lambda version: tuple(map(int, version.split("."))))
    names = sorted({name for packages in resolved.values() for name in packages}, key=str.lower)
    lines = [line for name in names for line in pins(name, {v: resolved[v].get(name) for v in order})]
    (HERE / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
