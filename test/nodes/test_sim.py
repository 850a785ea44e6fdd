"""Simulator node: joints for the drivers, images, reset and success events."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)
pytest.importorskip("tf2_msgs.msg", reason="needs the messages of tf2", exc_type=ImportError)

from sensor_msgs.msg import CameraInfo, Image, JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.msg import EpisodeEvent  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.sim_node import Sim  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds, transform_array  # noqa: E402
from latent_policy_ros.sim.world import World  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def opengl():
    try:
        World("panda_gripper").render("front")
    except Exception as error:
        pytest.skip(f"cannot draw: {error}")


@pytest.fixture
def sim(graph, tmp_path):
    return graph.add(Sim, "right", embodiment="panda_gripper", socket_path=str(tmp_path / "sim.sock"), seed=7, overview=True,
                     overview_size=200, tf=True)  # fmt: skip


def call(graph, name):
    client = graph.probe.create_client(Trigger, name)
    graph.until(client.service_is_ready, what=name)
    future = client.call_async(Trigger.Request())
    graph.until(future.done, what=name)
    return future.result()


def test_cameras_publish_at_their_rate_with_the_time_of_the_image(graph, sim):
    front = graph.listen(Image, "right/front/image_raw", qos.IMAGES)
    overview = graph.listen(Image, "right/overview/image_raw", qos.IMAGES)
    infos, large = (graph.listen(CameraInfo, f"right/{camera}/camera_info", qos.IMAGES) for camera in ("front", "overview"))
    graph.run(0.5)
    front.clear(), overview.clear(), infos.clear()
    graph.run(2.0)
    assert 28 <= len(front) <= 42 and 5 <= len(overview) <= 22
    received, image = front[-1]
    assert (image.width, image.height, image.encoding) == (96, 96, "rgb8") and overview[-1][1].width == 200
    assert 0 <= received - to_seconds(image.header.stamp) < 0.2
    pixels = np.frombuffer(image.data, np.uint8)
    assert pixels.std() > 10  # not a uniform image
    stamps, known = ({to_seconds(message.header.stamp) for _, message in found} for found in (front, infos))
    assert len(stamps & known) >= len(stamps) - 3
    info = infos[-1][1]
    assert (info.width, info.height, info.header.frame_id) == (96, 96, image.header.frame_id)
    assert image.header.frame_id == "right/front_optical_frame" and large[-1][1].width == 200
    focal = 48 / np.tan(np.radians(sim.world.model.cam_fovy[sim.world.model.camera("front").id]) / 2)
    np.testing.assert_allclose(info.k, [focal, 0, 47.5, 0, focal, 47.5, 0, 0, 1])


def test_frames_of_the_cameras_are_those_of_the_episode(graph, sim):
    received = graph.listen(TFMessage, "/tf_static", qos.LATCHED)
    graph.until(lambda: received, what="frames")
    parents = {t.child_frame_id: t.header.frame_id for t in received[-1][1].transforms}
    assert parents == {
        "right/front_optical_frame": "right/panda_link0", "right/wrist_optical_frame": "right/panda_link8",
        "right/overview_optical_frame": "right/panda_link0",
    }  # fmt: skip
    call(graph, "/right/sim/reset")
    graph.until(lambda: len(received) == 2, what="frames of the episode")
    for transform in received[-1][1].transforms:
        camera = transform.child_frame_id.removeprefix("right/").removesuffix("_optical_frame")
        _, pose = sim.world.camera_pose({"overview": "front"}.get(camera, camera))
        np.testing.assert_allclose(transform_array(transform.transform), pose)


def test_overview_takes_a_limited_share_of_the_time(graph, sim, monkeypatch):
    image = sim._image
    monkeypatch.setattr(sim, "_image", lambda name: (time.sleep(0.05 * (name == "overview")), image(name))[1])
    overview = graph.listen(Image, "right/overview/image_raw", qos.IMAGES)
    graph.run(3.0)
    assert 1 <= len(overview) <= 4  # 10 per second would take half of the time


def test_simulated_time_follows_the_wall_clock(graph, sim):
    graph.run(0.3)
    simulated, wall = sim.world.time, time.monotonic()
    graph.run(1.0)
    assert sim.world.time - simulated == pytest.approx(time.monotonic() - wall, abs=0.15)


def test_driver_moves_the_simulated_joints(graph, sim):
    graph.add(lambda **o: EndEffectorDriver("gripper", **o), "right", embodiment="panda_gripper", driver="sim",
              socket_path=sim.value("socket_path"))  # fmt: skip
    states = graph.listen(JointState, "right/joint_states", qos.STATES)

    def command():
        message = message_conversion.command(time.time(), 0.02, ["panda_finger_joint1"], np.array([0.01]))
        graph.publish(JointTrajectory, "right/gripper_command", qos.COMMANDS, message)

    graph.run(1.5, command)
    assert states[-1][1].position[0] == pytest.approx(0.01, abs=2e-3)
    assert sim.world.hand_q[0] == pytest.approx(0.01, abs=2e-3)


def test_reset_uses_the_seed_and_increments_it(graph, sim):
    events = graph.listen(EpisodeEvent, "right/robot_event", qos.EVENTS)
    graph.run(0.3)
    assert call(graph, "/right/sim/reset").message == "seed 7"
    assert call(graph, "/right/sim/reset").message == "seed 8"
    world = World("panda_gripper")
    world.reset(8)
    np.testing.assert_allclose(world.body_pose("cube"), sim.world.body_pose("cube"), atol=1e-3)
    np.testing.assert_array_equal(world.body_pose("box"), sim.world.body_pose("box"))
    graph.run(0.2)
    assert [(e.event, e.seed) for _, e in events] == [("begin", 7), ("begin", 8)]


def test_success_is_published_once_per_episode(graph, sim, monkeypatch):
    events = graph.listen(EpisodeEvent, "right/robot_event", qos.EVENTS)
    graph.run(0.3)
    monkeypatch.setattr(sim.world, "success", lambda: True)
    graph.run(1.0)
    assert [(e.event, e.success) for _, e in events] == [("success", True)]
    call(graph, "/right/sim/reset")
    graph.run(1.0)
    assert [e.event for _, e in events] == ["success", "begin", "success"]


def test_task_and_arm_are_parameters(graph, tmp_path):
    sim = graph.add(Sim, "left", embodiment="panda_gripper", socket_path=str(tmp_path / "left.sock"), task="lift_cube", arm="ur5")
    events = graph.listen(EpisodeEvent, "left/robot_event", qos.EVENTS)
    graph.run(0.3)
    call(graph, "/left/sim/reset")
    graph.run(0.2)
    assert sim.world.arm.joint_names[0] == "shoulder_pan_joint"
    assert [e.task for _, e in events] == ["lift the red cube"]


def test_socket_of_another_simulator_is_refused(graph, sim):
    with pytest.raises(AssertionError, match="did not start"):
        graph.add(Sim, "other", embodiment="panda_gripper", socket_path=sim.value("socket_path"))
