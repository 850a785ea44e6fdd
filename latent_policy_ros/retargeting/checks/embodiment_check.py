"""Check of an embodiment: everything that can be verified without hardware, in a few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics
from latent_policy_ros.retargeting.checks.contacts import Contact, ReferenceContacts
from latent_policy_ros.retargeting.checks.frame_checks import check_hand_frame
from latent_policy_ros.retargeting.checks.geometry_checks import (
    FAILURE,
    WARNING,
    Diagnosis,
    check_idle_joints,
    check_units,
    joint_travel,
)  # fmt: skip
from latent_policy_ros.retargeting.checks.grasp_check import check_grasp
from latent_policy_ros.retargeting.checks.gripper import Aperture, aperture, check_gripper
from latent_policy_ros.retargeting.checks.pinches import pinch_gaps, retarget_poses
from latent_policy_ros.retargeting.checks.workspace import CAN_PINCH, FingerReach, finger_reaches, random_joints
from latent_policy_ros.retargeting.human_motion.reference_poses import reference_poses

SAMPLES = 800  # random poses over the joints' ranges
STEP = 1e-6  # of the finite differences [rad or m]
LIMIT_TOLERANCE = 1e-9  # accepted violation of limits [rad or m]
JACOBIAN_TOLERANCE = 1e-6  # accepted difference of Jacobian and finite differences, relative to the largest entry
STUCK_SHARE = 0.9  # share of frames with a joint at one limit that gives a warning


@dataclass(frozen=True)
class JointUse:
    """Range and use of an actuated joint.

    Attributes:
        name: Name of the joint.
        unit: ``rad`` or ``m``, of the next three.
        lower, upper, rest: Limits and rest position.
        travel: Largest travel of a fingertip over the range [m].
        at_lower, at_upper: Share of the reference frames at the limit.
    """

    name: str
    unit: str
    lower: float
    upper: float
    rest: float
    travel: float
    at_lower: float
    at_upper: float


@dataclass(frozen=True)
class CheckReport:
    """Result of a check; lengths [m], angles [rad].

    Attributes:
        name, kind, side, file: Of the embodiment.
        notes: What the reader of its files assumed or left out.
        hinges: Count of hinges, coupled ones included.
        joints: Use of every actuated joint.
        fingers: Workspace of every finger.
        pinches: Distance of thumb and fingertip in a person's pinch, by embodiment (this one first) and finger.
        contacts: Unintended contacts in the reference poses, the deepest first.
        colliding: Share of random poses with a contact deeper than 2 mm.
        jacobian_error: Difference from finite differences, relative to the largest entry.
        limit_excess: Largest violation of ranges by retargeted joints and coupled hinges; 0 if there is none.
        largest_step: Largest step of a joint between two frames of the reference motions.
        aperture: Of a gripper; else None.
        diagnoses: Failures first.
    """

    name: str
    kind: str
    side: str
    file: str
    notes: tuple[str, ...] = ()
    hinges: int = 0
    joints: tuple[JointUse, ...] = ()
    fingers: tuple[FingerReach, ...] = ()
    pinches: Mapping[str, Mapping[str, float]] | None = None
    contacts: tuple[Contact, ...] = ()
    colliding: float = 0.0
    jacobian_error: float = 0.0
    limit_excess: float = 0.0
    largest_step: float = 0.0
    aperture: Aperture | None = None
    diagnoses: tuple[Diagnosis, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is any failure."""
        return any(diagnosis.level == FAILURE for diagnosis in self.diagnoses)

    def to_json(self) -> dict:
        """The report as a dictionary for ``json.dump``."""
        return {**asdict(self), "failed": self.failed}


def check_embodiment(embodiment: Embodiment, peers: Mapping[str, Mapping[str, float]] | None = None) -> CheckReport:
    """Check an embodiment, and list its pinches above those of ``peers``: distances [m] by name and finger.

    Raises:
        LatentPolicyError: Retargeting rejects the reference poses.
    """
    report = partial(CheckReport, embodiment.name, embodiment.kind, embodiment.side, str(embodiment.file), tuple(embodiment.notes))
    if embodiment.kind == "human":
        return report()
    diagnoses = list(check_units(embodiment))
    if any(diagnosis.level == FAILURE for diagnosis in diagnoses):  # no other figure would be meaningful
        return report(hinges=len(embodiment.hinges), diagnoses=_failures_first(diagnoses))
    poses, q = reference_poses(), random_joints(embodiment, SAMPLES)
    motion = retarget_poses(embodiment, poses)
    joints, fingers, slope = _joint_uses(embodiment, q, motion), finger_reaches(embodiment, q), _jacobian_error(embodiment, q)
    excess = _excess(embodiment, np.concatenate((q, motion.reshape(-1, q.shape[1]))))
    diagnoses += [*check_idle_joints(embodiment, q), *_check_exactness(slope, excess)]
    contacts: tuple[Contact, ...] = ()
    colliding, jaw = 0.0, None
    if embodiment.kind == "gripper":
        jaw = aperture(embodiment)
        diagnoses += check_gripper(jaw, embodiment.side)
    else:
        touching = ReferenceContacts(embodiment, poses, motion[:, -1])
        contacts, colliding = touching.found(), touching.colliding(q[-SAMPLES:])
        frame = list(check_hand_frame(embodiment, q))
        diagnoses += frame
        if not any(diagnosis.level == FAILURE for diagnosis in frame):  # else the other diagnoses would only be consequences
            diagnoses += [*_check_joint_use(joints, fingers), *touching.diagnoses()]
    if not diagnoses:  # else a narrow grasp would only be a consequence
        diagnoses += check_grasp(embodiment)
    return report(
        hinges=len(embodiment.hinges), joints=joints, fingers=fingers,
        pinches={embodiment.name: {}, **(peers or {}), embodiment.name: pinch_gaps(embodiment, poses)},
        contacts=contacts, colliding=colliding, jacobian_error=slope, limit_excess=max(excess, 0.0),
        largest_step=float(np.abs(np.diff(motion, axis=1)).max()), aperture=jaw,
        diagnoses=_failures_first(diagnoses),
    )  # fmt: skip


def _failures_first(diagnoses: Sequence[Diagnosis]) -> tuple[Diagnosis, ...]:
    return tuple(sorted(diagnoses, key=lambda diagnosis: diagnosis.level != FAILURE))


def _jacobian_error(embodiment: Embodiment, q: np.ndarray) -> float:
    """Largest difference of Jacobian and finite differences at samples q (B, n), relative to the largest entry."""
    kinematics, q = HandKinematics(embodiment), q[:: max(1, len(q) // 100)]
    jacobian = kinematics.jacobian(q)
    numeric = np.empty_like(jacobian)
    for joint in range(q.shape[1]):
        step = np.zeros(q.shape[1])
        step[joint] = STEP
        numeric[..., joint] = (kinematics.fingertips(q + step) - kinematics.fingertips(q - step)) / (2 * STEP)
    return float(np.abs(jacobian - numeric).max() / max(np.abs(jacobian).max(), 1e-12))


def _excess(embodiment: Embodiment, q: np.ndarray) -> float:
    """Largest violation of the ranges of joints q (B, n) and of the hinges that follow them [rad or m]."""
    angles = q @ embodiment.coupling.T
    lower, upper = (np.array([getattr(h, end) for h in embodiment.hinges]) for end in ("lower", "upper"))
    return max(float(np.max([low - value, value - high])) for value, low, high in (
        (q, embodiment.lower, embodiment.upper), (angles, lower, upper),
    ))  # fmt: skip


def _check_exactness(slope: float, excess: float) -> Iterator[Diagnosis]:
    """Check what must hold for every valid file."""
    if not slope <= JACOBIAN_TOLERANCE:
        yield Diagnosis(FAILURE, "hinges", f"Jacobian and finite differences differ by {slope:.2g}: an error of this package")
    if not excess <= LIMIT_TOLERANCE:
        message = f"retargeted joints or coupled hinges leave their ranges by {excess:.2g}: an error of this package"
        yield Diagnosis(FAILURE, "couplings", message)


def _joint_uses(embodiment: Embodiment, q: np.ndarray, motion: np.ndarray) -> tuple[JointUse, ...]:
    """Use of every joint; q (B, n) are random samples, motion (poses, FRAMES, n) is retargeted."""
    near = 1e-6 * (embodiment.upper - embodiment.lower)
    frames = motion.reshape(-1, motion.shape[-1])
    columns = (
        embodiment.lower, embodiment.upper, embodiment.rest, joint_travel(embodiment, q).max(axis=0),
        (frames <= embodiment.lower + near).mean(axis=0), (frames >= embodiment.upper - near).mean(axis=0),
    )  # fmt: skip
    units = ["rad" if embodiment.hinge(name).kind == "revolute" else "m" for name in embodiment.joint_names]
    return tuple(JointUse(name, unit, *map(float, row)) for name, unit, row in zip(embodiment.joint_names, units, zip(*columns)))


def _check_joint_use(joints: Sequence[JointUse], fingers: Sequence[FingerReach]) -> Iterator[Diagnosis]:
    """Find joints that stay at a limit, and a thumb that cannot meet the first finger."""
    for joint in joints:
        for end, share in (("lower", joint.at_lower), ("upper", joint.at_upper)):
            if share > STUCK_SHARE:
                message = f"is at its {end} limit in {share:.0%} of the reference frames"
                yield Diagnosis(WARNING, f"hinges.{joint.name}.range", f"{message}: are range, axis and its sign right?")
    first = next((f for f in fingers if f.finger != "thumb"), None)
    if first is not None and first.thumb_gap is not None and not first.can_pinch:
        least, needed = f"{1000 * first.thumb_gap:.0f} mm", f"{1000 * CAN_PINCH:.0f}"
        message = f"comes no nearer to the {first.finger} than {least} (a pinch needs {needed})"
        yield Diagnosis(WARNING, "fingertips.thumb", f"{message}: are the axes and ranges of the thumb right?")
