"""A Panda arm with an end-effector as MuJoCo bodies, made from the arm's URDF and an embodiment's tables.

The arm is drawn with the URDF's collision meshes (200 to 300 faces each: quick to draw). A gripper whose joints the
URDF already has is taken from there; every other end-effector is built of primitive shapes from its hinge table.
Everything that touches is either robot or world: robot links collide with the world, and the thumb with the fingers,
but links of one finger never with each other.
"""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.common.paths import package_folder
from latent_policy_ros.control.arm_description import PANDA, load_arm
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.kinematics.capsules import Capsule, capsules

FRICTION = (1.2, 0.02, 0.002)  # sliding, torsional [m], rolling [m]
CONDIM = 4  # contacts with torsional friction: a pinched cube does not spin
ARM_KP = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)  # N m/rad; damping is a tenth of it
ARM_EFFORT = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # N m, data sheet of the Panda
COLLIDING_LINKS = ("panda_link5", "panda_link6", "panda_link7", "panda_hand", "panda_leftfinger", "panda_rightfinger")
DENSITY = 600.0  # kg/m^3 of the hand's primitives
COUPLING_SOLREF = (0.008, 1.0)  # time constant [s] and damping ratio that hold coupled hinges together
WHITE, DARK, FINGER, THUMB = (0.92, 0.92, 0.9, 1), (0.25, 0.26, 0.28, 1), (0.3, 0.33, 0.36, 1), (0.85, 0.7, 0.25, 1)
WORLD_BIT, FINGER_BIT = 1, 2


def robot_spec(embodiment: Embodiment, T_flange_hand: np.ndarray) -> mujoco.MjSpec:
    """Arm and end-effector, base at the origin; joints and actuators carry the names of the arm's and the embodiment's joints."""
    urdf_gripper = set(embodiment.hinge_names) <= {"panda_finger_joint1", "panda_finger_joint2"}
    spec = _arm(keep_gripper=urdf_gripper)
    if urdf_gripper:
        _couple(spec, embodiment)
    else:
        _attach_hand(spec, embodiment, T_flange_hand)
    for hinge in embodiment.hinges:
        joint = spec.joint(hinge.name)
        joint.armature = embodiment.servo.armature
        _damp(joint, embodiment.servo.damping)
    for i, name in enumerate(embodiment.joint_names):
        _servo(spec, name, embodiment.servo.kp, 0.0, embodiment.servo.max_effort, embodiment.lower[i], embodiment.upper[i])
    for body in spec.bodies:
        if body.name != "world":
            body.gravcomp = 1.0  # as the real arm does; the hand's weight is in its controller's load model
    return spec


def _arm(keep_gripper: bool) -> mujoco.MjSpec:
    folder = package_folder("example-robot-data") / "robots"
    urdf = UrdfFile.read(folder / "panda_description" / "urdf" / "panda.urdf")
    urdf.remove_visuals()  # COLLADA, which MuJoCo does not read
    urdf.resolve_meshes()
    urdf.set_mujoco_compiler(strippath="false", balanceinertia="true", discardvisual="true", fusestatic="false")
    spec = mujoco.MjSpec.from_string(urdf.to_xml())
    if not keep_gripper:
        spec.delete(spec.body("panda_hand"))
    for geom in spec.geoms:
        touches = geom.parent.name in COLLIDING_LINKS
        geom.contype, geom.conaffinity = (FINGER_BIT, WORLD_BIT) if touches else (0, 0)
        geom.rgba = DARK if "finger" in geom.parent.name else WHITE
        geom.friction, geom.condim, geom.group = FRICTION, CONDIM, 0
    for i, name in enumerate(load_arm(PANDA).joint_names):
        joint = spec.joint(name)
        joint.armature = 0.1
        _damp(joint, 1.0)
        _servo(spec, name, ARM_KP[i], ARM_KP[i] / 10, ARM_EFFORT[i], *joint.range)
    return spec


def _damp(joint, value: float) -> None:
    try:
        joint.damping = value  # MuJoCo 3: a number
    except TypeError:
        joint.damping = np.array([value, 0.0, 0.0])  # MuJoCo 4: coefficients of a polynomial


def _servo(spec, joint: str, kp: float, kv: float, effort: float, lower: float, upper: float) -> None:
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.set_to_position(kp=kp, kv=kv)
    servo.forcelimited, servo.forcerange = True, [-effort, effort]
    servo.ctrllimited, servo.ctrlrange = True, [lower, upper]


def _couple(spec: mujoco.MjSpec, embodiment: Embodiment) -> None:
    """Hold every coupled hinge to its actuated one by a joint equality (unless the URDF's importer already did)."""
    for i, hinge in enumerate(embodiment.hinges):
        if hinge.name in embodiment.joint_names or any(hinge.name in (e.name1, e.name2) for e in spec.equalities):
            continue
        leader = int(np.argmax(np.abs(embodiment.coupling[i])))
        equality = spec.add_equality(
            name=f"{hinge.name}_coupling", type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=hinge.name, name2=embodiment.joint_names[leader], solref=COUPLING_SOLREF,
        )  # fmt: skip
        equality.data[:5] = [0.0, embodiment.coupling[i, leader], 0.0, 0.0, 0.0]


def _attach_hand(spec: mujoco.MjSpec, embodiment: Embodiment, T_flange_hand: np.ndarray) -> None:
    """Bodies of all hinges under the flange. Every body frame is parallel to the palm frame at the zero pose."""
    T_flange_base = T_flange_hand @ np.linalg.inv(embodiment.T_base_hand)
    flange = spec.body("panda_link8")
    palm = flange.add_body(name="palm", pos=T_flange_base[:3, 3], quat=_quat(T_flange_base[:3, :3]))
    bodies, origins = {None: palm}, {None: np.zeros(3)}
    for hinge in embodiment.hinges:
        body = bodies[hinge.parent].add_body(name=hinge.name, pos=hinge.point - origins[hinge.parent])
        kind = mujoco.mjtJoint.mjJNT_HINGE if hinge.kind == "revolute" else mujoco.mjtJoint.mjJNT_SLIDE
        body.add_joint(name=hinge.name, type=kind, axis=hinge.axis, limited=True, range=[hinge.lower, hinge.upper])
        bodies[hinge.name], origins[hinge.name] = body, hinge.point
    thumb = _chain(embodiment, "thumb")
    for shape in capsules(embodiment):
        _add_shape(bodies[shape.hinge], shape, origins[shape.hinge], shape.hinge in thumb)
    for body in bodies.values():
        if not list(body.geoms):  # one of a pair of hinges so close together that no link fits in between
            body.mass, body.inertia, body.explicitinertial = 1e-3, [1e-7] * 3, True
    knuckles = [h.point for h in embodiment.hinges if h.parent is None]
    hub = T_flange_base[:3, 3] + T_flange_base[:3, :3] @ ((np.mean(knuckles, axis=0) + embodiment.T_base_hand[:3, 3]) / 2)
    flange.add_geom(
        name="bracket", type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *hub], size=[0.022, 0, 0],
        rgba=DARK, contype=0, conaffinity=0, density=100.0,
    )  # fmt: skip
    _couple(spec, embodiment)


def _add_shape(body, shape: Capsule, origin: np.ndarray, is_thumb: bool) -> None:
    start, end = shape.start - origin, shape.end - origin
    geom = body.add_geom(density=DENSITY, friction=FRICTION, condim=CONDIM)
    if np.allclose(start, end):
        geom.type, geom.pos, geom.size = mujoco.mjtGeom.mjGEOM_SPHERE, start, [shape.radius, 0, 0]
    else:
        geom.type, geom.fromto, geom.size = mujoco.mjtGeom.mjGEOM_CAPSULE, [*start, *end], [shape.radius, 0, 0]
    if shape.finger:
        geom.name = f"{shape.finger}_tip"
    if shape.hinge is None:
        geom.contype, geom.conaffinity, geom.rgba = 0, WORLD_BIT, WHITE
    elif is_thumb:
        geom.contype, geom.conaffinity, geom.rgba = 0, WORLD_BIT | FINGER_BIT, THUMB
    else:
        geom.contype, geom.conaffinity, geom.rgba = FINGER_BIT, WORLD_BIT, FINGER


def _chain(embodiment: Embodiment, finger: str) -> set[str]:
    """Names of the hinges from the palm to the tip of `finger`; empty if the embodiment has no such finger."""
    tip = embodiment.fingertips.get(finger)
    name, chain = tip.hinge if tip else None, set()
    while name is not None:
        chain.add(name)
        name = embodiment.hinge(name).parent
    return chain


def _quat(rotation: np.ndarray) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return quaternion
