"""MuJoCo model of an arm with an end-effector, made from the arm's URDF and an embodiment's hinge table.

The arm is drawn with the collision meshes of its URDF. An end-effector whose joints the URDF has is taken from there;
every other one is built of primitive shapes from its hinge table.

Robot links collide with the world, and the thumb with the fingers. Links of one finger never collide with each other.
"""

from __future__ import annotations

import mujoco
import numpy as np

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.control.arm_description import Arm
from latent_policy_ros.embodiments import Embodiment
from latent_policy_ros.embodiments.description.urdf import UrdfFile
from latent_policy_ros.embodiments.kinematics.capsules import Capsule, capsules

FRICTION = (1.2, 0.02, 0.002)  # sliding, torsional [m], rolling [m]
CONDIM = 4  # contacts with torsional friction: a pinched object does not spin
DENSITY = 600.0  # of the primitive shapes of a hand [kg/m^3]
COUPLING_SOLREF = (0.008, 1.0)  # time constant [s] and damping ratio of the constraints that hold coupled hinges together
WHITE, DARK, FINGER, THUMB = (0.92, 0.92, 0.9, 1), (0.25, 0.26, 0.28, 1), (0.3, 0.33, 0.36, 1), (0.85, 0.7, 0.25, 1)
WORLD_BIT, FINGER_BIT = 1, 2


def robot_spec(embodiment: Embodiment, arm: Arm) -> mujoco.MjSpec:
    """Return the arm with its end-effector, the arm's base frame at the origin.

    Joints and actuators have the names of the arm's and the embodiment's joints.

    Raises:
        LatentPolicyError: The arm's file has no section ``simulation``, or the embodiment has no servo (human hand).
        ConfigError: A mesh of the URDF refers to a package that is not installed.
    """
    servo = embodiment.servo
    if servo is None:
        raise LatentPolicyError(f"embodiment {embodiment.name!r} (kind {embodiment.kind}) cannot be simulated: it has no servo")
    spec = _urdf_spec(arm)
    in_urdf = set(embodiment.hinge_names) <= {joint.name for joint in spec.joints} - set(arm.joint_names)
    if not in_urdf:
        for body in list(spec.body(arm.flange).bodies):  # an end-effector that the URDF contains
            spec.delete(body)
    for joint in list(spec.joints):  # all others stay at zero, as in the arm's kinematics
        if joint.name not in (*arm.joint_names, *embodiment.hinge_names):
            spec.delete(joint)
    _configure_arm(spec, arm)
    if not in_urdf:
        _attach_hand(spec, embodiment, arm)
    _couple(spec, embodiment)
    for hinge in embodiment.hinges:
        joint = spec.joint(hinge.name)
        joint.armature = servo.armature
        _damp(joint, servo.damping)
    for i, name in enumerate(embodiment.joint_names):
        _servo(spec, name, servo.kp, 0.0, servo.max_effort, embodiment.lower[i], embodiment.upper[i])
    for body in spec.bodies:
        if body.name != "world":
            body.gravcomp = 1.0  # arm controllers compensate gravity, including the load of the end-effector
    return spec


def _urdf_spec(arm: Arm) -> mujoco.MjSpec:
    urdf = UrdfFile.read(arm.urdf)
    urdf.remove_visuals()  # often COLLADA, which MuJoCo does not read
    urdf.resolve_meshes()
    urdf.set_mujoco_compiler(strippath="false", balanceinertia="true", discardvisual="true", fusestatic="false")
    return mujoco.MjSpec.from_string(urdf.to_xml())


def _configure_arm(spec: mujoco.MjSpec, arm: Arm) -> None:
    """Set the contacts, colours and servos of the arm."""
    simulation = arm.simulation
    if simulation is None:
        raise LatentPolicyError(f"{arm.file}: this arm cannot be simulated: expected a section simulation, as in arms/panda.yaml")
    for geom in spec.geoms:
        collides = geom.parent.name in simulation.colliding_links
        geom.contype, geom.conaffinity = (FINGER_BIT, WORLD_BIT) if collides else (0, 0)
        geom.rgba = DARK if "finger" in geom.parent.name else WHITE
        geom.friction, geom.condim, geom.group = FRICTION, CONDIM, 0
    for i, name in enumerate(arm.joint_names):
        joint, kp = spec.joint(name), simulation.kp[i]
        joint.armature, joint.limited, joint.range = simulation.armature, True, [arm.lower[i], arm.upper[i]]
        _damp(joint, simulation.damping)
        _servo(spec, name, kp, simulation.kv_ratio * kp, simulation.max_effort[i], arm.lower[i], arm.upper[i])


def _damp(joint: mujoco.MjsJoint, value: float) -> None:
    try:
        joint.damping = value  # MuJoCo 3: a number
    except TypeError:
        joint.damping = np.array([value, 0.0, 0.0])  # MuJoCo 4: coefficients of a polynomial


def _servo(spec: mujoco.MjSpec, joint: str, kp: float, kv: float, effort: float, lower: float, upper: float) -> None:
    """Add a position servo named after its joint."""
    servo = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.set_to_position(kp=kp, kv=kv)
    servo.forcelimited, servo.forcerange = True, [-effort, effort]
    servo.ctrllimited, servo.ctrlrange = True, [lower, upper]


def _couple(spec: mujoco.MjSpec, embodiment: Embodiment) -> None:
    """Couple every passive hinge to its actuated one by a joint equality, unless the import of the URDF already did."""
    for i, hinge in enumerate(embodiment.hinges):
        if hinge.name in embodiment.joint_names or any(hinge.name in (e.name1, e.name2) for e in spec.equalities):
            continue
        leader = int(np.argmax(np.abs(embodiment.coupling[i])))
        equality = spec.add_equality(
            name=f"{hinge.name}_coupling", type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=hinge.name, name2=embodiment.joint_names[leader], solref=COUPLING_SOLREF,
        )  # fmt: skip
        equality.data[:5] = [0.0, embodiment.coupling[i, leader], 0.0, 0.0, 0.0]


def _attach_hand(spec: mujoco.MjSpec, embodiment: Embodiment, arm: Arm) -> None:
    """Add a body for every hinge below the flange. Body frames are parallel to the palm frame at the zero pose."""
    T_flange_base = arm.mount(embodiment).homogeneous @ np.linalg.inv(embodiment.T_base_hand)
    flange = spec.body(arm.flange)
    palm = flange.add_body(name="palm", pos=T_flange_base[:3, 3], quat=quaternion_wxyz(T_flange_base[:3, :3]))
    bodies: dict[str | None, mujoco.MjsBody] = {None: palm}  # by hinge; None is the palm
    origins: dict[str | None, np.ndarray] = {None: np.zeros(3)}
    for hinge in embodiment.hinges:
        body = bodies[hinge.parent].add_body(name=hinge.name, pos=hinge.point - origins[hinge.parent])
        joint_type = mujoco.mjtJoint.mjJNT_HINGE if hinge.kind == "revolute" else mujoco.mjtJoint.mjJNT_SLIDE
        body.add_joint(name=hinge.name, type=joint_type, axis=hinge.axis, limited=True, range=[hinge.lower, hinge.upper])
        bodies[hinge.name], origins[hinge.name] = body, hinge.point
    thumb = _chain(embodiment, "thumb")
    for shape in capsules(embodiment):
        _add_shape(bodies[shape.hinge], shape, origins[shape.hinge], shape.hinge in thumb)
    for body in bodies.values():
        if not list(body.geoms):  # two hinges so close together that there is no link between them
            body.mass, body.inertia, body.explicitinertial = 1e-3, [1e-7] * 3, True
    knuckles = [h.point for h in embodiment.hinges if h.parent is None]
    hub = T_flange_base[:3, 3] + T_flange_base[:3, :3] @ ((np.mean(knuckles, axis=0) + embodiment.T_base_hand[:3, 3]) / 2)
    flange.add_geom(
        name="bracket", type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *hub], size=[0.022, 0, 0],
        rgba=DARK, contype=0, conaffinity=0, density=100.0,
    )  # fmt: skip
    _couple(spec, embodiment)


def _add_shape(body: mujoco.MjsBody, shape: Capsule, origin: np.ndarray, is_thumb: bool) -> None:
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
    """Names of the hinges from the palm to the tip of ``finger``; empty if the embodiment has no such finger."""
    tip = embodiment.fingertips.get(finger)
    name, chain = tip.hinge if tip else None, set()
    while name is not None:
        chain.add(name)
        name = embodiment.hinge(name).parent
    return chain


def quaternion_wxyz(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) -> quaternion (4,) in MuJoCo's order w x y z."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return quaternion
