"""Is an embodiment's file right? Everything that can be told without the hardware, in a few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.embodiments import Embodiment, HandKinematics, list_embodiments, load_embodiment
from latent_policy_ros.retargeting.checks.contacts import Contact, ReferenceContacts
from latent_policy_ros.retargeting.checks.frame_checks import hand_frame
from latent_policy_ros.retargeting.checks.geometry_checks import FAILURE, WARNING, Finding, idle, joint_travel, lengths
from latent_policy_ros.retargeting.checks.gripper import Aperture, aperture, jaws
from latent_policy_ros.retargeting.checks.workspace import CAN_PINCH, FingerReach, finger_reaches, random_joints
from latent_policy_ros.retargeting.human_motion.reference_poses import ReferencePose, reference_poses
from latent_policy_ros.retargeting.retargeter import Retargeter

SAMPLES = 800  # random poses over the joints' ranges
STEP = 1e-6  # of the finite differences [rad or m]
EXACT = 1e-9  # by how much limits may be passed [rad or m]
SLOPE = 1e-6  # by how much a Jacobian may differ from finite differences, of its largest entry
STUCK = 0.9  # share of frames at one limit that is worth a warning


@dataclass(frozen=True)
class JointUse:
    """One actuated joint: its range [``unit``], how far it can move a tip [m], and how often it stands at a limit."""

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
    """What was found; lengths [m], angles [rad].

    Attributes:
        name, kind, side, file: Of the embodiment.
        notes: What was taken, or left out, in reading its files.
        hinges: How many, coupled ones included.
        joints, fingers: One for each.
        pinches: By embodiment (this one first) and finger: distance of its tip from the thumb's where a person's touch.
        contacts: Unintended ones in the reference poses, the deepest first.
        colliding: Share of random poses with a contact deeper than 2 mm.
        jacobian_error: Against finite differences, relative to the largest entry.
        limit_excess: By how much retargeted joints or coupled hinges left their ranges; 0 is right.
        largest_step: Of a joint, between two frames of the reference motions.
        aperture: Of a gripper.
        findings: Failures first.
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
    findings: tuple[Finding, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether anything is wrong for certain."""
        return any(finding.level == FAILURE for finding in self.findings)

    def to_json(self) -> dict:
        """All of it, ready for ``json.dump``."""
        return {**asdict(self), "failed": self.failed}


def check_embodiment(embodiment: Embodiment, peers: Sequence[Embodiment] = ()) -> CheckReport:
    """Check ``embodiment``, and compare its pinches with those of ``peers``.

    Raises:
        LatentPolicyError: Retargeting refuses the reference poses.
    """
    known = {"name": embodiment.name, "kind": embodiment.kind, "side": embodiment.side, "file": str(embodiment.file),
             "notes": tuple(embodiment.notes)}  # fmt: skip
    if embodiment.kind == "human":
        return CheckReport(**known)
    findings = list(lengths(embodiment))
    if any(finding.level == FAILURE for finding in findings):  # no number would mean anything
        return CheckReport(**known, hinges=len(embodiment.hinges), findings=tuple(findings))
    poses, q = reference_poses(), random_joints(embodiment, SAMPLES)
    motion = retargeted(embodiment, poses)
    joints, fingers, slope = _joint_uses(embodiment, q, motion), finger_reaches(embodiment, q), _jacobian_error(embodiment, q)
    excess = _excess(embodiment, np.concatenate((q, motion.reshape(-1, q.shape[1]))))
    findings += [*idle(embodiment, q), *_exact(slope, excess)]
    contacts, colliding, jaw = (), 0.0, None
    if embodiment.kind == "gripper":
        jaw = aperture(embodiment)
        findings += jaws(jaw)
    else:
        touching = ReferenceContacts(embodiment, poses, motion[:, -1])
        contacts, colliding = touching.found(), touching.colliding(q[-SAMPLES:])
        frame = list(hand_frame(embodiment, q))
        findings += frame
        if not any(finding.level == FAILURE for finding in frame):  # else the rest only follows from it
            findings += [*_hand_findings(joints, fingers), *touching.findings()]
    return CheckReport(
        **known, hinges=len(embodiment.hinges), joints=joints, fingers=fingers,
        pinches={e.name: pinch_gaps(e, poses) for e in (embodiment, *peers)},
        contacts=contacts, colliding=colliding, jacobian_error=slope, limit_excess=max(excess, 0.0),
        largest_step=float(np.abs(np.diff(motion, axis=1)).max()), aperture=jaw,
        findings=tuple(sorted(findings, key=lambda finding: finding.level != FAILURE)),
    )  # fmt: skip


def shipped_peers(embodiment: Embodiment) -> list[Embodiment]:
    """The other robots that :func:`list_embodiments` knows; files that do not load and left twins are passed over."""
    peers = []
    for name in list_embodiments():
        try:
            peer = load_embodiment(name)
        except LatentPolicyError:
            continue  # it has its own check
        if peer.kind != "human" and peer.side == "right" and peer.name != embodiment.name:
            peers.append(peer)
    return peers


def retargeted(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> np.ndarray:
    """Joints (poses, FRAMES, n) along the reference motions, each from a fresh start."""
    return Retargeter(embodiment).retarget_sequence(np.stack([pose.motion for pose in poses]))


def pinch_gaps(embodiment: Embodiment, poses: Sequence[ReferencePose]) -> dict[str, float]:
    """Distance [m] from the thumb's tip to each finger's that a person pinches; a gripper has one for all fingers."""
    kinematics = HandKinematics(embodiment)
    pinches = [pose for pose in poses if pose.pinched]
    tips = kinematics.fingertips(retargeted(embodiment, pinches)[:, -1])
    gaps = {}
    for place, pose in zip(tips, pinches):
        finger = kinematics.fingers[1] if embodiment.kind == "gripper" else pose.pinched[0]
        if finger in kinematics.fingers:
            gaps[pose.pinched[0]] = float(np.linalg.norm(place[kinematics.fingers.index(finger)] - place[0]))
    return gaps


def _jacobian_error(embodiment: Embodiment, q: np.ndarray) -> float:
    kinematics, q = HandKinematics(embodiment), q[:: max(1, len(q) // 100)]
    jacobian = kinematics.jacobian(q)
    numeric = np.empty_like(jacobian)
    for joint in range(q.shape[1]):
        step = np.zeros(q.shape[1])
        step[joint] = STEP
        numeric[..., joint] = (kinematics.fingertips(q + step) - kinematics.fingertips(q - step)) / (2 * STEP)
    return float(np.abs(jacobian - numeric).max() / max(np.abs(jacobian).max(), 1e-12))


def _excess(embodiment: Embodiment, q: np.ndarray) -> float:
    """By how much joints q (B, n), or the hinges that follow them, leave their own ranges."""
    angles = q @ embodiment.coupling.T
    lower, upper = (np.array([getattr(h, end) for h in embodiment.hinges]) for end in ("lower", "upper"))
    return max(float(np.max([low - value, value - high])) for value, low, high in (
        (q, embodiment.lower, embodiment.upper), (angles, lower, upper),
    ))  # fmt: skip


def _exact(slope: float, excess: float) -> Iterator[Finding]:
    if not slope <= SLOPE:
        yield Finding(FAILURE, "hinges", f"forward kinematics and its Jacobian differ by {slope:.2g}: a fault of this package")
    if not excess <= EXACT:
        message = f"retargeted joints or coupled hinges leave their ranges by {excess:.2g}: a fault of this package"
        yield Finding(FAILURE, "couplings", message)


def _joint_uses(embodiment: Embodiment, q: np.ndarray, motion: np.ndarray) -> tuple[JointUse, ...]:
    near = 1e-6 * (embodiment.upper - embodiment.lower)
    frames = motion.reshape(-1, motion.shape[-1])
    columns = (
        embodiment.lower, embodiment.upper, embodiment.rest, joint_travel(embodiment, q).max(axis=0),
        (frames <= embodiment.lower + near).mean(axis=0), (frames >= embodiment.upper - near).mean(axis=0),
    )  # fmt: skip
    units = ["rad" if embodiment.hinge(name).kind == "revolute" else "m" for name in embodiment.joint_names]
    return tuple(JointUse(name, unit, *map(float, row)) for name, unit, row in zip(embodiment.joint_names, units, zip(*columns)))


def _hand_findings(joints: Sequence[JointUse], fingers: Sequence[FingerReach]) -> Iterator[Finding]:
    for joint in joints:
        for end, share in (("lower", joint.at_lower), ("upper", joint.at_upper)):
            if share > STUCK:
                message = f"stands at its {end} limit in {share:.0%} of the reference frames"
                yield Finding(WARNING, f"hinges.{joint.name}.range", f"{message}: are range and axis (its sign) right?")
    index = next((f for f in fingers if f.finger != "thumb"), None)
    if index is not None and not index.can_pinch:
        least, needed = f"{1000 * index.thumb_gap:.0f} mm", f"{1000 * CAN_PINCH:.0f}"
        message = f"comes no nearer to the {index.finger} than {least} (a pinch needs {needed})"
        yield Finding(WARNING, "fingertips.thumb", f"{message}: are the axes and ranges of the thumb right?")
