"""robot_description and tf of two robots beside their drivers: one tree each, whose hand frame is the measured wrist pose."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)
pytest.importorskip("tf2_msgs.msg", reason="needs the messages of tf2", exc_type=ImportError)

import pinocchio as pin  # noqa: E402
from geometry_msgs.msg import PoseStamped  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from latent_policy_ros.nodes.arm_driver_node import ArmDriver  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.description_node import DescriptionNode  # noqa: E402
from latent_policy_ros.nodes.topics import qos  # noqa: E402
from latent_policy_ros.observations.messages import pose_array, to_seconds, transform_array  # noqa: E402

PLACES = {"left": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "right": [0.5, -1.5, 0.2, 0.1, -0.2, 1.5]}  # in the frame world


def test_frames_of_two_robots(graph):
    for robot, kind, embodiment in (("left", "hand", "mimic_hand"), ("right", "gripper", "panda_gripper")):
        graph.add(DescriptionNode, robot, embodiment=embodiment, world_frame="world", world_pose=PLACES[robot])
        graph.add(ArmDriver, robot, embodiment=embodiment, driver="mock", base_frame="~/panda_link0")
        graph.add(lambda kind=kind, **o: EndEffectorDriver(kind, **o), robot, embodiment=embodiment, driver="mock")
    descriptions = graph.listen(String, "left/robot_description", qos.STATE_CHANGES)  # a late subscriber
    static, moving = graph.listen(TFMessage, "/tf_static", qos.LATCHED), graph.listen(TFMessage, "/tf", qos.EVENTS)
    poses = graph.listen(PoseStamped, "left/wrist_pose", qos.STATES)
    graph.until(lambda: descriptions and len(static) >= 2 and len(moving) > 10 and len(poses) > 5, 15, "description and frames")
    assert "<robot" in descriptions[0][1].data
    parents = {}
    for _, message in [*static, *moving]:
        for transform in message.transforms:
            parents[transform.child_frame_id] = transform.header.frame_id, transform_array(transform.transform)
    assert {frame.split("/")[0] for frame in parents} == {"left", "right"}
    for robot in ("left", "right"):
        frames = {frame for frame in parents if frame.startswith(f"{robot}/")}
        assert {parents[frame][0] for frame in frames} - frames == {"world"}  # one tree
        world, placed = parents[f"{robot}/panda_link0"]
        np.testing.assert_allclose(placed[:3], PLACES[robot][:3])
        np.testing.assert_allclose(pin.XYZQUATToSE3(placed).rotation, pin.rpy.rpyToMatrix(*PLACES[robot][3:]), atol=1e-9)
    pose = poses[-1][1]
    T, frame = pin.SE3.Identity(), "left/hand"
    while frame != pose.header.frame_id:
        frame, step = parents[frame]
        T = pin.XYZQUATToSE3(step) * T
    np.testing.assert_allclose(T.translation, pose_array(pose.pose)[:3], atol=1e-4)  # of a moment before
    assert abs(to_seconds(moving[-1][1].transforms[0].header.stamp) - to_seconds(pose.header.stamp)) < 0.5


@pytest.mark.parametrize("parameters, message", [
    ({"world_frame": "~/world", "arm": "ur5"}, "left/world is the root of the robot's own frames"),
    ({"world_frame": "world", "world_pose": [0.0, 1.0]}, "parameter world_pose: expected x, y, z, roll, pitch and yaw"),
])  # fmt: skip
def test_a_wrong_place_is_refused(graph, capfd, parameters, message):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(DescriptionNode, "left", embodiment="panda_gripper", **parameters)
    assert message in capfd.readouterr().err
