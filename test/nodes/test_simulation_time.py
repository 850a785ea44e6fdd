"""Simulation time: the simulator publishes it, drivers and recorder follow it, hardware refuses it once."""

import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rosbags.highlevel import AnyReader  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros import bringup  # noqa: E402
from latent_policy_ros.bringup.supervisor import Supervisor, node_command  # noqa: E402
from latent_policy_ros.common.errors import ConfigError  # noqa: E402
from latent_policy_ros.common.ros_environment import node_environment  # noqa: E402
from latent_policy_ros.embodiments import load_embodiment  # noqa: E402
from latent_policy_ros.nodes.base.driver_node import EndEffectorDriver  # noqa: E402
from latent_policy_ros.nodes.recorder_node import Recorder  # noqa: E402
from latent_policy_ros.nodes.sim_node import Sim  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.observations.messages import to_seconds  # noqa: E402
from latent_policy_ros.sim.driver_bus import SimulationClock  # noqa: E402
from latent_policy_ros.sim.world import World  # noqa: E402

HAND = load_embodiment("mimic_hand")


def mock_hand(graph, **parameters):
    make = lambda **options: EndEffectorDriver("hand", **options)
    return graph.add(make, "left", embodiment="mimic_hand", **{"driver": "mock", "use_sim_time": True, **parameters})


def test_drivers_follow_the_clock(graph):
    """Stamps, ages of commands and limits of velocity are those of simulation time."""
    clock = graph.probe.create_publisher(Clock, "/clock", qos.CLOCK)
    node = mock_hand(graph)
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    graph.run(0.5)
    assert not states  # no time yet
    began, rate = time.monotonic(), 0.25  # a slow simulation
    now = lambda: (time.monotonic() - began) * rate + 10.0
    goal = HAND.rest + 0.2 * (HAND.upper - HAND.rest)

    def each():
        clock.publish(Clock(clock=message_conversion.to_stamp(now())))
        message = message_conversion.command(now(), 0.02, HAND.joint_names, goal)
        graph.publish(JointTrajectory, "left/hand_command", qos.COMMANDS, message)

    graph.run(4.0, each, period=0.02)
    stamps = np.array([to_seconds(m.header.stamp) for _, m in states])
    positions = np.array([m.position for _, m in states])
    assert stamps[0] > 9.9 and abs(stamps[-1] - now()) < 0.2 and not node.counts["measurement stamp implausible"]
    assert np.abs(positions[-1] - positions[0]).max() > 0.02
    moved = np.abs(positions[-1] - positions[0]) / (stamps[-1] - stamps[0])
    assert (moved <= HAND.max_velocity + 0.05).all()


def test_simulation_clock_does_not_skip_what_a_slow_world_needs():
    clock = SimulationClock()
    first = clock()
    time.sleep(0.3)
    assert clock() - first == pytest.approx(0.1)  # MAX_CATCH_UP


def test_simulator_publishes_time_and_the_recorder_uses_it(graph, tmp_path):
    try:
        World("panda_gripper").render("front")
    except Exception as error:
        pytest.skip(f"cannot draw: {error}")
    socket = str(tmp_path / "sim.sock")
    graph.add(
        Sim, "right", embodiment="panda_gripper", socket_path=socket, use_sim_time=True, publish_clock=True, cameras=["front"]
    )
    graph.add(lambda **o: EndEffectorDriver("gripper", **o), "right", embodiment="panda_gripper", driver="sim", socket_path=socket,
              use_sim_time=True)  # fmt: skip
    topics = ["/right/joint_states", "/right/front/image_raw"]
    recorder = graph.add(
        Recorder, topics=topics, folder=str(tmp_path / "bags"), use_sim_time=True, refuse_silent=False, images="raw"
    )
    clock, images = graph.listen(Clock, "/clock", qos.CLOCK), graph.listen(Image, "right/front/image_raw", qos.IMAGES)
    graph.until(lambda: len(images) > 5 and len(clock) > 20, 20, "images and time")
    times = np.array([to_seconds(m.clock) for _, m in clock])
    assert 0.0 <= times[0] < 30.0 and (np.diff(times) >= 0.0).all()
    assert abs(to_seconds(images[-1][1].header.stamp) - times[-1]) < 0.5
    path = recorder.start({})
    graph.run(2.0)
    recorder.stop("test")
    with AnyReader([path]) as reader:
        seen = {}
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            header = message.clock if connection.topic == "/clock" else message.header.stamp
            seen.setdefault(connection.topic, []).append(stamp * 1e-9 - header.sec - header.nanosec * 1e-9)
    assert {"/clock", *topics} <= set(seen)
    assert all(abs(np.median(delays)) < 0.3 for topic, delays in seen.items() if topic != "/diagnostics")


def test_fleet_of_hardware_refuses_simulation_time(tmp_path, fleet_content):
    import yaml

    fleet_content["robots"]["right"] |= {
        "driver": "robotiq@/dev/x",
        "arm_driver": "franka@1.2.3.4",
        "cameras": {"front": "/dev/video9"},
    }
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet_content))
    with pytest.raises(ConfigError) as error:
        bringup.node_specs(bringup.load_fleet(file), use_sim_time=True)
    for words in ("robots.right.driver: robotiq", "robots.right.arm_driver: franka", "robots.right.cameras.front: /dev/video9"):
        assert words in str(error.value)
    del fleet_content["robots"]["right"]
    fleet_content["robots"]["third"] = fleet_content["robots"]["left"]
    file.write_text(yaml.safe_dump(fleet_content))
    specs = bringup.node_specs(bringup.load_fleet(file), use_sim_time=True)
    assert all(spec.parameters["use_sim_time"] for spec in specs)
    assert [spec.full_name for spec in specs if spec.parameters.get("publish_clock")] == ["/left/sim"]


def test_hardware_refuses_once_and_is_not_started_again(graph, tmp_path):
    statuses = graph.listen(DiagnosticArray, "/diagnostics", qos.EVENTS)
    parameters = {"embodiment": "panda_gripper", "driver": "franka_hand@127.0.0.1", "use_sim_time": True}
    spec = bringup.NodeSpec("gripper_driver_node", "gripper_driver", "right", parameters)
    with Supervisor([spec], log_folder=tmp_path, restart=True, say=lambda _: None) as up:
        found = lambda: [s.message for _, m in statuses for s in m.status if s.name == "/right/gripper_driver"]
        graph.until(lambda: len(found()) > 2, 30, "diagnostics of the driver")
        assert up.poll() == {}
        assert "moves hardware, which has no simulation time; expected false, got true" in found()[-1]
    assert (tmp_path / "right.gripper_driver.log").read_text().count("stays unconfigured") == 1


def test_clock_of_a_real_simulator_needs_simulation_time(tmp_path):
    spec = bringup.NodeSpec(
        "sim_node", "sim", "", {"embodiment": "panda_gripper", "publish_clock": True, "socket_path": "/tmp/x.sock"}
    )
    done = subprocess.run(node_command(spec, tmp_path), env=node_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "publish_clock: needs use_sim_time" in done.stdout + done.stderr, sys.executable
