"""Episodes for people: images over time and joint plots on one sheet, or a file for the rerun viewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.inspection.episode_view import EpisodeView

COLUMNS = 8  # images of each camera
PLOTS = 4  # plots side by side
TELL = 6  # faults above the images
MEASURED, COMMANDED, BEYOND = "tab:blue", "tab:orange", "#fbe3e0"
UNITS = {"revolute": "rad", "prismatic": "m"}


@dataclass(frozen=True)
class Curve:
    """One plot: title, measured (T,), commanded (T,) or None, and the limits of what it shows, or None."""

    title: str
    measured: np.ndarray
    commanded: np.ndarray | None = None
    limits: tuple[float, float] | None = None


def curves(look: EpisodeView) -> list[Curve]:
    """Every joint, with its limits where it is known, and then the wrist."""
    e, plots = look.embodiment, []
    for k, joint in enumerate(look.joints):
        known = e is not None and joint in e.joint_names
        i = e.joint_names.index(joint) if known else 0
        unit = f" [{UNITS[e.hinge(joint).kind]}]" if known else ""
        limits = (float(e.lower[i]), float(e.upper[i])) if known else None
        plots.append(Curve(f"{joint}{unit}", look.state[:, k], look.action[:, k], limits))
    if look.wrist is not None:
        plots += [Curve(f"wrist {axis} [m]", look.wrist[:, i]) for i, axis in enumerate("xyz")]
    return plots


def write_sheet(look: EpisodeView, path: Path) -> None:
    """Write one PNG: what was found wrong, each camera over time, then every joint, measured and commanded, and the wrist."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras, plots = list(look.images), curves(look)
    heights = [1.9 * len(cameras) or 0.01, 1.5 * -(-len(plots) // PLOTS)]
    faults = [str(fault) for fault in look.faults[:TELL]]
    figure = Figure(figsize=(16, sum(heights) + 0.5 + 0.2 * len(faults)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{look.name}: {len(look.state)} frames at {look.fps} a second, from {look.source}", fontsize=10)
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    if faults:
        above.suptitle("\n".join(faults), fontsize=7, color="tab:red", x=0.01, horizontalalignment="left")
    _draw_images(look, cameras, above)
    _draw_curves(look, plots, below)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_images(look: EpisodeView, cameras: list[str], figure: Any) -> None:
    if not cameras or not len(look.moments):
        return
    chosen = np.unique(np.linspace(0, len(look.moments) - 1, COLUMNS).round().astype(int))
    for row, axes in zip(cameras, figure.subplots(len(cameras), COLUMNS, squeeze=False)):
        for one in axes:
            one.axis("off")
        for one, k in zip(axes, chosen):
            one.imshow(look.images[row][k])
            one.set_title(f"{row} {look.moments[k] / look.fps:.1f} s", fontsize=7)


def _draw_curves(look: EpisodeView, plots: list[Curve], figure: Any) -> None:
    time = np.arange(len(look.state)) / look.fps
    grid = figure.subplots(-(-len(plots) // PLOTS), PLOTS, squeeze=False, sharex=True).ravel()
    for axes, curve in zip(grid, plots):
        axes.plot(time, curve.measured, color=MEASURED, linewidth=2.0, alpha=0.6)
        if curve.commanded is not None:
            axes.plot(time, curve.commanded, color=COMMANDED, linewidth=0.8)
        low, high = axes.get_ylim()
        if curve.limits is not None:  # shade what the joint cannot reach, where it is in sight
            axes.axhspan(min(low, curve.limits[0]), curve.limits[0], color=BEYOND)
            axes.axhspan(curve.limits[1], max(high, curve.limits[1]), color=BEYOND)
        axes.set_ylim(low, high)
        axes.set_title(curve.title, fontsize=7)
        axes.tick_params(labelsize=6)
    for axes in grid[len(plots) :]:
        axes.axis("off")
    lines = grid[0].get_lines()
    figure.legend(lines, ("measured", "commanded"), fontsize=7, loc="outside lower left", ncols=2, frameon=False)
    figure.supxlabel("time [s]; shaded: beyond the joint's limits", fontsize=7)


class RerunFile:
    """A recording for the rerun viewer.

    Args:
        path: The .rrd.

    Raises:
        LatentPolicyError: rerun is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import rerun
        except ImportError as error:
            raise LatentPolicyError(f"rerun cannot be used ({error}); get it with: pip install rerun-sdk") from error
        self._rerun = rerun
        self._stream = rerun.RecordingStream("latent_policy")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream.save(str(path))

    def add(self, look: EpisodeView) -> None:
        """Log one episode under its name."""
        log, rerun = self._stream.log, self._rerun
        for frame in range(len(look.state)):
            self._stream.set_time("time", duration=frame / look.fps)
            for k, joint in enumerate(look.joints):
                log(f"{look.name}/joints/{joint}/measured", rerun.Scalars(float(look.state[frame, k])))
                log(f"{look.name}/joints/{joint}/commanded", rerun.Scalars(float(look.action[frame, k])))
        for camera, images in look.images.items():
            for moment, image in zip(look.moments, images):
                self._stream.set_time("time", duration=float(moment) / look.fps)
                log(f"{look.name}/{camera}", rerun.Image(image).compress(jpeg_quality=85))

    def close(self) -> None:
        """Bring it to the disk."""
        self._stream.flush()
