"""HTML report on a latent space: metrics for every pair of embodiments, a map, and decoded hand poses."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from latent_policy_ros.common.artifacts import write_atomically
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoints import TIPS
from latent_policy_ros.latent import plots
from latent_policy_ros.latent.codec import unit
from latent_policy_ros.latent.metrics import Measures, measure
from latent_policy_ros.latent.space import LatentSpace
from latent_policy_ros.retargeting.human_motion.generator import grasp_plan
from latent_policy_ros.retargeting.human_motion.reference_poses import reference_poses
from latent_policy_ros.retargeting.pairs import PairedActions, make_pairs, pair_recordings

FRAMES, SEED = 4000, 2_000_003  # of generated motion that was not used in training
POINTS = 1500  # per embodiment on the map
STEPS = 7  # of the interpolation between two grasps
MATRICES = {
    "tips": ("Fingertip error [mm] relative to the retargeted pose", 1),
    "target": ("Fingertip distance [mm] from the targets of retargeting", 1),
    "pinch": ("Error of the thumb-to-finger distance [mm], where that is below 30 mm", 1),
    "direction": ("Error of the thumb-to-finger direction [degrees], where the distance is below 30 mm", 0),
    "joints": ("Mean absolute error in action units (rad; fraction of the opening; human: m and rotation matrix entries)", 3),
    "r2": ("Fraction of the actions' variance explained", 2),
    "round_trip": ("Fingertip error [mm] after a round trip", 1),
    "misalignment": ("Distance between latents of one pose (1: as far as those of any two poses)", 2),
    "retrieval": ("Poses identified by their latent among 200 of their recording [%]", 0),
}
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
img{max-width:100%}table{border-collapse:collapse;margin:.6em 0}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:right}
th:first-child,td:first-child{text-align:left}code{background:#f2f2f2}"""


def write_report(
    space: LatentSpace, folder: Path, recordings: Mapping[str, np.ndarray] | None = None, console: Console | None = None
) -> Path:
    """Write a self-contained ``report.html`` into ``folder``; returns the file.

    Args:
        space: The latent space.
        folder: Output folder; created if missing.
        recordings: Additional evaluation data: keypoints (T, 21, 3) [m] of recorded hands, by name.
        console: Console for progress; None: silent.

    Raises:
        ConfigError, ArtifactError: An embodiment that the space was trained with is missing or was changed. Added embodiments
            are left out in that case, with a message on the console.
    """
    say = console.print if console else lambda text: None
    Path(folder).mkdir(parents=True, exist_ok=True)
    embodiments, missing = space.find_embodiments()
    for name, error in missing.items():
        if name not in space.added:
            raise error
        say(f"left out: {error}")
    everyone = list(embodiments.values())
    say(f"{len(everyone)} embodiments; generated motion")
    data = {f"Generated motion, {FRAMES} frames, not used in training": make_pairs(everyone, SEED, FRAMES)}
    if recordings:
        title = "Recorded motion: " + ", ".join(f"{name} ({len(k)} frames)" for name, k in recordings.items())
        data[title] = pair_recordings(everyone, list(recordings.values()))
    generated = next(iter(data.values()))
    parts = [_head(space, embodiments)]
    for title, pairs in data.items():
        say(f"measuring on: {title}")
        parts.append(_measured(title, measure(space, pairs, embodiments), embodiments))
    say("drawing")
    parts += [_map(space, generated), _strip(space, embodiments), _between(space, embodiments)]
    if space.ood_detector is not None:
        parts.append(_distances(space, generated, embodiments))
    body = "\n".join(parts)
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Latent space {space.latent_id[:12]}</title>"
    file = Path(folder) / "report.html"
    write_atomically(file, f"{page}<style>{STYLE}</style><body>{body}</body></html>\n".encode())
    return file


def _head(space: LatentSpace, embodiments: Mapping[str, Embodiment]) -> str:
    rows = [[name, e.kind, str(e.action_dim), "added" if name in space.added else "trained"] for name, e in embodiments.items()]
    size = sum(a.nbytes for codec in (*space.codecs.values(), *space.added.values()) for a in codec.tensors.values())
    stored = space.report.get("settings", {})
    settings = ", ".join(f"{key} {value}" for key, value in stored.items() if key != "embodiments")
    return (
        f"<h1>Latent space <code>{space.latent_id[:12]}</code></h1><p>{space.dim} components; latents of "
        f"{'length 1' if space.bounded else 'any length'}; {size / 1e6:.2f} MB. Left hands share the codecs of right hands.</p>"
        f"{_table(['embodiment', 'kind', 'action', ''], rows)}<p>Settings: {html.escape(settings) or 'unknown'}.</p>"
    )


def _measured(title: str, m: Measures, embodiments: Mapping[str, Embodiment]) -> str:
    hands = tuple(n for n in m.names if embodiments[n].kind == "hand")
    grippers = tuple(n for n in m.names if embodiments[n].kind == "gripper")
    summary = [
        ["fingertips, all ordered pairs [mm]", f"{m.mean('tips'):.2f}"],
        ["fingertips, hand to hand [mm]", f"{m.mean('tips', hands, hands):.2f}"],
        ["fingertips, gripper to hand [mm]", f"{m.mean('tips', grippers, hands):.2f}"],
        [
            "distance from retargeting targets, relative to direct retargeting, hand to hand",
            f"{m.ratio_to_direct(hands):.2f} x",
        ],
        ["pinch distance, all ordered pairs [mm]", f"{m.mean('pinch'):.2f}"],
        ["pinch distance, hand to hand [mm]", f"{m.mean('pinch', hands, hands):.2f}"],
        ["pinch direction, hand to hand [degrees]", f"{m.mean('direction', hands, hands):.1f}"],
        ["identified by their latent, hand to hand", f"{m.mean('retrieval', hands, hands):.0%}"],
    ]
    header = [
        "embodiment", "length: std / mean", "step [1/joint step]", "roughness (p95/p50)", "decode 16 [ms]",
        "direct retargeting: from its targets [mm]",
    ]  # fmt: skip
    each = [
        [name, f"{m.each['norm'][i]:.3f}", f"{m.each['step'][i]:.2f}", f"{m.each['roughness'][i]:.2f}",
         f"{m.each['decode_ms'][i]:.3f}", "" if np.isnan(m.direct[i]) else f"{m.direct[i]:.1f}"]
        for i, name in enumerate(m.names)
    ]  # fmt: skip
    images = "".join(
        _image(plots.matrix(m.pairs[key] * (100 if key == "retrieval" else 1), m.names, text, digits))
        for key, (text, digits) in MATRICES.items()
    )
    return (
        f"<h2>{html.escape(title)}</h2>{_table(['measure', ''], summary)}{_table(header, each)}"
        f"<p>Rows encode, columns decode. The one action of a gripper does not determine a hand pose.</p>{images}"
    )


def _map(space: LatentSpace, pairs: PairedActions) -> str:
    rows = np.linspace(0, len(pairs) - 1, min(POINTS, len(pairs))).astype(int)
    latents = {name: space.encode(name, x[rows]) for name, x in pairs.actions.items()}
    tips = pairs.keypoints[rows][:, list(TIPS.values())]
    aperture = np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=-1).min(axis=1)
    return f"<h2>Map</h2>{_image(plots.space_map(latents, aperture))}"


def _strip(space: LatentSpace, embodiments: Mapping[str, Embodiment]) -> str:
    poses = reference_poses()
    chosen = [pose for pose in poses if pose.name not in ("flat", "victory", "pinch middle", "pinch pinky")]
    source, z = _encoded(space, embodiments, np.stack([pose.motion for pose in chosen]))
    rows = _decoded(space, embodiments, z)
    text = f"Each column is one latent, encoded by <code>{source}</code> and decoded by every embodiment."
    return f"<h2>One latent, every hand</h2><p>{text}</p>{_image(plots.hands(rows, [pose.name for pose in chosen]))}"


def _between(space: LatentSpace, embodiments: Mapping[str, Embodiment]) -> str:
    hand = HumanHand()
    wide, pinched = grasp_plan(0.06, hand=hand).keypoints, grasp_plan(0.0, hand=hand).keypoints
    source, ends = _encoded(space, embodiments, np.stack((wide[::-1], pinched)))
    shares = np.linspace(0, 1, STEPS)
    z = ends[0] + shares[:, None] * (ends[1] - ends[0])
    z = unit(z) if space.bounded else z
    text = f"Straight from a wide grasp to a closed pinch, both encoded by <code>{source}</code>."
    columns = [f"{share:.0%}" for share in shares]
    return f"<h2>Between two grasps</h2><p>{text}</p>{_image(plots.hands(_decoded(space, embodiments, z), columns))}"


def _encoded(space: LatentSpace, embodiments: Mapping[str, Embodiment], motions: np.ndarray) -> tuple[str, np.ndarray]:
    """Name of the encoding embodiment (the human hand, if the space has it) and latents (S, L) of the last poses of motions
    (S, T, 21, 3) [m]."""
    kinds = ("human", "hand", "gripper")
    source = min(embodiments.values(), key=lambda e: (kinds.index(e.kind), e.name))
    pairs = pair_recordings([source], list(motions))
    last = motions.shape[1] * np.arange(1, len(motions) + 1) - 1
    return source.name, space.encode(source.name, pairs.actions[source.name][last])


def _decoded(
    space: LatentSpace, embodiments: Mapping[str, Embodiment], z: np.ndarray
) -> Sequence[tuple[str, Sequence[tuple[Embodiment, np.ndarray]]]]:
    return [(name, [(e, x) for x in space.decode(name, z)]) for name, e in embodiments.items()]


def _distances(space: LatentSpace, pairs: PairedActions, embodiments: Mapping[str, Embodiment]) -> str:
    rng = np.random.default_rng(0)
    known = {name: space.distance(space.encode(name, x)) for name, x in pairs.actions.items()}
    everything = np.concatenate([space.encode(name, x[::10]) for name, x in pairs.actions.items()])
    length = np.linalg.norm(everything, axis=1, keepdims=True)
    anywhere = rng.normal(size=(2000, space.dim))
    anywhere *= length.mean() / np.linalg.norm(anywhere, axis=1, keepdims=True)
    noisy = everything + 0.5 * length * rng.normal(size=everything.shape) / space.dim**0.5
    foreign = {"random direction": space.distance(anywhere), "held-out with 50% noise": space.distance(noisy)}
    at_random = {
        name: space.distance(space.encode(name, rng.uniform(e.action_lower, e.action_upper, (1000, e.action_dim))))
        for name, e in embodiments.items() if e.kind == "hand"
    }  # fmt: skip
    rows_of = known | foreign | {f"{name}, {plots.RANDOM_JOINTS}": distance for name, distance in at_random.items()}
    rows = [[name, f"{np.median(d):.2f}", f"{np.quantile(d, 0.99):.2f}", f"{(d > 1).mean():.1%}"] for name, d in rows_of.items()]
    header = ["latents", "median", "99th percentile", "above 1"]
    return f"<h2>Out-of-distribution distance</h2>{_image(plots.distances(known, at_random, foreign))}{_table(header, rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _image(png: bytes) -> str:
    return f'<p><img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'
