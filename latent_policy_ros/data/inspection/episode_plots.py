"""Plots of an episode: one sheet with images and joints over time, and recordings for the Rerun viewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.inspection.episode_view import EpisodeView

IMAGE_COLUMNS = 8  # images of each camera on a sheet
PLOT_COLUMNS = 4
MAX_ISSUES = 6  # issues listed above the images
MEASURED, COMMANDED, OUT_OF_LIMITS = "tab:blue", "tab:orange", "#fbe3e0"  # colors
UNITS = {"revolute": "rad", "prismatic": "m"}


@dataclass(frozen=True)
class Curve:
    """One plot: title, measured values (T,), commanded values (T,) and limits; the last two may be None."""

    title: str
    measured: np.ndarray
    commanded: np.ndarray | None = None
    limits: tuple[float, float] | None = None


def curves(view: EpisodeView) -> list[Curve]:
    """Curves of all joints, with limits where the embodiment has the joint, and of the wrist position."""
    e, plots = view.embodiment, []
    for k, joint in enumerate(view.joints):
        unit, limits = "", None
        if e is not None and joint in e.joint_names:
            i = e.joint_names.index(joint)
            unit, limits = f" [{UNITS[e.hinge(joint).kind]}]", (float(e.lower[i]), float(e.upper[i]))
        plots.append(Curve(f"{joint}{unit}", view.state[:, k], view.commanded(joint), limits))
    if view.wrist is not None:
        plots += [Curve(f"wrist {axis} [m]", view.wrist[:, i]) for i, axis in enumerate("xyz")]
    return plots


def write_sheet(view: EpisodeView, path: Path) -> None:
    """Write a PNG with issues, images of each camera over time, joints (measured and commanded) and the wrist position."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras, plots = list(view.images), curves(view)
    heights = [1.9 * len(cameras) or 0.01, 1.5 * -(-len(plots) // PLOT_COLUMNS)]
    issues = [str(issue) for issue in view.issues[:MAX_ISSUES]]
    figure = Figure(figsize=(16, sum(heights) + 0.5 + 0.2 * len(issues)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{view.name}: {len(view.state)} frames at {view.fps} Hz, from {view.source}", fontsize=10)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).ravel()
    if issues:
        above.suptitle("\n".join(issues), fontsize=7, color="tab:red", x=0.01, horizontalalignment="left")
    _draw_images(view, cameras, above)
    _draw_curves(view, plots, below)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_images(view: EpisodeView, cameras: list[str], figure: Any) -> None:
    if not cameras or not len(view.image_frames):
        return
    chosen = np.unique(np.linspace(0, len(view.image_frames) - 1, IMAGE_COLUMNS).round().astype(int))
    for camera, axes in zip(cameras, figure.subplots(len(cameras), IMAGE_COLUMNS, squeeze=False)):
        for cell in axes:
            cell.axis("off")
        for cell, k in zip(axes, chosen):
            cell.imshow(view.images[camera][k])
            cell.set_title(f"{camera} {view.image_frames[k] / view.fps:.1f} s", fontsize=7)


def _draw_curves(view: EpisodeView, plots: list[Curve], figure: Any) -> None:
    time = np.arange(len(view.state)) / view.fps
    grid = figure.subplots(-(-len(plots) // PLOT_COLUMNS), PLOT_COLUMNS, squeeze=False, sharex=True).ravel()
    for axes, curve in zip(grid, plots):
        axes.plot(time, curve.measured, color=MEASURED, linewidth=2.0, alpha=0.6)
        if curve.commanded is not None:
            axes.plot(time, curve.commanded, color=COMMANDED, linewidth=0.8)
        low, high = axes.get_ylim()
        if curve.limits is not None:  # shade the visible range beyond the limits
            axes.axhspan(min(low, curve.limits[0]), curve.limits[0], color=OUT_OF_LIMITS)
            axes.axhspan(curve.limits[1], max(high, curve.limits[1]), color=OUT_OF_LIMITS)
        axes.set_ylim(low, high)
        axes.set_title(curve.title, fontsize=7)
        axes.tick_params(labelsize=6)
    for axes in grid[len(plots) :]:
        axes.axis("off")
    lines = grid[0].get_lines()
    figure.legend(lines, ("measured", "commanded"), fontsize=7, loc="lower left", ncols=2, frameon=False, borderaxespad=0.1)
    figure.supxlabel("time [s]; shaded: outside the joint's limits", fontsize=7)


class RerunFile:
    """A recording for the Rerun viewer.

    Args:
        path: The .rrd file.

    Raises:
        LatentPolicyError: The package rerun-sdk is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import rerun
        except ImportError as error:
            raise LatentPolicyError(
                f"the package rerun cannot be imported: {error}; install it with: pip install rerun-sdk"
            ) from error
        self._rerun = rerun
        self._stream = rerun.RecordingStream("latent_policy")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream.save(str(path))

    def add(self, view: EpisodeView) -> None:
        """Log an episode under its name."""
        log, rerun = self._stream.log, self._rerun
        for frame in range(len(view.state)):
            self._stream.set_time("time", duration=frame / view.fps)
            for k, joint in enumerate(view.joints):
                log(f"{view.name}/joints/{joint}/measured", rerun.Scalars(float(view.state[frame, k])))
                log(f"{view.name}/joints/{joint}/commanded", rerun.Scalars(float(view.commanded(joint)[frame])))
        for camera, images in view.images.items():
            for frame, image in zip(view.image_frames, images):
                self._stream.set_time("time", duration=float(frame) / view.fps)
                log(f"{view.name}/{camera}", rerun.Image(image).compress(jpeg_quality=85))

    def close(self) -> None:
        """Flush the file."""
        self._stream.flush()
