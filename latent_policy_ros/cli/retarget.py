"""``latent-policy retarget``: retarget recorded human hands to robots, and measure the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.table import Column, Table

from latent_policy_ros.cli.common import (
    COMPACT,
    EntryOption,
    LayoutOption,
    SideOption,
    UnitsOption,
    console,
    print_line,
    print_table,
)

if TYPE_CHECKING:
    from latent_policy_ros.retargeting.quality import Quality

COLUMNS = (
    "embodiment",
    "error [mm]",
    "touches",
    "closed",
    "gap [mm]",
    "near [mm]",
    "cannot touch",
    "step",
    "jerk",
    "limits",
)
WRAPPED = ("cannot touch", "step")  # columns whose cells may be folded
NOTE = """\
- `error`: mean distance of the fingertips from their targets (the human keyvectors, scaled to the robot).
- `touches`: frames and fingers where the human fingertip is within 10 mm of the thumb tip.
- `closed`: share of the touches in which the robot's tips are within 5 mm, over the fingers that its thumb can reach.
- `gap`: 95th percentile of that distance.
- `near`: mean error of the distance between thumb and finger where the person's is below 30 mm.
- `cannot touch`: fingers that the thumb cannot reach.
- `step`: largest motion of a joint between two frames and, in brackets, the largest rotation of a human bone.
- `jerk`: third difference of the joints, relative to that of the human bones.
- `limits`: whether every joint was within its limits in every frame.
"""


def retarget_command(
    recordings: Annotated[list[Path], typer.Argument(help="Hand recordings: .npz, .npy, .zarr, .csv, or a bag with hand poses.")],
    embodiment: Annotated[
        Optional[list[str]], typer.Option(help="Embodiment: a name, or a YAML file. Repeatable; default: all robots.")
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option("-o", "--out", help="Folder for the joint trajectories, one .npz for each recording and embodiment."),
    ] = None,
    entry: EntryOption = "",
    stills: Annotated[bool, typer.Option(help="The frames are single poses, not a motion: retarget each on its own.")] = False,
    side: SideOption = "auto",
    layout: LayoutOption = "auto",
    units: UnitsOption = "m",
    markdown: Annotated[Optional[Path], typer.Option(help="Also write the table to this Markdown file.")] = None,
) -> None:
    """Retarget recorded human hands to robots, and measure the result.

    Exit status 1 if a joint left its limits.

    Example:

        latent-policy retarget hand.npz --embodiment mimic_hand -o runs/retarget
    """
    import numpy as np

    from latent_policy_ros.data.hand_recordings import read_hand_recording
    from latent_policy_ros.embodiments import list_embodiments, load_embodiment
    from latent_policy_ros.retargeting import Retargeter
    from latent_policy_ros.retargeting.quality import measure, unreachable_fingers

    robots = [load_embodiment(name) for name in embodiment or list_embodiments()]
    robots = [robot for robot in robots if robot.kind != "human"]
    within_limits, cells = True, []
    for file in recordings:
        recording = read_hand_recording(file, entry)
        hands = recording.hands(layout, units, side)
        keypoints = hands.keypoints[hands.valid]
        console.print(f"{file.name}: {len(keypoints)} of {len(hands.valid)} frames, {hands.side} hand, {hands.layout}")
        for warning in filter(None, (hands.side_warning, *(() if stills else recording.warnings))):
            print_line(warning, "warning:", "yellow")
        for reason, count in hands.rejected.items():
            console.print(f"  rejected {count} frames: {reason}")
        table = Table(*(Column(name.replace(" ", "\n"), no_wrap=name not in WRAPPED) for name in COLUMNS), **COMPACT)
        for robot in robots:
            poses = keypoints[:, None] if stills else keypoints[None]
            q = Retargeter(robot).retarget_sequence(poses).reshape(len(keypoints), -1)
            measured = measure(robot, keypoints, q, unreachable_fingers(robot), motion=not stills)
            within_limits &= measured.within_limits
            table.add_row(*_row(measured))
            cells.append((file.name, *_row(measured)))
            if out:
                target = out / f"{file.stem}_{robot.name}.npz"
                target.parent.mkdir(parents=True, exist_ok=True)
                np.savez(target, q=q, joint_names=np.array(robot.joint_names), timestamps=recording.timestamps[hands.valid])
        print_table(table)
    if markdown:
        head = ("recording", *COLUMNS)
        lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *cells)]
        markdown.write_text("\n".join(lines) + "\n\n" + NOTE)
    raise typer.Exit(int(not within_limits))


def _row(r: Quality) -> tuple[str, ...]:
    """Cells of one embodiment, in the order of ``COLUMNS``."""
    row = (
        r.embodiment, f"{1e3 * r.keyvector_error:.1f}", str(r.touches), f"{r.closed:.1%}", f"{1e3 * r.gap:.2f}",
        f"{1e3 * r.near_error:.1f}",
        ", ".join(r.unreachable) or "-", f"{r.largest_step:.2f} ({r.bone_turn:.2f})", f"{r.jerk:.2f}",
        "ok" if r.within_limits else "exceeded",
    )  # fmt: skip
    return tuple("-" if "nan" in cell else cell for cell in row)
