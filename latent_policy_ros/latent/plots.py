"""Plots of a latent space for the report. Each function draws one figure and returns it as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import BASES, keypoints_of_action

COLOURS = {"thumb": "#c8a02c", "index": "#b23a48", "middle": "#4c6fa5", "ring": "#3d8b6e", "pinky": "#7d5ba6"}
RANDOM_JOINTS = "random joints"
PALETTE = [colormaps["tab20"](i)[:3] for i in range(20)]
VIEW = {"elev": 15, "azim": -40}


def palette(names: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each embodiment, equal in all plots of the same embodiments."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(sorted(names))}


def matrix(values: np.ndarray, names: Sequence[str], title: str, digits: int = 1) -> bytes:
    """Matrix (N, N) as an annotated image; rows encode, columns decode."""
    size = 2.2 + 0.62 * len(names)
    figure = Figure(figsize=(size + 0.8, size))
    axes = figure.subplots()
    finite = values[np.isfinite(values)]
    top = float(np.quantile(finite, 0.95)) if finite.size else 1.0
    axes.imshow(values, cmap="YlOrRd", vmin=0, vmax=max(top, 1e-9))
    for (i, j), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else f"{value:.{digits}f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > 0.7 * top else "black")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="decoded by", ylabel="encoded by", title=title)
    return _png(figure)


def space_map(latents: Mapping[str, np.ndarray], aperture: np.ndarray) -> bytes:
    """First two principal components of latents {name: (N, L)}, coloured by embodiment and by human aperture (N,) [m]."""
    figure = Figure(figsize=(14, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = palette(latents)
    everything = np.concatenate(list(latents.values()))
    mean = everything.mean(axis=0)
    _, spread, axes = np.linalg.svd(everything - mean, full_matrices=False)
    share = np.square(spread[:2]).sum() / np.square(spread).sum()
    flat = {name: (z - mean) @ axes[:2].T for name, z in latents.items()}
    for name, points in flat.items():
        left.scatter(*points.T, s=3, alpha=0.4, label=name, color=colours[name])
    left.legend(fontsize=8, markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5))
    left.set_title(f"by embodiment (two principal components, {share:.0%} of the variance)")
    points = np.concatenate(list(flat.values()))
    drawn = right.scatter(*points.T, s=3, alpha=0.5, c=np.tile(aperture * 1e3, len(flat)), cmap="viridis", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=right, label="smallest distance between thumb tip and a fingertip [mm]")
    right.set_title("by human aperture")
    return _png(figure)


def hands(rows: Sequence[tuple[str, Sequence[tuple[Embodiment, np.ndarray]]]], columns: Sequence[str]) -> bytes:
    """Grid of hand drawings. Each row is a title and one (embodiment, action (d,)) per column."""
    figure = Figure(figsize=(1.7 * len(columns) + 1.0, 1.75 * len(rows) + 0.4))
    for r, (title, cells) in enumerate(rows):
        for c, (embodiment, action) in enumerate(cells):
            axes = figure.add_subplot(len(rows), len(columns), r * len(columns) + c + 1, projection="3d")
            _draw(axes, embodiment, action)
            if r == 0:
                axes.set_title(columns[c], fontsize=8)
            if c == 0:
                axes.text2D(-0.12, 0.5, title, transform=axes.transAxes, rotation=90, va="center", fontsize=8)
    figure.subplots_adjust(left=0.03, right=0.99, bottom=0.01, top=0.94, wspace=0.0, hspace=0.0)
    return _png(figure)


def distances(held_out: Mapping[str, np.ndarray], at_random: Mapping[str, np.ndarray], foreign: Mapping[str, np.ndarray]) -> bytes:
    """Histograms of out-of-distribution distances, coloured by embodiment.

    Args:
        held_out: Distances (N,) of held-out poses, by embodiment.
        at_random: Distances (N,) of random joint positions, by embodiment.
        foreign: Distances (N,) of latents of no embodiment, by name; in black and grey.
    """
    figure = Figure(figsize=(8, 3.6))
    colours, greys = palette(held_out), dict(zip(foreign, ("black", "#888888", "#bbbbbb")))
    drawn: list[tuple[str, np.ndarray, Literal["step", "stepfilled"], str | tuple[float, float, float]]]
    drawn = [(name, distance, "stepfilled", colours[name]) for name, distance in held_out.items()]
    drawn += [(f"{name}, {RANDOM_JOINTS}", distance, "step", colours[name]) for name, distance in at_random.items()]
    drawn += [(name, distance, "step", greys[name]) for name, distance in foreign.items()]
    axes = figure.subplots()
    bins = np.geomspace(0.05, 30, 80).tolist()
    for name, distance, style, colour in drawn:
        axes.hist(np.clip(distance, 0.05, 30), bins, density=False, weights=np.full(len(distance), 1 / len(distance)),
                  histtype=style, alpha=0.35 if style == "stepfilled" else 1.0, label=name, linewidth=1.5,
                  color=colour)  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set(xlabel="distance (exceeds 1 for 0.1% of held-out latents)", ylabel="fraction")
    axes.legend(fontsize=7)
    return _png(figure)


def finger_lines(embodiment: Embodiment, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Joint positions of each finger from wrist (origin) to tip: actions (N, d) -> {finger: (N, K, 3)} [m, hand frame]."""
    actions = np.atleast_2d(np.asarray(actions, dtype=np.float64))
    origin = np.zeros((len(actions), 1, 3))
    if embodiment.kind == "human":
        keypoints = keypoints_of_action(actions)
        return {f: np.concatenate((origin, keypoints[:, base : base + 4]), axis=1) for f, base in BASES.items()}
    motion = HandKinematics(embodiment).link_transforms(embodiment.to_joints(actions))
    index = {hinge.name: i for i, hinge in enumerate(embodiment.hinges)}
    rotation, shift = embodiment.T_base_hand[:3, :3], embodiment.T_base_hand[:3, 3]
    lines: dict[str, np.ndarray] = {}
    for finger, tip in embodiment.fingertips.items():
        points = [(tip.hinge, tip.point)]
        name: str | None = tip.hinge
        while name is not None:
            points.append((name, embodiment.hinge(name).point))
            name = embodiment.hinge(name).parent
        moved = [(motion[:, index[hinge]] @ [*point, 1.0])[:, :3] for hinge, point in reversed(points)]
        lines[finger] = np.concatenate((origin, (np.stack(moved, axis=1) - shift) @ rotation), axis=1)
    return lines


def _draw(axes, embodiment: Embodiment, action: np.ndarray) -> None:
    lines = finger_lines(embodiment, action)
    points = np.concatenate([line[0] for line in lines.values()])
    for finger, line in lines.items():
        axes.plot(*line[0].T, color=COLOURS[finger], linewidth=2, solid_capstyle="round")
        axes.scatter(*line[0, -1:].T, color=COLOURS[finger], s=12)
    knuckles = np.array([line[0, 1] for line in lines.values()])
    axes.plot(*knuckles.T, color="#999999", linewidth=1)
    middle, half = (points.max(axis=0) + points.min(axis=0)) / 2, 0.5 * np.ptp(points, axis=0).max()
    axes.set(**{f"{axis}lim": (m - half, m + half) for axis, m in zip("xyz", middle)})
    axes.view_init(**VIEW)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight")
    return buffer.getvalue()
