"""Hands and grippers that are not shipped, each from its URDF or MJCF and a YAML file of four fields, on recordings of people.

    .venv/bin/python benchmarks/unseen_hands.py FOLDER RECORDING ... [--markdown TABLE.md]

FOLDER has one YAML file for each, with kind, side, description and fingertips (docs/how-to/HANDS.md); the descriptions stay in the
packages and repositories of their makers. One row for each hand: joints, hinges, fingers, and over all recordings the touches,
the share of them that the robot closes, the mean error of the thumb-to-finger distance below 30 mm, and whether the limits hold
in every frame. A file that is refused gets a row with the field and the message.

The exit status is 1 if limits are exceeded, or if fewer than 98% of the touches close over all hands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.data.hand_recordings import read_hand_recording
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.quality import measure, unreachable_fingers

HEAD = ("hand", "file", "joints / hinges", "fingers", "touches", "closed", "near [mm]", "cannot touch", "limits")
CLOSED = 0.98
MESSAGE = 220  # characters of a message in the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    people = []
    for file in options.recordings:
        hands = read_hand_recording(file).hands()
        people.append(hands.keypoints[hands.valid])
    rows, touches, closed, held = [HEAD, ("---",) * len(HEAD)], 0, 0.0, True
    for file in sorted(options.folder.glob("*.yaml")):
        try:
            robot = load_embodiment(file)
            retargeter = Retargeter(robot)
        except ConfigError as error:
            text = f"refused: `{error.path}`: {error.message}"
            if len(error.findings) > 1:
                text += f" (and {len(error.findings) - 1} more)"
            rows.append((file.stem, text[:MESSAGE].replace("|", "/"), *[""] * (len(HEAD) - 2)))
            print("| " + " | ".join(rows[-1]) + " |", flush=True)
            continue
        unreachable = unreachable_fingers(robot)
        found = [measure(robot, p, retargeter.retarget_sequence(p[None])[0], unreachable) for p in people]
        count = sum(q.touches for q in found)
        closing = sum(q.closed * q.touches for q in found if q.touches)
        near = [q.near_error for q in found if np.isfinite(q.near_error)]
        limits = all(q.within_limits for q in found)
        touches, closed, held = touches + count, closed + closing, held and limits
        kind = "URDF" if "<robot" in (description(file)).read_text(encoding="utf-8", errors="replace")[:4000] else "MJCF"
        cells = (
            f"{len(robot.joint_names)} / {len(robot.hinges)}", str(len(robot.fingertips)), str(count),
            f"{closing / count:.1%}" if count else "-", f"{1e3 * np.mean(near):.1f}" if near else "-",
            ", ".join(unreachable) or "-", "hold" if limits else "exceeded",
        )  # fmt: skip
        rows.append((file.stem, kind, *cells))
        print("| " + " | ".join(rows[-1]) + " |", flush=True)
    frames = sum(map(len, people))
    summary = f"{frames} frames; {touches} touches, {closed / max(touches, 1):.1%} of them closed"
    print(summary)
    if options.markdown:
        options.markdown.write_text("\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{summary}\n")
    sys.exit(0 if held and closed >= CLOSED * touches else 1)


def description(file: Path) -> Path:
    """The URDF or MJCF file that an embodiment file names."""
    from latent_policy_ros.embodiments.description.from_description import described_files

    return Path(described_files(file)[0][0])


if __name__ == "__main__":
    main()
