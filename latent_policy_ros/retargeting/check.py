"""Is an embodiment's file right? Everything that can be told without the hardware, in a few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from latent_policy_ros.embodiments import Embodiment, HandKinematics, list_embodiments, load_embodiment
from latent_policy_ros.embodiments.parts import PALM, parts
from latent_policy_ros.errors import LatentPolicyError
from latent_policy_ros.retargeting.collision import SelfCollision
from latent_policy_ros.retargeting.jaws import Aperture, aperture, jaws
from latent_policy_ros.retargeting.plausible import FAILURE, WARNING, Finding, hand_frame, idle, joint_travel, lengths
from latent_policy_ros.retargeting.reach import CAN_PINCH, FingerReach, finger_reaches, random_joints
from latent_policy_ros.retargeting.reference import FRAMES, ReferencePose, reference_poses
from latent_policy_ros.retargeting.retargeter import Retargeter

SAMPLES = 800  # random poses over the joints' ranges
STEP = 1e-6  # of the finite differences [rad or m]
EXACT = 1e-9  # by how much limits may be passed [rad or m]
SLOPE = 1e-6  # by how much a Jacobian may differ from finite differences, of its largest entry
DEEP = 0.002  # links that run deeper into each other [m] than this are worth a warning
OPEN_POSES = ("rest", "flat", "spread", "relaxed")  # nothing should touch in them
STUCK = 0.9  # share of frames at one limit that is worth a warning


@dataclass(frozen=True)
class JointUse:
    """One actuated joint: its range [rad or m], how far it can move a tip [m], and how often it stands at a limit."""

    name: str
    lower: float
    upper: float
    rest: float
    travel: float
    at_lower: float
    at_upper: float


@dataclass(frozen=True)
class Contact:
    """Two links that run ``depth`` [m] into each other, in ``share`` of the poses, deepest in ``pose``."""

    links: tuple[str, str]
    depth: float
    share: float
    pose: str


@dataclass(frozen=True)
class CheckReport:
    """What was found; lengths [m], angles [rad].

    Attributes:
        name, kind, side, file: Of the embodiment.
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
    known = dict(name=embodiment.name, kind=embodiment.kind, side=embodiment.side, file=str(embodiment.file))
    if embodiment.kind == "human":
        return CheckReport(**known)
    poses, q = reference_poses(), random_joints(embodiment, SAMPLES)
    slope, excess = _jacobian_error(embodiment, q), _coupling_excess(embodiment, q)
    findings = [*lengths(embodiment), *idle(embodiment, q), *_exact(slope, excess)]
    findings += jaws(embodiment) if embodiment.kind == "gripper" else hand_frame(embodiment, q)
    motion = retargeted(embodiment, poses)
    q_poses = motion[:, -1]
    excess = max(excess, float(np.max([embodiment.lower - motion, motion - embodiment.upper])), _coupling_excess(embodiment, q_poses))
    joints = _joint_uses(embodiment, q, motion)
    fingers = finger_reaches(embodiment, q)
    contacts, colliding = (), 0.0
    if embodiment.kind == "hand":
        contacts, colliding = _contacts(embodiment, poses, q_poses), _colliding(embodiment, q[-SAMPLES:])
        findings += _hand_findings(embodiment, joints, fingers, contacts)
    findings += _limits(excess)
    return CheckReport(
        **known, hinges=len(embodiment.hinges), joints=joints, fingers=fingers,
        pinches={e.name: pinch_gaps(e, poses) for e in (embodiment, *peers)},
        contacts=contacts, colliding=colliding, jacobian_error=slope, limit_excess=max(excess, 0.0),
        largest_step=float(np.abs(np.diff(motion, axis=1)).max()),
        aperture=aperture(embodiment) if embodiment.kind == "gripper" else None,
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


def _coupling_excess(embodiment: Embodiment, q: np.ndarray) -> float:
    """By how much a hinge, coupled or not, leaves its own range at q (B, n)."""
    angles = q @ embodiment.coupling.T
    lower, upper = (np.array([getattr(h, end) for h in embodiment.hinges]) for end in ("lower", "upper"))
    return float(np.max([lower - angles, angles - upper]))


def _exact(slope: float, excess: float) -> Iterator[Finding]:
    if not slope <= SLOPE:
        yield Finding(FAILURE, "hinges", f"forward kinematics and its Jacobian differ by {slope:.2g}: a fault of this package")
    if not excess <= EXACT:
        yield Finding(FAILURE, "couplings", f"a coupled hinge leaves its range by {excess:.2g}: a fault of this package")


def _limits(excess: float) -> Iterator[Finding]:
    if not excess <= EXACT:
        yield Finding(FAILURE, "hinges", f"retargeting leaves the limits by {excess:.2g}: a fault of this package")


def _joint_uses(embodiment: Embodiment, q: np.ndarray, motion: np.ndarray) -> tuple[JointUse, ...]:
    near = 1e-6 * (embodiment.upper - embodiment.lower)
    frames = motion.reshape(-1, motion.shape[-1])
    columns = (
        embodiment.lower, embodiment.upper, embodiment.rest, joint_travel(embodiment, q).max(axis=0),
        (frames <= embodiment.lower + near).mean(axis=0), (frames >= embodiment.upper - near).mean(axis=0),
    )  # fmt: skip
    return tuple(JointUse(name, *map(float, row)) for name, row in zip(embodiment.joint_names, zip(*columns)))


def _contacts(embodiment: Embodiment, poses: Sequence[ReferencePose], q_poses: np.ndarray) -> tuple[Contact, ...]:
    """Contacts at rest and in the reference poses, but for those that the person's own hand has there."""
    collision, of = SelfCollision(embodiment), parts(embodiment)
    touching = [tuple(of.get(link, PALM) for link in pair) for pair in collision.pairs]
    intended = np.zeros((1 + len(poses), len(touching)), dtype=bool)
    for row, pose in zip(intended[1:], poses):
        for i, pair in enumerate(touching):
            row[i] = any(finger in pair and set(pair) & {"thumb", PALM} for finger in pose.closed) or (
                "thumb" in pair and any(finger in pair for finger in pose.pinched)
            )
    names = ("rest", *(pose.name for pose in poses))
    found = collision.overlaps(np.concatenate((embodiment.rest[None], q_poses)), intended)
    return tuple(Contact(o.links, o.depth, o.share, names[o.worst]) for o in found)


def _colliding(embodiment: Embodiment, q: np.ndarray) -> float:
    depth = SelfCollision(embodiment).depths(q)
    return float((depth > DEEP).any(axis=1).mean()) if depth.size else 0.0


def _hand_findings(
    embodiment: Embodiment, joints: Sequence[JointUse], fingers: Sequence[FingerReach], contacts: Sequence[Contact]
) -> Iterator[Finding]:
    for joint in joints:
        for end, share in (("lower", joint.at_lower), ("upper", joint.at_upper)):
            if share > STUCK:
                message = f"stands at its {end} limit in {share:.0%} of the reference frames: is the axis' sign right, and the range?"
                yield Finding(WARNING, f"hinges.{joint.name}.range", message)
    for contact in contacts:
        if contact.pose in OPEN_POSES and contact.depth > DEEP:
            a, b = contact.links
            message = f"{a} and {b} run {1000 * contact.depth:.0f} mm into each other in pose {contact.pose!r}"
            change = "actuated.*.rest" if contact.pose == "rest" else "shape"
            yield Finding(WARNING, change, f"{message}: are the radii too large?")
    index = next((f for f in fingers if f.finger != "thumb"), None)
    if index is not None and not index.can_pinch:
        message = f"comes no nearer to the {index.finger} than {1000 * index.thumb_gap:.0f} mm (a pinch needs {1000 * CAN_PINCH:.0f})"
        yield Finding(WARNING, "fingertips.thumb", f"{message}: are the axes and ranges of the thumb right?")
