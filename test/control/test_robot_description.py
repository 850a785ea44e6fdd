"""URDF of every shipped end-effector on every shipped arm: one tree, loaded by pinocchio and MuJoCo, with our own kinematics."""

import xml.etree.ElementTree as ET

import numpy as np
import pinocchio as pin
import pytest

from latent_policy_ros.control.arm_description import list_arms, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics, se3_to_pose
from latent_policy_ros.control.robot_description import HAND, LinkTransforms, robot_urdf
from latent_policy_ros.embodiments import list_embodiments, load_embodiment
from latent_policy_ros.embodiments.kinematics.hand_kinematics import HandKinematics

SHIPPED = [name for name in list_embodiments() if load_embodiment(name).command]
ROBOTS = [(name, arm) for name in [*SHIPPED, "mimic_hand_left"] for arm in list_arms()]


@pytest.mark.parametrize("name, arm", ROBOTS)
def test_urdf_is_one_tree_with_our_kinematics(name, arm):
    embodiment, arm = load_embodiment(name), load_arm(arm)
    text = robot_urdf(embodiment, arm)
    check_tree(ET.fromstring(text))
    model = pin.buildModelFromXML(text, mimic=True)
    data, random = model.createData(), np.random.default_rng(0)
    kinematics, hand = ArmKinematics(embodiment, arm), HandKinematics(embodiment)
    base = data.oMf[model.getFrameId(arm.base)]
    for _ in range(5):
        q, joints = random.uniform(arm.lower, arm.upper), random.uniform(embodiment.lower, embodiment.upper)
        values = {**dict(zip(arm.joint_names, q)), **dict(zip(embodiment.joint_names, joints))}
        configuration = pin.neutral(model)
        for joint_name, value in values.items():
            configuration[model.joints[model.getJointId(joint_name)].idx_q] = value
        pin.framesForwardKinematics(model, data, configuration)
        base = data.oMf[model.getFrameId(arm.base)]
        T = base.actInv(data.oMf[model.getFrameId(HAND)])
        np.testing.assert_allclose(T.translation, kinematics.fk(q)[:3], atol=1e-6)
        assert abs(se3_to_pose(T)[3:] @ kinematics.fk(q)[3:]) > 1 - 1e-9
        tips = [T.actInv(base.actInv(data.oMf[model.getFrameId(f"{finger}_tip")])).translation for finger in hand.fingers]
        np.testing.assert_allclose(tips, hand.fingertips(joints[None])[0], atol=1e-6)


def check_tree(robot):
    """No cycle, one root, and every link connected."""
    links = {link.get("name") for link in robot.findall("link")}
    parents = {joint.find("child").get("link"): joint.find("parent").get("link") for joint in robot.findall("joint")}
    assert len(links) == len(robot.findall("link")) and len(parents) == len(robot.findall("joint"))
    (root,) = links - set(parents)
    for link in links:
        seen = set()
        while link != root:
            assert link not in seen
            seen.add(link)
            link = parents[link]


@pytest.mark.parametrize("name, arm", ROBOTS)
def test_tf_is_one_tree_with_our_kinematics(name, arm):
    """Poses that a listener of tf composes, of the hand frame and of the fingertips, in the frame of the arm's base."""
    embodiment, arm = load_embodiment(name), load_arm(arm)
    kinematics, hand = ArmKinematics(embodiment, arm), HandKinematics(embodiment)
    links, random = LinkTransforms(robot_urdf(embodiment, arm)), np.random.default_rng(1)
    assert set(links.joints) == {*arm.joint_names, *embodiment.joint_names}
    for _ in range(3):
        q, joints = random.uniform(arm.lower, arm.upper), random.uniform(embodiment.lower, embodiment.upper)
        values = {**dict(zip(arm.joint_names, q)), **dict(zip(embodiment.joint_names, joints))}
        poses = poses_in(arm.base, links.static + links.moving(values))
        np.testing.assert_allclose(poses[HAND].translation, kinematics.fk(q)[:3], atol=1e-6)
        assert abs(se3_to_pose(poses[HAND])[3:] @ kinematics.fk(q)[3:]) > 1 - 1e-9
        tips = [poses[HAND].actInv(poses[f"{finger}_tip"]).translation for finger in hand.fingers]
        np.testing.assert_allclose(tips, hand.fingertips(joints[None])[0], atol=1e-6)


def poses_in(base, transforms):
    """Poses of all frames in one of them, from (parent, child, pose (7,)); fails unless the frames are one tree."""
    above = {child: (parent, pin.XYZQUATToSE3(pose)) for parent, child, pose in transforms}
    assert len(above) == len(transforms), "a frame with two parents"
    (root,) = {parent for parent, _ in above.values()} - set(above)
    in_root = {}
    for frame in [root, *above]:
        T, link, steps = pin.SE3.Identity(), frame, 0
        while link != root:
            link, pose = above[link]
            T, steps = pose * T, steps + 1
            assert steps <= len(above), f"a cycle above {frame}"
        in_root[frame] = T
    return {frame: in_root[base].actInv(T) for frame, T in in_root.items()}


@pytest.mark.parametrize("name, arm", ROBOTS)
def test_mujoco_has_the_same_kinematics(name, arm):
    mujoco = pytest.importorskip("mujoco")
    embodiment, arm = load_embodiment(name), load_arm(arm)
    model = mujoco.MjModel.from_xml_string(robot_urdf(embodiment, arm))
    data, random = mujoco.MjData(model), np.random.default_rng(2)
    q, joints = random.uniform(arm.lower, arm.upper), random.uniform(embodiment.lower, embodiment.upper)
    hinges = dict(zip(embodiment.hinge_names, embodiment.coupling @ joints))
    known = {model.joint(i).name for i in range(model.njnt)}  # the fixed jaw of a gripper has no joint
    assert known >= {*arm.joint_names, *embodiment.joint_names}
    for joint, value in {**hinges, **dict(zip(arm.joint_names, q))}.items():
        if joint in known:
            data.qpos[model.joint(joint).qposadr[0]] = value
    mujoco.mj_kinematics(model, data)
    pose = lambda link: pin.XYZQUATToSE3(np.r_[data.body(link).xpos, np.roll(data.body(link).xquat, -1)])
    T = pose(arm.base).actInv(pose(HAND))
    np.testing.assert_allclose(T.translation, ArmKinematics(embodiment, arm).fk(q)[:3], atol=1e-6)
    hand = HandKinematics(embodiment)
    tips = [pose(HAND).actInv(pose(f"{finger}_tip")).translation for finger in hand.fingers]
    np.testing.assert_allclose(tips, hand.fingertips(joints[None])[0], atol=1e-6)
