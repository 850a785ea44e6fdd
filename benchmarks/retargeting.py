"""Retargeting to the Allegro hand compared with dex-retargeting 0.5.0 in one run: time, fingertip error, contacts, steps.

    python -m venv peer && peer/bin/pip install dex-retargeting==0.5.0 six torch example-robot-data
    .venv/bin/python benchmarks/retargeting.py STREAM.npy --peer peer/bin/python

STREAM.npy has keypoints (T, 21, 3) [m] in the frame of the Allegro's URDF (+z along the fingers, +x out of the palm). Without it a
motion is generated; half of it goes to the reference poses and back, because random motion has few touches. All methods run online,
frame by frame, in one thread.

`vector` is dex-retargeting's problem: wrist to fingertips times one scale. Its scale is the one of SCALES with the smallest error;
the solver of this package gets the same targets. `dexpilot` is dex-retargeting's method with contacts. `Retargeter` is the method
of this package: one scale and offset for this hand, and contacts. Its error is relative to these targets. `aligned` is the error
after the person's four tips were moved, turned and scaled to the robot's, frame by frame; `near` is the error of the distance
between thumb and finger where the person's is below 30 mm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np

WRIST = 0.095  # distance of the wrist below palm_link [m], as in dex-retargeting's description of this hand
PERSON, TOUCH, CLOSED, NEAR = [4, 8, 12, 16], 0.010, 0.005, 0.030
SCALES = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.6)


def figures_of(times, q, tips, targets, keypoints):
    """The figures of one method: times (T,) [s], q (T, 16), tips and targets (T, 4, 3) [m]."""
    from latent_policy_ros.retargeting.quality import aligned_error

    person = np.linalg.norm(keypoints[:, PERSON[1:]] - keypoints[:, PERSON[:1]], axis=-1)
    robot = np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=-1)
    gaps, near = robot[person < TOUCH], np.abs(robot - person)[person < NEAR]
    return {
        "ms": 1e3 * float(np.median(times)), "error_mm": 1e3 * float(np.linalg.norm(tips - targets, axis=-1).mean()),
        "gap_mm": 1e3 * float(np.median(gaps)), "closed": float((gaps < CLOSED).mean()),
        "step": float(np.abs(np.diff(q, axis=0)).max()), "near_mm": 1e3 * float(near.mean()),
        "aligned_mm": 1e3 * float(np.mean([aligned_error(*frame) for frame in zip(tips, keypoints[:, PERSON])])),
    }  # fmt: skip


def generated():
    """Keypoints (2001, 21, 3) [m] at 30 Hz of an average hand."""
    from latent_policy_ros.embodiments.human.human_hand import HumanHand
    from latent_policy_ros.retargeting import generate_motion
    from latent_policy_ros.retargeting.human_motion.reference_poses import reference_poses

    free = generate_motion(0, 33.3, 30.0, HumanHand()).keypoints
    there_and_back = [(p.motion, np.repeat(p.motion[-1:], 10, axis=0), p.motion[::-1]) for p in reference_poses()]
    return np.concatenate((free, *(part for parts in 2 * there_and_back for part in parts)))


def same_vectors(keypoints, scale):
    """The solver of this package on dex-retargeting's problem."""
    from latent_policy_ros.embodiments import HandKinematics, load_embodiment
    from latent_policy_ros.retargeting.solver import TOLERANCE, keyvectors, minimise

    hand = load_embodiment("allegro_hand")
    kinematics = HandKinematics(hand)
    wrist = (np.array([0.0, 0.0, -WRIST]) - hand.T_base_hand[:3, 3]) @ hand.T_base_hand[:3, :3]
    vectors = keyvectors(kinematics.tree_in_hand_frame(np.ones(3)), [-1] * 4, range(4))
    lower, upper, ones, none, held = hand.lower.copy(), hand.upper.copy(), np.ones(4), np.zeros(4), np.full(16, 2e-5)
    q, last, times = np.empty((len(keypoints), 16)), hand.rest.copy(), np.empty(len(keypoints))
    for t, points in enumerate(keypoints):
        start = time.perf_counter()
        targets = wrist + scale * (points[PERSON] - points[0])
        q[t] = last
        minimise(vectors, lower, upper, q[t], last, held, targets, ones, none, 200 if t == 0 else 8, TOLERANCE)
        last = q[t]
        times[t] = time.perf_counter() - start
    targets = wrist + scale * (keypoints[:, PERSON] - keypoints[:, :1])
    return figures_of(times, q, kinematics.fingertips(q), targets, keypoints)


def shipped(keypoints):
    """The Retargeter of this package, online and batched."""
    from latent_policy_ros.embodiments import HandKinematics, load_embodiment
    from latent_policy_ros.retargeting import Retargeter

    hand = load_embodiment("allegro_hand")
    retargeter = Retargeter(hand)
    retargeter.retarget(keypoints[0])  # compile
    retargeter.reset()
    q, times = np.empty((len(keypoints), 16)), np.empty(len(keypoints))
    for t, points in enumerate(keypoints):
        start = time.perf_counter()
        q[t] = retargeter.retarget(points)
        times[t] = time.perf_counter() - start
    figures = figures_of(times, q, HandKinematics(hand).fingertips(q), retargeter.wanted_fingertips(keypoints), keypoints)
    many, began = np.stack([keypoints] * 8), time.perf_counter()
    together = retargeter.retarget_sequence(many)
    figures["poses_per_second"] = many.shape[0] * many.shape[1] / (time.perf_counter() - began)
    figures["batched_minus_online"] = float(np.abs(together[0] - q).max())
    return figures


def peer(python, stream, keypoints):
    """Run both methods of dex-retargeting at every scale: {(method, scale): figures}."""
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(__file__).parent / "peers" / "dex.py", Path(folder)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [python, script, stream, out, str(WRIST), *map(str, SCALES)]
        subprocess.run(command, check=True, env=environment)
        found = {}
        for kind in ("vector", "dexpilot"):
            for scale in SCALES:
                with np.load(out / f"{kind}_{scale}.npz") as r:
                    targets = scale * (keypoints[:, PERSON] - keypoints[:, :1])
                    found[kind, scale] = figures_of(r["seconds"], r["q"], r["tips"], targets, keypoints)
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", nargs="?", help="keypoints (T, 21, 3) [m], .npy")
    parser.add_argument("--peer", help="Python with dex-retargeting 0.5.0")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.stream:
        stream, keypoints = arguments.stream, np.load(arguments.stream, allow_pickle=False).astype(np.float64)
    else:
        keypoints = generated()
        stream = str(Path(tempfile.mkdtemp()) / "stream.npy")
        np.save(stream, keypoints)
    rows, best = {"this package, Retargeter": shipped(keypoints)}, 1.25
    if arguments.peer:
        found = peer(arguments.peer, stream, keypoints)
        for kind in ("vector", "dexpilot"):
            scale = min(SCALES, key=lambda s, kind=kind: found[kind, s]["error_mm"])
            best = scale if kind == "vector" else best
            rows[f"dex-retargeting, {kind} x{scale}"] = found[kind, scale]
            if kind == "vector":
                reference = found[kind, scale]
    rows[f"this package, vector x{best}"] = same_vectors(keypoints, best)
    touches = np.linalg.norm(keypoints[:, PERSON[1:]] - keypoints[:, PERSON[:1]], axis=-1) < TOUCH
    print(f"{len(keypoints)} frames, {touches.sum()} touches")
    print("| | ms a frame | fingertip error [mm] | aligned [mm] | near [mm] | contact gap [mm] | closed | step [rad] |")
    print("|---|---|---|---|---|---|---|---|")
    for name, r in rows.items():
        figures = f"{r['ms']:.3f} | {r['error_mm']:.1f} | {r['aligned_mm']:.1f} | {r['near_mm']:.1f} | {r['gap_mm']:.2f}"
        print(f"| {name} | {figures} | {r['closed']:.1%} | {r['step']:.2f} |")
    ours = rows["this package, Retargeter"]
    print(f"\nbatched: {ours['poses_per_second']:.0f} poses/s, {ours['batched_minus_online']:.0e} rad from online")
    if arguments.peer:
        same = rows[f"this package, vector x{best}"]
        speed, error = reference["ms"] / same["ms"], same["error_mm"] / reference["error_mm"]
        print(f"same targets: {speed:.0f} times as fast, {error:.3f} of the error")
        print(f"Retargeter: {reference['ms'] / ours['ms']:.0f} times as fast as dex-retargeting's vectors")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
