"""Episodes for people: pictures over time and joint plots on one sheet, or a file for the rerun viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import LatentPolicyError
from .looking import Look

COLUMNS = 8  # pictures of each camera


def write_sheet(look: Look, path: Path) -> None:
    """Write one PNG: each camera over time, then every joint, measured and commanded."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras, n = list(look.pictures), len(look.joints)
    plots = -(-n // 4)
    figure = Figure(figsize=(16, 2.0 * len(cameras) + 1.6 * plots + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(cameras) + plots, 8, height_ratios=[2.0] * len(cameras) + [1.6] * plots)
    figure.suptitle(f"{look.name}: {len(look.state)} frames at {look.fps} a second, from {look.source}", fontsize=10)
    for row, camera in enumerate(cameras):
        chosen = np.unique(np.linspace(0, len(look.moments) - 1, COLUMNS).round().astype(int))
        for column, k in enumerate(chosen):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(look.pictures[camera][k])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{camera} {look.moments[k] / look.fps:.1f} s", fontsize=7)
    time = np.arange(len(look.state)) / look.fps
    for k, joint in enumerate(look.joints):
        column = 2 * (k % 4)
        axes = figure.add_subplot(grid[len(cameras) + k // 4, column : column + 2])
        axes.plot(time, look.action[:, k], color="tab:orange", linewidth=1.0, label="commanded")
        axes.plot(time, look.state[:, k], color="tab:blue", linewidth=1.0, label="measured")
        axes.set_title(joint, fontsize=7)
        axes.tick_params(labelsize=6)
        if k == 0:
            axes.legend(fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


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
            raise LatentPolicyError("rerun is not installed; get it with: pip install rerun-sdk") from error
        self._rerun = rerun
        self._stream = rerun.RecordingStream("latent_policy")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream.save(str(path))

    def add(self, look: Look) -> None:
        """Log one episode under its name."""
        log, rerun = self._stream.log, self._rerun
        for frame in range(len(look.state)):
            self._stream.set_time("time", duration=frame / look.fps)
            for k, joint in enumerate(look.joints):
                log(f"{look.name}/joints/{joint}/measured", rerun.Scalars(float(look.state[frame, k])))
                log(f"{look.name}/joints/{joint}/commanded", rerun.Scalars(float(look.action[frame, k])))
        for camera, pictures in look.pictures.items():
            for moment, picture in zip(look.moments, pictures):
                self._stream.set_time("time", duration=float(moment) / look.fps)
                log(f"{look.name}/{camera}", rerun.Image(picture).compress(jpeg_quality=85))

    def close(self) -> None:
        """Bring it to the disk."""
        self._stream.flush()
