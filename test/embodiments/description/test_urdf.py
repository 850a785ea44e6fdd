"""URDF files: joints as parsed, edits, and export for pinocchio and MuJoCo."""

from xml.etree import ElementTree

import mujoco
import numpy as np
import pinocchio
import pytest

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import package_folder
from latent_policy_ros.embodiments.description.urdf import UrdfFile

URDF = """<robot name="tiny" xmlns="http://www.ros.org" xmlns:xacro="http://www.ros.org/wiki/xacro">
  <gazebo:material/>
  <link name="base"><visual><geometry><mesh filename="package://nowhere/base.dae"/></geometry></visual>
    <collision><geometry><mesh filename="{mesh}"/></geometry></collision></link>
  <link name="arm"><inertial><origin xyz="0 0 0.1"/><mass value="1"/>
    <inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <link name="tip"/>
  <joint name="turn" type="continuous"><parent link="base"/><child link="arm"/><origin xyz="0 0 0.2"/><axis xyz="0 0 2"/></joint>
  <joint name="bend" type="revolute"><parent link="arm"/><child link="tip"/>
    <limit lower="-1" upper="2" effort="0" velocity="3"/><mimic joint="turn" multiplier="0.5"/></joint>
</robot>
"""


@pytest.fixture
def urdf(tmp_path):
    """Writes the file with a mesh file name, and reads it."""

    def read(mesh="meshes/base.stl"):
        (tmp_path / "tiny.urdf").write_text(URDF.format(mesh=mesh))
        return UrdfFile.read(tmp_path / "tiny.urdf")

    return read


def mesh_names(file):
    return [
        mesh.get("filename") for mesh in ElementTree.fromstring(file.to_xml().replace("gazebo:", "")).iter() if "mesh" in mesh.tag
    ]


def test_joints_have_axis_limits_and_mimic(urdf):
    turn, bend = urdf().joints.values()
    assert (turn.type, turn.parent, turn.child, turn.limits, turn.mimic) == ("continuous", "base", "arm", None, None)
    assert np.allclose(turn.axis, [0, 0, 1]) and turn.origin[2, 3] == 0.2
    assert bend.limits == (-1.0, 2.0) and (bend.max_velocity, bend.max_effort) == (3.0, None)
    assert bend.mimic == ("turn", 0.5, 0.0) and np.allclose(bend.axis, [1, 0, 0])


def test_set_limits_makes_a_continuous_joint_revolute(urdf):
    file = urdf()
    file.set_limits("turn", -0.5, 1)
    assert (file.joints["turn"].type, file.joints["turn"].limits) == ("revolute", (-0.5, 1.0))
    model = pinocchio.buildModelFromXML(file.to_xml())
    assert (model.lowerPositionLimit[0], model.upperPositionLimit[0]) == (-0.5, 1.0)


def test_meshes_are_resolved_and_visuals_removed(urdf, tmp_path):
    file = urdf()
    file.remove_visuals()
    file.resolve_meshes()
    assert mesh_names(file) == [str(tmp_path / "meshes" / "base.stl")]
    packaged = urdf("package://example-robot-data/robots/mesh.stl")
    packaged.remove_visuals()
    packaged.resolve_meshes()
    assert mesh_names(packaged) == [str(package_folder("example-robot-data") / "robots" / "mesh.stl")]
    absolute = urdf("file:///meshes/base.stl")
    absolute.remove_visuals()
    absolute.resolve_meshes()
    assert mesh_names(absolute) == ["/meshes/base.stl"]


def test_mesh_of_a_missing_package_is_an_error(urdf):
    with pytest.raises(ConfigError, match=r"tiny.urdf: link base: mesh 'package://nowhere/base.dae': no package 'nowhere'"):
        urdf().resolve_meshes()


@pytest.mark.parametrize(
    "arm", ["panda_description/urdf/panda", "ur_description/urdf/ur5_joint_limited_robot", "xarm_description/urdf/xarm7"]
)
def test_mujoco_reads_the_exported_arm(arm):
    file = UrdfFile.read(package_folder("example-robot-data") / "robots" / f"{arm}.urdf")
    file.remove_visuals()
    file.resolve_meshes()
    file.set_mujoco_compiler(strippath="false", balanceinertia="true", fusestatic="false")
    file.set_mujoco_compiler(fusestatic="true")  # changes the one element
    assert file.to_xml().count("<compiler") == 1
    model = mujoco.MjSpec.from_string(file.to_xml()).compile()
    moving = {name: joint for name, joint in file.joints.items() if joint.type != "fixed"}
    assert {model.joint(i).name for i in range(model.njnt)} == set(moving)
    for name, joint in moving.items():
        assert np.allclose(model.joint(name).range, joint.limits)


def test_another_root_element_is_an_error(tmp_path):
    (tmp_path / "hand.xml").write_text("<mujoco/>")
    with pytest.raises(ConfigError, match=r"expected a URDF file \(root element <robot>\), got <mujoco>"):
        UrdfFile.read(tmp_path / "hand.xml")
