"""Fingertips and Jacobians of three hands: the compiled kernel of this package against pinocchio, in one run.

    .venv/bin/python benchmarks/kinematics.py

Each row is the time per pose [us], the median of interleaved rounds, for one pose a call and for a batch of 2,000. Both sides
give fingertips (F, 3) in the hand frame and, in the rows with a Jacobian, their derivatives (F, 3, n) by the actuated joints. The
last rows are a whole frame of retargeting, which evaluates points and Jacobian up to eight times inside the compiled solver, and
eight such evaluations by pinocchio, without a solver. One thread.
"""

from __future__ import annotations

import os
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pinocchio

from latent_policy_ros.embodiments import HandKinematics, load_embodiment
from latent_policy_ros.embodiments.kinematics.pinocchio_model import pinocchio_model
from latent_policy_ros.retargeting import Retargeter, generate_motion
from latent_policy_ros.retargeting.retarget_kernel import WARM_ITERATIONS

HANDS = ("faive_hand", "mimic_hand", "shadow_hand")
BATCH, ROUNDS, SINGLE_CALLS = 2000, 7, 200


class PinocchioHand:
    """Fingertips and Jacobians of an embodiment by pinocchio, one pose after another."""

    def __init__(self, embodiment):
        self.model = pinocchio_model(embodiment)
        self.data = self.model.createData()
        self.coupling, self.T_base_hand = embodiment.coupling, embodiment.T_base_hand
        self.frames = [self.model.getFrameId(f"{finger}_tip") for finger in embodiment.fingertips]

    def fingertips(self, q):
        tips = np.empty((len(q), len(self.frames), 3))
        for b, hinges in enumerate(q @ self.coupling.T):
            pinocchio.framesForwardKinematics(self.model, self.data, hinges)
            for f, frame in enumerate(self.frames):
                tips[b, f] = self.data.oMf[frame].translation
        return (tips - self.T_base_hand[:3, 3]) @ self.T_base_hand[:3, :3]

    def fingertips_and_jacobian(self, q):
        tips = np.empty((len(q), len(self.frames), 3))
        jacobian = np.empty((len(q), len(self.frames), 3, self.model.nv))
        for b, hinges in enumerate(q @ self.coupling.T):
            pinocchio.computeJointJacobians(self.model, self.data, hinges)
            for f, frame in enumerate(self.frames):
                tips[b, f] = pinocchio.updateFramePlacement(self.model, self.data, frame).translation
                world = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
                jacobian[b, f] = pinocchio.getFrameJacobian(self.model, self.data, frame, world)[:3]
        rotation = self.T_base_hand[:3, :3]
        return (tips - self.T_base_hand[:3, 3]) @ rotation, rotation.T @ jacobian @ self.coupling


def seconds_per_call(functions, calls):
    """Median seconds per call of each function, over interleaved rounds."""
    times = np.empty((ROUNDS, len(functions)))
    for r in range(ROUNDS):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[r, i] = (time.perf_counter() - start) / calls
    return np.median(times, axis=0)


def row(text, kernel, peer):
    """One line of the table; times [s] per pose."""
    print(f"| {text} | {1e6 * kernel:.2f} | {1e6 * peer:.1f} | {peer / kernel:.1f} |")


def main():
    print("| hand, result, poses a call | kernel [us a pose] | pinocchio [us a pose] | ratio |\n|---|---|---|---|")
    difference = 0.0
    for name in HANDS:
        hand = load_embodiment(name)
        kernel, peer, count = HandKinematics(hand), PinocchioHand(hand), len(hand.fingertips)
        q = np.random.default_rng(0).uniform(hand.lower, hand.upper, (BATCH, len(hand.joint_names)))
        tips, jacobian = peer.fingertips_and_jacobian(q)
        points, derivatives = kernel.points_and_jacobian(q)  # compiles, too
        pairs = ((points[:, :count], tips), (derivatives[:, :count], jacobian), (kernel.fingertips(q), peer.fingertips(q)))
        difference = max(difference, *(np.abs(a - b).max() for a, b in pairs))
        for poses in (q[:1], q):
            calls = SINGLE_CALLS if len(poses) == 1 else 1
            for result, functions in (
                ("fingertips", (kernel.fingertips, peer.fingertips)),
                ("fingertips and Jacobian", (kernel.points_and_jacobian, peer.fingertips_and_jacobian)),
            ):
                both = seconds_per_call([lambda f=f, poses=poses: f(poses) for f in functions], calls)
                row(f"{name}, {result}, {len(poses)}", *both / len(poses))
        keypoints, retargeter = generate_motion(0, 10.0).keypoints, Retargeter(hand)
        once = q[:1]

        def frames(retargeter=retargeter, keypoints=keypoints):
            retargeter.reset()
            for points in keypoints:
                retargeter.retarget(points)

        def evaluations(peer=peer, once=once):
            for _ in range(WARM_ITERATIONS):
                peer.fingertips_and_jacobian(once)

        frames()
        whole, alone = seconds_per_call([frames], 1)[0] / len(keypoints), seconds_per_call([evaluations], SINGLE_CALLS)[0]
        row(f"{name}, a frame of retargeting ({WARM_ITERATIONS} evaluations)", whole, alone)
    print(f"\nlargest difference: {difference:.0e} m, or m/rad")


if __name__ == "__main__":
    main()
