"""Sheets of hand images at one scale: human poses and the poses retargeted to embodiments."""

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
from latent_policy_ros.retargeting.checks.pinches import retarget_poses
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose, reference_poses
from latent_policy_ros.sim.hand_images.drawing import BACKGROUND, View, bounds, draw_hand
from latent_policy_ros.sim.hand_images.solids import Solid, hand_solids, human_solids

POSES = ("spread", "relaxed", "point", "fist", "pinch index", "pinch pinky", "grasp")  # rows of the gallery
HUMAN = "human"
GAP = 14  # space around every image [pixels]
DPI = 100
MIN_SCALE, MAX_SCALE = 150.0, 1400.0  # pixels per metre
INK, FAINT = "#2b2f36", (222, 226, 232)
HEADING_LETTER, HEADING_LINE = 8.6, 15  # width of a letter and height of a line of a heading [pixels]
MIRROR = np.array([1.0, -1.0, 1.0])  # hand frame of a right hand -> of a left hand


@dataclass(frozen=True)
class Subject:
    """A hand to draw: its name, its shapes in every pose, and whether it is a left hand."""

    name: str
    poses: tuple[list[Solid], ...]
    left_hand: bool = False


def human_subject(poses: Sequence[ReferencePose], left_hand: bool = False) -> Subject:
    """Return the human hand in the given poses."""
    mirror = MIRROR if left_hand else 1.0
    return Subject(HUMAN, tuple(human_solids(pose.keypoints * mirror) for pose in poses), left_hand)


def robot_subject(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> Subject:
    """Return an embodiment retargeted to the given poses."""
    q = retarget_poses(embodiment, poses)[:, -1]
    return Subject(embodiment.name, tuple(hand_solids(embodiment, pose) for pose in q), embodiment.side == "left")


def gallery(embodiments: Sequence[Embodiment], width: int = 1600) -> np.ndarray:
    """Draw a column for the human hand and each embodiment, and a row for each of :data:`POSES`; see :func:`sheet`."""
    by_name = {pose.name: pose for pose in reference_poses()}
    poses = [by_name[name] for name in POSES]
    left_hand = all(embodiment.side == "left" for embodiment in embodiments)
    human = human_subject(poses, left_hand)
    return sheet([human, *(robot_subject(embodiment, poses) for embodiment in embodiments)], POSES, width)


def check_sheet(embodiment: Embodiment, width: int = 2000) -> np.ndarray:
    """Draw all reference poses: the human hand in the upper row, the embodiment in the lower; see :func:`sheet`."""
    poses = reference_poses()
    subjects = [human_subject(poses, embodiment.side == "left"), robot_subject(embodiment, poses)]
    return sheet(subjects, [pose.name for pose in poses], width, poses_across=True)


def sheet(subjects: Sequence[Subject], pose_names: Sequence[str], width: int, poses_across: bool = False) -> np.ndarray:
    """Draw a column for each subject and a row for each pose, or, with ``poses_across``, the transpose.

    Returns:
        RGB image, uint8, ``width`` pixels wide, or less where :data:`MAX_SCALE` limits the scale.

    Raises:
        HardwareError: OpenGL is not available.
        ConfigError: ``width`` [pixels] is too small for the columns.
    """
    cells = [[(subject, pose) for subject in subjects] for pose in range(len(pose_names))]
    row_names, column_names = list(pose_names), [subject.name for subject in subjects]
    if poses_across:
        cells, row_names, column_names = [list(row) for row in zip(*cells)], column_names, row_names
    box = np.array([[bounds(subject.poses[pose], subject.left_hand) for subject, pose in row] for row in cells])
    u = np.stack((box[:, :, 0, 0].min(axis=0), box[:, :, 1, 0].max(axis=0)))  # (2, columns) [m]
    v = np.stack((box[:, :, 0, 1].min(axis=1), box[:, :, 1, 1].max(axis=1)))  # (2, rows) [m]
    left = 16 + 7 * max(map(len, row_names))
    scale = min(MAX_SCALE, (width - left - GAP * (u.shape[1] + 1)) / float(np.ptp(u, axis=0).sum()))
    if scale < MIN_SCALE:
        least = int(left + GAP * (u.shape[1] + 1) + MIN_SCALE * float(np.ptp(u, axis=0).sum())) + 1
        raise ConfigError("--width", "", f"{width} pixels are too few for {len(column_names)} columns; expected {least} or more")
    columns, rows = (np.floor(np.ptp(side, axis=0) * scale).astype(int) for side in (u, v))
    heads = [heading(name, int(column) + GAP) for name, column in zip(column_names, columns)]
    top = 16 + HEADING_LINE * max(2, *(len(head.splitlines()) for head in heads))
    x = left + GAP + np.concatenate(([0], np.cumsum(columns + GAP)))
    y = top + GAP + np.concatenate(([0], np.cumsum(rows + GAP)))
    image = np.empty((y[-1], x[-1], 3), dtype=np.uint8)
    image[:] = np.round(255 * np.array(BACKGROUND))
    image[y[:-1] - GAP // 2] = FAINT
    for r, row in enumerate(cells):
        for c, (subject, pose) in enumerate(row):
            centre = (float(u[:, c].mean()), float(v[:, r].mean()))
            view = View(centre, int(columns[c]), int(rows[r]), scale, subject.left_hand)
            image[y[r] : y[r] + rows[r], x[c] : x[c] + columns[c]] = draw_hand(subject.poses[pose], view)
    middle_x, middle_y = x[:-1] + columns / 2, y[:-1] + rows / 2
    return _annotate(image, [(head, at, top / 2 + GAP / 2) for head, at in zip(heads, middle_x)],
                    [(name, left / 2 + 4, at) for name, at in zip(row_names, middle_y)])  # fmt: skip


def heading(name: str, width: int) -> str:
    """Break a name into lines that fit a column of ``width`` pixels, after ``_`` and at spaces."""
    lines = [""]
    for word in re.findall(r"[^_ ]+[_ ]?|[_ ]", name):
        if lines[-1] and len((lines[-1] + word).rstrip()) * HEADING_LETTER > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def _annotate(image: np.ndarray, heads: list[tuple], sides: list[tuple]) -> np.ndarray:
    """Add texts (text, x, y) [pixels] to the image, ``heads`` in bold."""
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
    """Write an RGB image as a PNG file and create its folder.

    Raises:
        OSError: The file cannot be written.
    """
    encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
