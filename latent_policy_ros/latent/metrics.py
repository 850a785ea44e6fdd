"""Metrics of a latent space: decoding errors for each ordered pair of embodiments, on held-out recordings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.embodiments.human.keypoints import TIPS, keypoints_of_action
from latent_policy_ros.latent.codec import unit
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.retargeting import Retargeter
from latent_policy_ros.retargeting.pairs import AVERAGE_PALM, PairedActions

if TYPE_CHECKING:
    from rich.table import Table

PINCH_DISTANCE = 0.03  # thumb-to-finger distance [m] below which a pose counts as a pinch
GALLERY = 200  # candidate poses per recording in the retrieval metric
MILLIMETRES = 1e3


def split_by_recording(recording: np.ndarray, held_out: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and held-out rows by whole recordings, because neighbouring frames are nearly equal.

    Args:
        recording: Recording of each row, (N,).
        held_out: Fraction of the recordings to hold out; at least one recording is in each part.
        generator: Source of randomness.

    Raises:
        ValueError: Fewer than two recordings.
    """
    recordings = generator.permutation(np.unique(recording))
    if len(recordings) < 2:
        raise ValueError(f"expected at least 2 recordings to hold one out, got {len(recordings)}")
    count = min(max(round(held_out * len(recordings)), 1), len(recordings) - 1)
    mask = np.isin(recording, recordings[:count])
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def fingertips(embodiment: Embodiment, actions: np.ndarray) -> np.ndarray:
    """Fingertips [m, hand frame] of actions: (N, d) -> (N, F, 3), the thumb first.

    Human hands are scaled to the average palm length, because a robot's action does not depend on the size of the hand.
    """
    if embodiment.kind == "human":
        keypoints = keypoints_of_action(actions)
        palm = np.linalg.norm(keypoints[:, 9] - keypoints[:, 0], axis=-1)
        return keypoints[:, list(TIPS.values())] * (AVERAGE_PALM / np.maximum(palm, 1e-3))[:, None, None]
    return HandKinematics(embodiment).fingertips(embodiment.to_joints(np.asarray(actions, dtype=np.float64)))


@dataclass(frozen=True)
class Measures:
    """Metrics of a latent space on one set of recordings.

    Attributes:
        names: The N embodiments, in the order of rows and columns.
        pairs: Matrices (N, N); rows encode, columns decode.
            ``joints``: mean absolute error in action units.
            ``r2``: fraction of variance explained.
            ``tips``: mean fingertip error [mm].
            ``pinch`` and ``direction``: error of the thumb-to-finger distance [mm] and direction [degrees] in pinches.
            ``round_trip``: mean fingertip error [mm] after decoding, encoding and decoding back.
            ``retrieval``: fraction of poses whose nearest latent, among 200 of a recording, is that of the same pose.
            ``misalignment``: distance between latents of one pose, relative to that of any two poses (0: equal).
            ``target``: mean distance [mm] of the decoded fingertips from the targets of retargeting; NaN without targets.
        direct: ``target`` for direct retargeting, (N,).
        each: Vectors (N,).
            ``norm``: standard deviation of the latents' length, relative to its mean.
            ``step``: median ratio of latent step to joint step [1/rad].
            ``roughness``: 95th percentile of that ratio, relative to its median.
            ``decode_ms``: time to decode 16 latents [ms].
    """

    names: tuple[str, ...]
    pairs: Mapping[str, np.ndarray]
    direct: np.ndarray
    each: Mapping[str, np.ndarray]

    def mean(self, measure: str, sources: tuple[str, ...] | None = None, targets: tuple[str, ...] | None = None) -> float:
        """Mean of a matrix over ordered pairs of different embodiments, ignoring NaN."""
        rows, columns = self._mask(sources), self._mask(targets)
        mask = np.outer(rows, columns) & ~np.eye(len(self.names), dtype=bool)
        values = self.pairs[measure][mask]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def ratio_to_direct(self, names: tuple[str, ...]) -> float:
        """Mean ``target`` over pairs of ``names``, relative to that of direct retargeting."""
        columns = self._mask(names)
        return self.mean("target", names, names) / float(np.nanmean(self.direct[columns]))

    def _mask(self, names: tuple[str, ...] | None) -> np.ndarray:
        return np.array([names is None or name in names for name in self.names])

    def plain(self) -> dict:
        """Plain lists for JSON, with None for NaN."""
        return {
            "names": list(self.names), "pairs": {k: _plain(v) for k, v in self.pairs.items()},
            "direct": _plain(self.direct), "each": {k: _plain(v) for k, v in self.each.items()},
        }  # fmt: skip


def measure(space: LatentSpace, data: PairedActions, embodiments: Mapping[str, Embodiment]) -> Measures:
    """All metrics of ``space`` on paired actions that it was not trained on."""
    names = tuple(sorted(data.actions))
    z = {name: space.encode(name, data.actions[name]) for name in names}
    tips = {name: fingertips(embodiments[name], data.actions[name]) for name in names}
    targets = {name: _targets(embodiments[name], data) for name in names}
    keys = ("joints", "r2", "tips", "pinch", "direction", "round_trip", "retrieval", "misalignment", "target")
    pairs = {key: np.full((len(names), len(names)), np.nan) for key in keys}
    for i, source in enumerate(names):
        for j, target in enumerate(names):
            x = space.decode(target, z[source])
            got, truth = fingertips(embodiments[target], x), np.asarray(data.actions[target])
            pairs["joints"][i, j] = np.abs(x - truth).mean()
            pairs["r2"][i, j] = 1 - np.square(x - truth).sum() / max(np.square(truth - truth.mean(axis=0)).sum(), 1e-12)
            pairs["tips"][i, j] = _distance(got, tips[target])
            pairs["pinch"][i, j], pairs["direction"][i, j] = pinch_errors(got, tips[target])
            back = fingertips(embodiments[source], space.decode(source, space.encode(target, x)))
            pairs["round_trip"][i, j] = _distance(back, tips[source])
            pairs["retrieval"][i, j] = retrieval(z[source], z[target], data.recording)
            pairs["misalignment"][i, j] = misalignment(z[source], z[target])
            if (wanted := targets[target]) is not None:
                pairs["target"][i, j] = _distance(got, wanted)
    direct = np.array([np.nan if (wanted := targets[n]) is None else _distance(tips[n], wanted) for n in names])
    each = {key: np.zeros(len(names)) for key in ("norm", "step", "roughness", "decode_ms")}
    for i, name in enumerate(names):
        codec = space.codec(name)
        length = np.linalg.norm(z[name], axis=1)
        each["norm"][i] = length.std() / length.mean()
        each["step"][i], each["roughness"][i] = smoothness(unit(z[name]), data.actions[name], data.recording)
        each["decode_ms"][i] = _time(lambda codec=codec, chunk=z[name][:16]: codec.decode(chunk))
    return Measures(names, pairs, direct, each)


def pinch_errors(tips: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean errors of length [mm] and direction [degrees] of the thumb-to-finger vectors that are shorter than 30 mm in truth.

    ``tips`` and ``truth`` (N, F, 3) [m]. NaN if no vector is that short.
    """
    vectors, wanted = tips[:, 1:] - tips[:, :1], truth[:, 1:] - truth[:, :1]
    gap = np.linalg.norm(wanted, axis=-1)
    near = gap < PINCH_DISTANCE
    if not near.any():
        return float("nan"), float("nan")
    length = np.linalg.norm(vectors, axis=-1)
    defined = near & (gap > 2e-3)  # the direction of a vector of length zero is undefined
    cosine = (vectors * wanted).sum(axis=-1)[defined] / np.maximum(length * gap, 1e-9)[defined]
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() if defined.any() else float("nan")
    return float(np.abs(length - gap)[near].mean() * MILLIMETRES), float(angle)


def retrieval(z_i: np.ndarray, z_j: np.ndarray, recording: np.ndarray) -> float:
    """Fraction of poses whose latent in ``z_i`` (N, L) has the latent of the same pose in ``z_j`` (N, L) as its nearest
    neighbour, among 200 poses spread over the same recording."""
    first, second, hits, total = unit(z_i), unit(z_j), 0, 0
    for index in np.unique(recording):
        rows = np.flatnonzero(recording == index)
        rows = rows[np.linspace(0, len(rows) - 1, min(GALLERY, len(rows))).astype(int)]
        hits += int(((first[rows] @ second[rows].T).argmax(axis=1) == np.arange(len(rows))).sum())
        total += len(rows)
    return hits / total


def misalignment(z_i: np.ndarray, z_j: np.ndarray) -> float:
    """Mean of 1 - cosine between equal rows of ``z_i`` and ``z_j`` (N, L), relative to that between all rows."""
    first, second = unit(z_i), unit(z_j)
    paired = 1 - (first * second).sum(axis=1).mean()
    return float(paired / max(1 - first.mean(axis=0) @ second.mean(axis=0), 1e-9))


def smoothness(z: np.ndarray, actions: np.ndarray, recording: np.ndarray) -> tuple[float, float]:
    """Ratio of latent step to action step between frames: its median, and its 95th percentile relative to the median.

    Action steps below a tenth of the mean are ignored, because retargeted joints rest between some frames. NaN without steps.
    """
    same = recording[1:] == recording[:-1]
    if not same.any():
        return float("nan"), float("nan")
    action = np.linalg.norm(np.diff(actions, axis=0), axis=1)[same]
    latent = np.linalg.norm(np.diff(z, axis=0), axis=1)[same]
    moving = action >= 0.1 * action.mean()
    ratio = latent[moving] / np.maximum(action[moving], 1e-9)
    median = float(np.median(ratio))
    return median, float(np.quantile(ratio, 0.95)) / max(median, 1e-9)


def _targets(embodiment: Embodiment, data: PairedActions) -> np.ndarray | None:
    """Fingertip targets of retargeting (N, F, 3); None for embodiments other than hands."""
    if embodiment.kind != "hand":
        return None
    retargeter, targets = Retargeter(embodiment), np.empty((len(data), len(HandKinematics(embodiment).fingers), 3))
    for recording in np.unique(data.recording):  # a recording shows one person
        rows = data.recording == recording
        targets[rows] = retargeter.wanted_fingertips(data.keypoints[rows])
    return targets


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance [mm] of points (N, F, 3) [m]."""
    return float(np.linalg.norm(a - b, axis=-1).mean() * MILLIMETRES)


def _time(call, repeats: int = 50) -> float:
    """Median duration of a call [ms]."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def _plain(values: np.ndarray) -> list:
    return [[None if np.isnan(v) else round(float(v), 5) for v in row] if np.ndim(row) else
            (None if np.isnan(row) else round(float(row), 5)) for row in values]  # fmt: skip


def report_table(measures: Measures, added: str | None = None) -> Table:
    """Table of fingertip errors: one row per embodiment. With ``added``, only errors from and to that embodiment."""
    from rich.table import Table

    title, tips = "Fingertip error on held-out recordings [mm]", measures.pairs["tips"]
    if added is None:
        table = Table("", "decoded by itself", "by the others", "from the others", title=title)
        for i, name in enumerate(measures.names):
            means = (tips[i, i], measures.mean("tips", (name,)), measures.mean("tips", None, (name,)))
            table.add_row(name, *(f"{mean:.1f}" for mean in means))
    else:
        table, i = Table("", f"from it to {added}", f"from {added} to it", title=title), measures.names.index(added)
        for j, name in enumerate(measures.names):
            table.add_row(name, f"{tips[j, i]:.1f}", f"{tips[i, j]:.1f}")
    return table
