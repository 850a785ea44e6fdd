"""Many portraits on one sheet, all at one scale: human poses against embodiments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.retargeting.checks.embodiment_check import retarget_poses
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose, reference_poses
from latent_policy_ros.sim.portraits.portrait import BACKGROUND, View, bounds, portrait
from latent_policy_ros.sim.portraits.solids import Solid, hand_solids, human_solids

POSES = ("spread", "relaxed", "point", "fist", "pinch index", "pinch pinky", "grasp")  # of the gallery
HUMAN = "human"
GAP = 14  # pixels around every portrait
DPI = 100
SMALLEST_SCALE, LARGEST_SCALE = 150.0, 1400.0  # pixels a metre
INK, FAINT = "#2b2f36", (222, 226, 232)
HEAD_LETTER, HEAD_LINE = 8.6, 15  # pixels of a letter and a line of a heading
MIRROR = np.array([1.0, -1.0, 1.0])  # a right hand's frame -> a left one's


@dataclass(frozen=True)
class Sitter:
    """Whoever is drawn: a name, and its shapes in every pose."""

    name: str
    poses: tuple[list[Solid], ...]
    left_hand: bool = False


def human_sitter(poses: Sequence[ReferencePose], left_hand: bool = False) -> Sitter:
    """The person that everyone else imitates, with the right or the left hand."""
    mirror = MIRROR if left_hand else 1.0
    return Sitter(HUMAN, tuple(human_solids(pose.keypoints * mirror) for pose in poses), left_hand)


def sitter(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> Sitter:
    """A robot retargeted to the poses."""
    q = retarget_poses(embodiment, poses)[:, -1]
    return Sitter(embodiment.name, tuple(hand_solids(embodiment, pose) for pose in q), embodiment.side == "left")


def gallery(embodiments: Sequence[Embodiment], width: int = 1600) -> np.ndarray:
    """A column for the person and each embodiment, a row for each of :data:`POSES`: see :func:`sheet`."""
    by_name = {pose.name: pose for pose in reference_poses()}
    poses = [by_name[name] for name in POSES]
    left_hand = all(embodiment.side == "left" for embodiment in embodiments)
    person = human_sitter(poses, left_hand)
    return sheet([person, *(sitter(embodiment, poses) for embodiment in embodiments)], POSES, width)


def check_sheet(embodiment: Embodiment, width: int = 2000) -> np.ndarray:
    """All reference poses: the person above, the embodiment below. See :func:`sheet`."""
    poses = reference_poses()
    sitters = [human_sitter(poses, embodiment.side == "left"), sitter(embodiment, poses)]
    return sheet(sitters, [pose.name for pose in poses], width, poses_across=True)


def sheet(sitters: Sequence[Sitter], pose_names: Sequence[str], width: int, poses_across: bool = False) -> np.ndarray:
    """RGB image uint8: a column for each sitter and a row for each pose, or the other way round.

    It is ``width`` pixels wide, or less where few columns would become too large.

    Raises:
        HardwareError: No OpenGL on this machine.
        ConfigError: ``width`` [pixels] leaves no room.
    """
    cells = [[(sitter, pose) for sitter in sitters] for pose in range(len(pose_names))]
    row_names, column_names = list(pose_names), [sitter.name for sitter in sitters]
    if poses_across:
        cells, row_names, column_names = [list(row) for row in zip(*cells)], column_names, row_names
    box = np.array([[bounds(sitter.poses[pose], sitter.left_hand) for sitter, pose in row] for row in cells])
    u = np.stack((box[:, :, 0, 0].min(axis=0), box[:, :, 1, 0].max(axis=0)))  # (2, columns) [m]
    v = np.stack((box[:, :, 0, 1].min(axis=1), box[:, :, 1, 1].max(axis=1)))  # (2, rows) [m]
    left = 16 + 7 * max(map(len, row_names))
    scale = min(LARGEST_SCALE, (width - left - GAP * (u.shape[1] + 1)) / float(np.ptp(u, axis=0).sum()))
    if scale < SMALLEST_SCALE:
        least = int(left + GAP * (u.shape[1] + 1) + SMALLEST_SCALE * float(np.ptp(u, axis=0).sum())) + 1
        raise ConfigError("--width", "", f"{width} pixels are too few for {len(column_names)} columns; expected {least} or more")
    columns, rows = (np.floor(np.ptp(side, axis=0) * scale).astype(int) for side in (u, v))
    heads = [heading(name, int(column) + GAP) for name, column in zip(column_names, columns)]
    top = 16 + HEAD_LINE * max(2, *(len(head.splitlines()) for head in heads))
    x = left + GAP + np.concatenate(([0], np.cumsum(columns + GAP)))
    y = top + GAP + np.concatenate(([0], np.cumsum(rows + GAP)))
    image = np.empty((y[-1], x[-1], 3), dtype=np.uint8)
    image[:] = np.round(255 * np.array(BACKGROUND))
    image[y[:-1] - GAP // 2] = FAINT
    for r, row in enumerate(cells):
        for c, (sitter, pose) in enumerate(row):
            centre = (float(u[:, c].mean()), float(v[:, r].mean()))
            view = View(centre, int(columns[c]), int(rows[r]), scale, sitter.left_hand)
            image[y[r] : y[r] + rows[r], x[c] : x[c] + columns[c]] = portrait(sitter.poses[pose], view)
    middle_x, middle_y = x[:-1] + columns / 2, y[:-1] + rows / 2
    return _written(image, [(head, at, top / 2 + GAP / 2) for head, at in zip(heads, middle_x)],
                    [(name, left / 2 + 4, at) for name, at in zip(row_names, middle_y)])  # fmt: skip


def heading(name: str, width: int) -> str:
    """A name in as many lines as its column of ``width`` pixels asks for, parted behind ``_`` and spaces."""
    lines = [""]
    for word in re.findall(r"[^_ ]+[_ ]?|[_ ]", name):
        if lines[-1] and len((lines[-1] + word).rstrip()) * HEAD_LETTER > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def _written(image: np.ndarray, heads: list[tuple], sides: list[tuple]) -> np.ndarray:
    """The image with texts (text, x, y) [pixels] on it, ``heads`` in bold."""
    height, width = image.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    figure.figimage(image, 0, 0)
    for weight, texts in (("bold", heads), ("normal", sides)):
        for text, x, y in texts:
            figure.text(x / width, 1 - y / height, text, size=9.5, weight=weight, color=INK, ha="center", va="center")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(image: np.ndarray, path: Path) -> None:
    """Write an RGB image as PNG.

    Raises:
        OSError: It cannot be written there.
    """
    encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
