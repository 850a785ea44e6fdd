"""``latent-policy retarget``: recorded hands to the joints of robots, and how well that went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Column, Table

from latent_policy_ros.cli.common import COMPACT, LayoutOption, SideOption, UnitsOption, console, print_table

if TYPE_CHECKING:
    from latent_policy_ros.retargeting.quality import Quality

HEAD = ("embodiment", "frames", "error [mm]", "touches", "closed", "gap [mm]", "cannot touch", "step", "jerk", "limits")
PARTED = ("cannot touch", "step")  # columns with cells of several words, which may stand below each other
NOTE = """\
`error`: mean distance of the fingertips from where the keyvectors ask for them (the person's fingers, scaled to the robot's).
`closed`: of all frames and fingers where the person's tip is within 10 mm of the thumb's, those with the robot's tips within
5 mm, over the fingers that its thumb can meet at all; `gap`: 95th percentile of that distance. `step`: largest motion of a
joint between two frames, and beside it how far the person's fastest bone turned then. `jerk`: the joints' third difference
beside that of the person's bones. `limits`: whether every joint was within its limits in every frame.
"""


def retarget_command(
    recordings: Annotated[list[Path], typer.Argument(help="Recorded hands: .npz, .npy, .csv or a bag of PoseArrays.")],
    embodiment: Annotated[Optional[list[str]], typer.Option(help="Repeatable: a name or a YAML; default: every robot.")] = None,
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="Folder for the joints: an .npz for each.")] = None,
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
    markdown: Annotated[Optional[Path], typer.Option(help="Also write the table here.")] = None,
) -> None:
    """Recorded hands to the joints of robots, and how well that went. Exit status 1 if any joint left its limits."""
    import numpy as np

    from latent_policy_ros.data.hand_recordings import read_hand_recording
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment
    from latent_policy_ros.embodiments.human.hand_input import canonical_hands
    from latent_policy_ros.retargeting import Retargeter
    from latent_policy_ros.retargeting.quality import measure, unreachable_fingers

    robots = [load_embodiment(name) for name in embodiment or list_embodiments()]
    robots = [robot for robot in robots if robot.kind != "human"]
    held, cells = True, []
    for file in recordings:
        recording = read_hand_recording(file)
        hands = canonical_hands(recording.points, layout, units, side)
        keypoints = hands.keypoints[hands.valid]
        console.print(f"{file.name}: {len(keypoints)} of {len(hands.valid)} frames, {hands.side} hand, {hands.layout}")
        for reason, count in hands.rejected.items():
            console.print(f"  left out {count} frames: {reason}")
        table = Table(*(Column(name.replace(" ", "\n"), no_wrap=name not in PARTED) for name in HEAD), **COMPACT)
        for robot in robots:
            q = Retargeter(robot).retarget_sequence(keypoints[None])[0]
            measured = measure(robot, keypoints, q, unreachable_fingers(robot))
            held &= measured.within_limits
            table.add_row(*_row(measured))
            cells.append((file.name, *_row(measured)))
            if out:
                target = out / f"{file.stem}_{robot.name}.npz"
                target.parent.mkdir(parents=True, exist_ok=True)
                np.savez(target, q=q, joint_names=np.array(robot.joint_names), timestamps=recording.timestamps[hands.valid])
        print_table(table)
    if markdown:
        head = ("recording", *HEAD)
        lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *cells)]
        markdown.write_text("\n".join(lines) + "\n\n" + NOTE)
    raise typer.Exit(int(not held))


def _row(r: Quality) -> tuple[str, ...]:
    """The figures of one embodiment, as in ``HEAD``."""
    row = (
        r.embodiment, str(r.frames), f"{1e3 * r.keyvector_error:.1f}", str(r.touches), f"{r.closed:.1%}", f"{1e3 * r.gap:.2f}",
        ", ".join(r.unreachable) or "-", f"{r.largest_step:.2f} ({r.bone_turn:.2f})", f"{r.jerk:.2f}",
        "hold" if r.within_limits else "BROKEN",
    )  # fmt: skip
    return tuple("-" if "nan" in cell else cell for cell in row)
