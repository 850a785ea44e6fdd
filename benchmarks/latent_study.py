"""Latent space study: the published method and its ablations, the shipped method and its ablations.

    python benchmarks/latent_study.py [--recordings FILE ...] [--seeds 0 1 2] [--only NAME ...] [--write docs/explanation/LATENT.md]

All trainings use the same generated motion, sizes, batch size, number of steps and held-out recordings, and one thread. Recordings
of people (--recordings) are used for evaluation only. Each run writes a file to runs/latent_study and is skipped if that file
exists, so that the study can be interrupted. --write inserts the tables between two marks of a Markdown file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from latent_policy_ros.common.artifacts import canonical_json, write_atomically
from latent_policy_ros.common.config import config_file, load
from latent_policy_ros.common.paths import runs_dir
from latent_policy_ros.data.hand_recordings import read_hand_recording
from latent_policy_ros.embodiments import Embodiment, load_embodiment
from latent_policy_ros.latent.metrics import Measures, fingertips, measure
from latent_policy_ros.latent.settings import LatentSettings
from latent_policy_ros.latent.training import measure_held_out, train_latent
from latent_policy_ros.retargeting.pairs import PairedActions, make_pairs, pair_recordings

EMBODIMENTS = ("human_hand", "faive_hand", "mimic_hand", "allegro_hand", "panda_gripper")
SAME = {"embodiments": EMBODIMENTS, "frames": 40_000, "dim": 32, "hidden": 256, "batch": 512}
STEPS = 2000
# Trained with the first seed only: variants that test whether the published settings limit the published method.
ONCE = ("paper, twice the steps", "paper, our rates", "paper, batches of 2,048")
BEGIN, END = "<!-- latent_study begins -->", "<!-- latent_study ends -->"


def configurations() -> dict[str, LatentSettings]:
    """Settings of each row of the study, by name."""
    paper, ours = (
        load(LatentSettings, config_file("training", name, "settings")).model_copy(update=SAME)
        for name in ("latent_paper", "latent")
    )
    paper = paper.model_copy(update={"contrastive_steps": STEPS // 2, "decoding_steps": STEPS // 2})
    ours = ours.model_copy(update={"decoding_steps": STEPS})
    return {
        "paper": paper,
        "paper, no annealing": paper.model_copy(update={"annealing": False}),
        "paper, encoders frozen": paper.model_copy(update={"finetune_encoders": False}),
        "paper, twice the steps": paper.model_copy(update={"contrastive_steps": STEPS, "decoding_steps": STEPS}),
        "paper, our rates": paper.model_copy(
            update={"learning_rate": ours.learning_rate, "encoder_learning_rate": ours.learning_rate}
        ),
        "paper, batches of 2,048": paper.model_copy(update={"batch": 2048}),
        "ours": ours,
        "ours, own decoding only": ours.model_copy(update={"cross_weight": 0.0}),
        "ours, no kinematics": ours.model_copy(update={"fingertip_weight": 0.0, "pinch_weight": 0.0}),
        "ours, not bounded": ours.model_copy(update={"bounded": False}),
        "ours, and gain": ours.model_copy(update={"decoder_gain": 16.0}),
        "ours, no alignment": ours.model_copy(update={"alignment_weight": 0.0}),
        "ours, and contrast": ours.model_copy(update={"contrastive_weight": 0.01}),
    }


def summary(m: Measures, embodiments: Mapping[str, Embodiment]) -> dict[str, float]:
    """Metrics of one row of the tables."""
    hands = tuple(n for n in m.names if embodiments[n].kind == "hand")
    grippers = tuple(n for n in m.names if embodiments[n].kind == "gripper")
    rich = tuple(n for n in m.names if n not in grippers)
    return {
        "tips": m.mean("tips"), "tips_hands": m.mean("tips", hands, hands), "tips_rich": m.mean("tips", rich, m.names),
        "tips_gripper": m.mean("tips", grippers, hands), "direct": m.ratio_to_direct(hands),
        "pinch": m.mean("pinch"), "pinch_hands": m.mean("pinch", hands, hands),
        "direction": m.mean("direction", hands, hands), "retrieval": m.mean("retrieval", rich, rich),
        "misalignment": m.mean("misalignment", rich, rich),
        "misalignment_gripper": m.mean("misalignment", grippers, rich),
        "round_trip": m.mean("round_trip", rich, rich), "norm": float(m.each["norm"].mean()),
        "roughness": float(m.each["roughness"].mean()),
    }  # fmt: skip


COLUMNS = {
    "tips": ("tips, all pairs [mm]", "{:.1f}"), "tips_rich": ("not from gripper", "{:.1f}"),
    "tips_hands": ("hand to hand", "{:.1f}"),
    "direct": ("x direct", "{:.2f}"), "pinch": ("pinch, all [mm]", "{:.1f}"), "pinch_hands": ("hand to hand", "{:.1f}"),
    "direction": ("direction [deg]", "{:.0f}"), "retrieval": ("top-1", "{:.2f}"), "misalignment": ("misalignment", "{:.2f}"),
    "misalignment_gripper": ("gripper misalignment", "{:.2f}"),
    "norm": ("norm spread", "{:.2f}"), "roughness": ("roughness", "{:.2f}"),
}  # fmt: skip


def gripper_bound(generated: PairedActions, real: PairedActions) -> str:
    """Smallest error of any decoder from a gripper's opening: that of the median pose with this opening, from several sources."""
    recordings = np.unique(real.recording)
    errors = {"poses of the training motion": _from_opening(generated, real)}
    if len(recordings) > 1:
        of = [(real.subset(recordings[recordings != r]), real.subset([r])) for r in recordings]
        errors["poses of the other recordings"] = np.concatenate([_from_opening(known, asked) for known, asked in of])
    errors["poses of these recordings themselves"] = _from_opening(real, real)
    listed = ", ".join(f"{e.mean() * 1e3:.0f} mm with {source}" for source, e in errors.items())
    return f"- Gripper to hand, if each opening were decoded to the median pose with that opening: {listed}."


def _from_opening(known: PairedActions, asked: PairedActions, bins: int = 12) -> np.ndarray:
    """Distances [m] of the hands' fingertips in ``asked`` from the median of those in ``known`` with the same opening."""
    there, here = (np.minimum((p.actions["panda_gripper"][:, 0] * bins).astype(int), bins - 1) for p in (known, asked))
    some = np.unique(there)
    here = some[np.abs(here[:, None] - some).argmin(axis=1)]  # for an opening without poses, the nearest one that has some
    distances = []
    for name in ("faive_hand", "mimic_hand", "allegro_hand"):
        poses, truth = (fingertips(load_embodiment(name), p.actions[name]) for p in (known, asked))
        medians = {b: _median(poses[there == b]) for b in np.unique(here)}
        distances.append(np.linalg.norm(truth - np.stack([medians[b] for b in here]), axis=-1).mean(axis=-1))
    return np.concatenate(distances)


def _median(positions: np.ndarray) -> np.ndarray:
    """Geometric median (F, 3) of positions (N, F, 3), by Weiszfeld's iteration."""
    middle = positions.mean(axis=0)
    for _ in range(30):
        near = 1.0 / np.maximum(np.linalg.norm(positions - middle, axis=-1), 1e-4)
        middle = (positions * near[..., None]).sum(axis=0) / near.sum(axis=0)[:, None]
    return middle


def keypoints(file: Path) -> np.ndarray:
    """Keypoints (T, 21, 3) [m] of a recorded hand."""
    found = read_hand_recording(file).hands()
    return found.keypoints[found.valid]


def run(settings: LatentSettings, pairs: PairedActions, real: PairedActions | None, file: Path) -> dict:
    """Train and evaluate one space, or read the stored result."""
    if file.is_file():
        return json.loads(file.read_text())
    embodiments = {name: load_embodiment(name) for name in settings.embodiments}
    started = time.process_time()
    space = train_latent(settings, pairs, embodiments)
    result = {"settings": settings.model_dump(mode="json"), "seconds": round(time.process_time() - started, 1)}
    result["held-out motion"] = summary(measure_held_out(space, settings, pairs, embodiments), embodiments)
    if real is not None:
        measures = measure(space, real, embodiments)
        result["recordings"] = summary(measures, embodiments)
        result["matrices"] = measures.plain()
    write_atomically(file, json.dumps(result, indent=1).encode())
    return result


def table(results: Mapping[str, list[dict]], split: str) -> str:
    """Markdown table of means over seeds, with standard deviations in the main columns."""
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " | s |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, runs in results.items():
        cells = []
        for key, (_, form) in COLUMNS.items():
            values = np.array([r[split][key] for r in runs])
            spread = f" ± {form.format(values.std(ddof=1))}" if len(values) > 1 and key in ("tips", "tips_hands", "pinch") else ""
            cells.append(form.format(values.mean()) + spread)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {np.mean([r['seconds'] for r in runs]):.0f} |")
    return "\n".join(lines)


def bars(results: Mapping[str, list[dict]], split: str) -> str:
    """Main comparisons, one line each."""
    mean = {name: {k: np.mean([r[split][k] for r in runs]) for k in runs[0][split]} for name, runs in results.items()}
    ours, paper = mean["ours"], mean["paper"]
    lines = [
        f"- Fingertips, gripper to hand: paper {paper['tips_gripper']:.0f} mm, ours {ours['tips_gripper']:.0f} mm.",
        f"- Fingertips over all ordered pairs: ours / paper = {ours['tips'] / paper['tips']:.2f} (goal: 0.5).",
        f"- Pinch distance over all ordered pairs: {ours['pinch'] / paper['pinch']:.2f} (goal: 0.33).",
        f"- Hand to hand, distance from retargeting targets relative to direct retargeting: {ours['direct']:.2f} "
        f"(goal: 1.5; paper: {paper['direct']:.2f}).",
    ]
    for name in ("paper, encoders frozen", "paper, no annealing"):
        if name in mean:
            worse = mean[name]["tips"] / paper["tips"] - 1
            lines.append(f"- {name}: fingertips {worse:+.0%} against paper.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {name: s for name, s in configurations().items() if not options.only or name in options.only}
    folder = runs_dir() / "latent_study"
    hands, real = [load_embodiment(name) for name in EMBODIMENTS], None
    if options.recordings:
        real = pair_recordings(hands, [keypoints(file) for file in options.recordings])
    pairs = make_pairs(hands, seed=0, frames=SAME["frames"])
    # Stored results are valid for the same embodiments and the same pairs, of training and of recordings.
    arrays = [a for p in (pairs, real) if p is not None for a in (p.keypoints, *(p.actions[name] for name in EMBODIMENTS))]
    digest = "".join(hand.content_hash for hand in hands) + "".join(hashlib.sha256(a.tobytes()).hexdigest() for a in arrays)
    results: dict[str, list[dict]] = {name: [] for name in chosen}
    for seed in options.seeds:
        for name, settings in chosen.items():
            if name in ONCE and seed != options.seeds[0]:
                continue
            seeded = settings.model_copy(update={"seed": seed})
            key = hashlib.sha256((canonical_json(seeded.model_dump(mode="json")) + digest).encode()).hexdigest()[:12]
            result = run(seeded, pairs, real, folder / f"{name.replace(' ', '_').replace(',', '')}_{seed}_{key}.json")
            results[name].append(result)
            metrics = {split: {k: round(result[split][k], 2) for k in ("tips", "tips_hands", "pinch", "direct")}
                    for split in ("held-out motion", "recordings") if split in result}  # fmt: skip
            print(f"{name:26s} seed {seed} {result['seconds']:5.0f} s  {metrics}", flush=True)
    text = ""
    for split in ("held-out motion", "recordings"):
        if all(split in r for runs in results.values() for r in runs):
            text += f"\n### On {split}\n\n{table(results, split)}\n"
            text += f"\n{bars(results, split)}\n" if {"ours", "paper"} <= set(results) else ""
    text += f"{gripper_bound(pairs, real)}\n" if real is not None else ""
    print(text)
    if options.write:
        before, _, rest = options.write.read_text().partition(BEGIN)
        options.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
