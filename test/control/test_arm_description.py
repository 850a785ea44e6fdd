"""Arm files: values, errors with their place, mounts of end-effectors, and the same grasp pose for every arm."""

import re
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest
import yaml

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.control.arm_controller import IK_ITERATIONS, IK_TOLERANCE
from latent_policy_ros.control.arm_description import list_arms, load_arm
from latent_policy_ros.control.arm_kinematics import ArmKinematics
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.embodiments.human.keypoints import PINCH_POINT, pinch_point

GRIPPERS = ("panda_gripper", "robotiq_2f85", "so101_gripper", "xarm_gripper")

URDF = """<robot name="tiny">
  <link name="floor"/><link name="base"/><link name="upper"/><link name="lower"/><link name="flange"/><link name="flag"/>
  <link name="same"/><joint name="same" type="revolute"><parent link="base"/><child link="same"/><axis xyz="1 0 0"/>
    <limit lower="-1" upper="1" velocity="1" effort="1"/></joint>
  <joint name="stand" type="fixed"><parent link="floor"/><child link="base"/><origin xyz="0 0 1"/></joint>
  <joint name="turn" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" velocity="3" effort="1"/></joint>
  <joint name="lift" type="prismatic"><parent link="upper"/><child link="lower"/><axis xyz="0 0 1"/>
    <limit lower="0" upper="0.5" velocity="{speed}" effort="1"/>{more}</joint>
  <joint name="tip" type="fixed"><parent link="lower"/><child link="flange"/><origin xyz="0.3 0 0"/></joint>
  <joint name="wave" type="continuous"><parent link="base"/><child link="flag"/><axis xyz="1 0 0"/></joint>
</robot>"""


@pytest.fixture
def described(tmp_path):
    """Writes an arm of two joints, with changes to its YAML, and loads it."""

    def load(speed="0.2", more="", kind="revolute", **changes):
        urdf = URDF.format(speed=speed, more=more).replace('"turn" type="revolute"', f'"turn" type="{kind}"')
        (tmp_path / "tiny.urdf").write_text(urdf)
        content = {"description": "tiny.urdf", "base": "base", "flange": "flange", "home": {"turn": 0.5, "lift": 0.1}} | changes
        file = tmp_path / "tiny.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return load_arm(str(file))

    return load


def test_custom_arm(described, tmp_path):
    arm = described(tool={"xyz": [0, 0, 0.1], "rpy": [0, 0, 0]}, max_velocity=1.0)
    assert arm.joint_names == ("turn", "lift") and arm.slides.tolist() == [False, True]
    assert arm.reference == str(tmp_path / "tiny.yaml")
    np.testing.assert_array_equal([arm.lower, arm.upper, arm.max_velocity, arm.home], [[-2, 0], [2, 0.5], [1.0, 0.2], [0.5, 0.1]])
    gripper = load_embodiment("panda_gripper")
    flange = pin.SE3(ArmKinematics(gripper, arm).T_flange_hand).inverse()
    wrist = ArmKinematics(gripper, arm).fk(np.array([np.pi / 2, 0.2]))
    place = (pin.XYZQUATToSE3(wrist) * flange).translation  # in the base, which stands 1 m above the floor
    np.testing.assert_allclose(place, [0.0, 0.3, 0.2], atol=1e-12)


def test_continuous_joint_gets_a_range(described):
    arm = described(kind="continuous", ranges={"turn": [-3.0, 3.0]})
    assert (arm.lower[0], arm.upper[0], arm.max_velocity[0]) == (-3.0, 3.0, 3.0)


def test_changed_file_is_read_again(described):
    assert described().home[0] == 0.5
    assert described(home={"turn": -0.5, "lift": 0.1}).home[0] == -0.5
    assert described(speed="0.1").max_velocity[1] == 0.1
    assert described(speed="0", max_velocity=0.3).max_velocity.tolist() == [0.3, 0.3]
    np.testing.assert_allclose(described(speed="0.1", max_acceleration={"lift": 0.4}).max_acceleration[1], 0.4)
    np.testing.assert_allclose(described(speed="0.1").max_acceleration[1], 0.5)


@pytest.mark.parametrize(
    "changes, where, words",
    [
        ({"description": None}, "description", "missing"),
        ({"description": "nowhere.urdf"}, "description", "no such file: .*nowhere.urdf"),
        ({"base": "ground"}, "base", "available: .*floor"),
        ({"base": "upper"}, "home.turn", "moves the base, upper; expected joints between base and flange: lift"),
        ({"flange": "turn"}, "flange", "available: .*flange"),
        ({"flange": "upper"}, "home.lift", "does not move upper"),
        ({"home": {}}, "home", "expected joints between base and flange: turn, lift; got none"),
        ({"home": {"turm": 0.0}}, "home.turm", "not a moving joint of the URDF; available: lift, same, turn, wave"),
        ({"home": {"turn": 0.0}}, "home.lift", "missing: this joint moves flange"),
        ({"more": '<mimic joint="turn"/>'}, "home.lift", "mimic joints are not supported"),
        ({"kind": "continuous"}, "home.turn", "no limits in the URDF; add them to `ranges`"),
        ({"ranges": {"turm": [-1, 1]}}, "ranges.turm", "not a moving joint of the URDF; available: .*turn"),
        ({"ranges": {"turn": [-3, 1]}}, "ranges.turn", r"a part of the URDF's \[-2, 2\]"),
        ({"ranges": {"turn": [1, -1]}}, "ranges.turn", "lower < upper"),
        ({"ranges": {"turn": [0.6, 1]}}, "home.turn", "from 0.6 to 1, got 0.5"),
        ({"tool": {"xyz": [0, 0, 95], "rpy": [0, 0, 0]}}, "tool.xyz", "millimetres?"),
        ({"tool": {"xyz": [0, 0, 0], "rpy": [0, -90, 0]}}, "tool.rpy", "degrees?"),
        ({"home": {"turn": 3.0, "lift": 0.1}}, "home.turn", "from -2 to 2, got 3"),
        ({"home": {"turn": 0.0, "lift": 0.1, "wave": 0.0}}, "home.wave", "does not move flange"),
        ({"speed": "0"}, "max_velocity", "missing: the URDF has no velocity limit for lift"),
        ({"max_velocity": 0}, "max_velocity", "greater than 0"),
        ({"max_acceleration": {"elbow": 1}}, "max_acceleration.elbow", "not a joint of this arm; available: "),
        ({"tool": {"xyz": [0, 0, 0]}}, "tool.rpy", "missing"),
        ({"mounts": {"leap_hand": {"xyz": [0, 0], "rpy": [0, 0, 0]}}}, "mounts.leap_hand.xyz", "3 numbers"),
        ({"hone": {}}, "hone", "unknown field"),
    ],
)
def test_every_mistake_is_reported_with_its_path(described, changes, where, words):
    with pytest.raises(ConfigError, match=words) as refused:
        described(**changes)
    assert f"tiny.yaml: {where}:" in str(refused.value)


def test_xacro_file_is_refused(tmp_path):
    (tmp_path / "arm.urdf.xacro").write_text('<robot name="x" xmlns:xacro="x"><xacro:include filename="y"/></robot>')
    (tmp_path / "arm.yaml").write_text("description: arm.urdf.xacro\nbase: base\nflange: flange\nhome: {turn: 0}")
    with pytest.raises(ConfigError, match=r"arm.urdf.xacro: contains <xacro:include>: run xacro first"):
        load_arm(str(tmp_path / "arm.yaml"))


def test_links_may_have_the_names_of_joints(described):
    """As in Unitree's Z1: pinocchio needs the frame type to tell them apart."""
    arm = described(flange="same", home={"same": 0.0})
    wrist = ArmKinematics(load_embodiment("panda_gripper"), arm)
    assert np.abs(wrist.fk(np.array([0.5])) - wrist.fk(np.zeros(1))).max() > 0.1


def test_example_in_the_documentation_loads(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "HARDWARE.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(# my_arm.yaml.*?)```", text, re.DOTALL)
    (tmp_path / "my_arm.yaml").write_text(example)
    arm = load_arm(str(tmp_path / "my_arm.yaml"))
    wrist = ArmKinematics(load_embodiment("dex3_hand"), arm)
    assert wrist.solve(wrist.fk(arm.home + 0.1), arm.home).position_error < 1e-4
    assert pin.XYZQUATToSE3(wrist.fk(arm.home)).rotation[2, 2] < -0.99  # fingers down


def test_unknown_arm_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="no arm 'pandas'; available: panda, ur5, xarm7, or a YAML file"):
        load_arm("pandas")


def test_mounts_of_the_file_are_used(described):
    arm = described(mounts={"leap_hand": {"xyz": [0.0, 0.0, 0.05], "rpy": [0.0, 0.0, np.pi / 2]}})
    hand = load_embodiment("leap_hand")
    base = arm.mount(hand) * pin.SE3(hand.T_base_hand).inverse()
    np.testing.assert_allclose(base.translation, [0.0, 0.0, 0.05], atol=1e-12)
    np.testing.assert_allclose(base.rotation, pin.utils.rotate("z", np.pi / 2), atol=1e-12)
    with pytest.raises(ConfigError, match="mounts: none for allegro_hand; available: leap_hand"):
        arm.mount(load_embodiment("allegro_hand"))


@pytest.mark.parametrize("name", list_arms())
def test_hands_and_gripper_grasp_on_the_tool_axis_in_the_same_orientation(name):
    arm = load_arm(name)
    mounts = {n: arm.mount(load_embodiment(n)) for n in ("mimic_hand", "faive_hand", *GRIPPERS)}
    for T in mounts.values():
        np.testing.assert_allclose((T * PINCH_POINT)[:2], 0.0, atol=1e-3)
        np.testing.assert_allclose(T.rotation, mounts["panda_gripper"].rotation, atol=2e-3)


def test_left_hand_grasps_on_the_tool_axis():
    hand = load_embodiment("mimic_hand_left")
    T = load_arm("xarm7").mount(hand)
    np.testing.assert_allclose((T * pinch_point(hand.side))[:2], 0.0, atol=1e-3)
    assert pinch_point(hand.side)[1] == -PINCH_POINT[1]


def test_gripper_is_mounted_as_in_the_urdf_of_the_panda():
    gripper = load_embodiment("panda_gripper")
    T_flange_base = load_arm("panda").mount(gripper) * pin.SE3(gripper.T_base_hand).inverse()
    np.testing.assert_allclose(T_flange_base.rotation, pin.utils.rotate("z", -np.pi / 4), atol=1e-9)
    np.testing.assert_allclose(T_flange_base.translation, 0.0, atol=1e-9)


@pytest.mark.parametrize("name", list_arms())
def test_shipped_arms_follow_wrist_poses_in_the_workspace_of_the_demo(name):
    """From its home through the box of the demo, with the few iterations of a control loop."""
    arm = ArmKinematics(load_embodiment("mimic_hand"), load_arm(name))
    start, q, farthest = arm.fk(arm.home), arm.home, 0.0
    for t in np.arange(0.0, 20.0, 0.02):
        pose = start.copy()
        pose[:3] += [0.1 * np.sin(0.7 * t), 0.2 * np.sin(0.5 * t), 0.15 * np.cos(0.9 * t) - 0.15]
        solution = arm.solve(pose, q, IK_ITERATIONS, IK_TOLERANCE)
        assert (np.abs(solution.q - q) < 0.02 * arm.max_velocity).all()
        q, farthest = solution.q, max(farthest, solution.position_error)
    assert farthest < 1e-4
