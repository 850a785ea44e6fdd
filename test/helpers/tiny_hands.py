"""Small hands in URDF and MJCF, the YAML that loads them, and fingertips by the embodiment and by pinocchio."""

# ruff: noqa: E501 - a joint has one line

import numpy as np
import pinocchio

from latent_policy_ros.embodiments import HandKinematics

# An arm with a two-fingered hand: fixed joints, no inertia, missing meshes, a mimic with an offset, a prismatic joint, a
# continuous joint, a joint that moves no fingertip.
URDF = """<?xml version="1.0"?>
<robot name="tiny" xmlns:xacro="http://www.ros.org/wiki/xacro">
  <link name="ground"/>
  <link name="forearm"><visual><geometry><mesh filename="package://nowhere/forearm.dae"/></geometry></visual></link>
  <joint name="elbow" type="continuous"><parent link="ground"/><child link="forearm"/><origin xyz="0.3 0.1 0.4" rpy="0.3 -1.1 0.7"/></joint>
  <link name="palm"/>
  <joint name="mount" type="fixed"><parent link="forearm"/><child link="palm"/><origin rpy="0.1 0.2 0.3"/></joint>
  <link name="index_1"/><link name="index_2"/><link name="index_3"/><link name="index_tip"/>
  <joint name="index_spread" type="revolute"><parent link="palm"/><child link="index_1"/><origin xyz="0 0.03 0.1" rpy="0.1 0 0"/>
    <axis xyz="-2 0 0"/><limit lower="-0.3" upper="0.3" velocity="3" effort="2"/></joint>
  <joint name="index_bend" type="revolute"><parent link="index_1"/><child link="index_2"/><origin xyz="0 0 0.01"/>
    <axis xyz="0 1 0"/><limit lower="-0.2" upper="1.6" velocity="4" effort="2"/></joint>
  <joint name="index_curl" type="revolute"><parent link="index_2"/><child link="index_3"/><origin xyz="0 0 0.05" rpy="0 0.1 0"/>
    <axis xyz="0 1 0"/><limit lower="0" upper="2"/><mimic joint="index_bend" multiplier="0.8" offset="0.25"/></joint>
  <joint name="index_end" type="fixed"><parent link="index_3"/><child link="index_tip"/><origin xyz="0.002 0 0.04"/></joint>
  <link name="thumb_1"/><link name="thumb_2"><inertial><origin xyz="0 0 0.02"/><mass value="1"/></inertial></link>
  <joint name="thumb_slide" type="prismatic"><parent link="palm"/><child link="thumb_1"/><origin xyz="0.01 0.05 0.03" rpy="-0.8 0.3 0"/>
    <axis xyz="0 0 1"/><limit lower="0" upper="0.02" velocity="0" effort="0"/></joint>
  <joint name="thumb_bend" type="revolute"><parent link="thumb_1"/><child link="thumb_2"/><origin xyz="0 0 0.04"/>
    <axis xyz="0 1 0.2"/><limit lower="-0.1" upper="1.2"/></joint>
  <link name="cover"/>
  <joint name="lid" type="revolute"><parent link="palm"/><child link="cover"/><limit lower="0" upper="1"/></joint>
</robot>
"""
SHORT = """
kind: hand
side: right
description: tiny.urdf
fingertips: {thumb: {link: thumb_2, point: [0.001, 0, 0.035]}, index: index_tip}
"""

# A similar hand in MJCF: included files, default classes, degrees, another order of Euler angles, unnamed bodies and joints, joints
# with a reference angle, couplings by equalities, missing meshes.
MJCF = """<mujoco model="tiny">
  <compiler angle="degree" eulerseq="zyx" meshdir="nowhere"/>
  <include file="parts/defaults.xml"/>
  <asset><mesh name="m" file="missing.stl"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <body name="arm" pos="0.2 -0.1 0.5" euler="10 20 30"><freejoint/>
      <geom type="mesh" mesh="m"/>
      <body name="palm" euler="90 0 40"><include file="parts/fingers.xml"/></body>
    </body>
  </worldbody>
  <equality><joint joint1="middle_2" joint2="middle_1" polycoef="0.1 0.9 0 0 0"/></equality>
  <sensor><jointpos joint="middle_1"/></sensor>
  <keyframe><key qpos="1 2 3"/></keyframe>
</mujoco>
"""
DEFAULTS = """<mujoco><default>
  <default class="finger"><joint type="hinge" axis="0 1 0" range="-10 95"/><geom type="mesh" mesh="m"/>
    <default class="spread"><joint axis="1 0 0" range="-20 20"/></default></default>
</default></mujoco>
"""
FINGERS = """<mujocoinclude>
  <body name="middle" childclass="finger" pos="0 0.02 0.1" euler="5 0 10">
    <joint name="middle_0" class="spread"/>
    <joint name="middle_1" ref="15" pos="0 0 0.005"/>
    <frame euler="0 12 0"><body pos="0.002 0 0.05"><joint name="middle_2" range="-5 100" ref="-8"/>
      <body pos="0 0 0.03" quat="0.9 0 0.1 0"><site name="middle_tip" pos="0 0.003 0.02"/></body></body></frame>
  </body>
  <body name="thumb" childclass="finger" pos="0.03 0.05 0.02" axisangle="1 0 0.3 -50"><joint range="-40 40" axis="1 2 0"/>
    <geom type="capsule" size="0.01" fromto="0 0 0 0 0 0.04"/><geom type="sphere" size="0.01" pos="0 0 0.03"/></body>
</mujocoinclude>
"""
SHORT_MJCF = """
kind: hand
side: right
description: $HANDS/tiny.xml
fingertips: {thumb: {link: thumb, point: [0, 0, 0.06]}, middle: middle_tip}
hand_frame: {origin: [0, 0, 0], fingers: [0, 0, 1], palm: [1, 0, 0]}
"""
GRIPPER = (
    SHORT.replace("kind: hand", "kind: gripper")
    .replace("point: [0.001, 0, 0.035]", "point: [0.04, 0.03, 0.2]")
    .replace("thumb_2", "palm")
)


def base_tips(embodiment, q):
    """Fingertips (B, F, 3) in the base frame."""
    in_hand = HandKinematics(embodiment).fingertips(q)
    return in_hand @ embodiment.T_base_hand[:3, :3].T + embodiment.T_base_hand[:3, 3]


def random_q(embodiment, count, seed=0):
    return np.random.default_rng(seed).uniform(embodiment.lower, embodiment.upper, (count, len(embodiment.joint_names)))


def pinocchio_tips(urdf, base, points, angles):
    """Places (B, F, 3) of points on links in the frame of ``base`` by pinocchio; angles (B,) by joint name."""
    model = pinocchio.buildModelFromXML(urdf)
    data, count = model.createData(), len(next(iter(angles.values())))
    places = np.empty((count, len(points), 3))
    for b in range(count):
        q = pinocchio.neutral(model)
        for name, values in angles.items():
            q[model.joints[model.getJointId(name)].idx_q] = values[b]
        pinocchio.framesForwardKinematics(model, data, q)
        T_base = data.oMf[model.getFrameId(base)]
        for f, (link, point) in enumerate(points):
            places[b, f] = T_base.actInv(data.oMf[model.getFrameId(link)].act(np.asarray(point, dtype=float)))
    return places
