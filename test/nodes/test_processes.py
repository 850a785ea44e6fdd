"""The graph of one robot in separate processes: a killed policy, Ctrl-C, and a recorded episode in simulation."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from latent_policy_ros import bringup
from latent_policy_ros.bringup.supervisor import Supervisor, node_command
from latent_policy_ros.common.ros_environment import node_environment

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)
pytest.importorskip("torch")

from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402


@pytest.fixture
def fleet(artifacts):
    return bringup.single_robot("left", "mimic_hand", ["front"], "mock", artifacts.policy, artifacts.latent)


def camera(graph):
    """A function that publishes one camera image."""
    from sensor_msgs.msg import Image

    publisher = graph.probe.create_publisher(Image, "left/front/image_raw", qos.IMAGES)
    rng = np.random.default_rng(0)
    image = lambda: rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return lambda: publisher.publish(message_conversion.image(time.time(), "front", image()))


def threads(pid):
    return " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/comm"))


def test_robot_holds_after_policy_is_killed_and_resumes(graph, fleet, tmp_path):
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    publish_image = camera(graph)
    arm = lambda: [(t, np.array(m.position)) for t, m in states if m.name[0] == "panda_joint1"]
    with Supervisor(bringup.node_specs(fleet), log_folder=tmp_path, restart=True, say=lambda _: None) as up:
        graph.until(lambda: len(commands) > 50, 60, "commands from the policy", publish_image)
        graph.run(0.5, publish_image)
        shared = [spec.full_name for spec in up.specs if "dds.shm" in threads(up.process(spec.full_name).pid)]
        assert shared == ["/policy"]  # the only process that a killed shared-memory publisher can block
        up.process("/policy").send_signal(signal.SIGKILL)
        killed = time.time()
        graph.run(1.5)  # without images: publishing to a killed process over shared memory may block
        assert commands[-1][1].points == []  # hold
        hold_time = commands[-1][0]
        assert hold_time - killed < 0.4  # decoder timeout of 0.2 s plus the load of a busy machine; a chunk alone lasts 0.5 s
        held = np.array([q for t, q in arm() if t > hold_time + 0.5])  # the untrained policy moves fast: braking takes time
        assert len(held) > 30 and np.ptp(held, axis=0).max() < 5e-3
        ended = up.poll()
        assert ended == {"/policy": -signal.SIGKILL}
        commands.clear()
        graph.until(lambda: len(commands) > 25, 60, "commands after the policy came back", lambda: (publish_image(), up.poll()))
        q = np.array([q for _, q in arm()])
        assert np.abs(np.diff(q, axis=0)).max() < 0.2  # no jump
        processes = [up.process(spec.full_name) for spec in up.specs]
    assert [p.returncode for p in processes] == [0] * len(processes)  # all ended on SIGTERM


def test_composed_nodes_of_a_robot_work_and_come_back_together(graph, fleet, tmp_path):
    states = graph.listen(JointState, "left/joint_states", qos.STATES)
    commands = graph.listen(JointTrajectory, "left/hand_command", qos.COMMANDS)
    publish_image, specs = camera(graph), bringup.compose(bringup.node_specs(fleet), "robot")
    driven = lambda: {message.name[0] for _, message in states[-40:]}  # first joints of arm and hand
    with Supervisor(specs, log_folder=tmp_path, restart=True, say=lambda _: None) as up:
        graph.until(lambda: len(commands) > 50 and len(driven()) == 2, 60, "commands and both drivers", publish_image)
        assert {"arm_driver", "hand_driver", "decoder"} <= {name for name, _ in graph.probe.get_node_names_and_namespaces()}
        up.process("/left/composed").send_signal(signal.SIGKILL)
        graph.run(0.3, publish_image)
        states.clear(), commands.clear()
        back = lambda: len(commands) > 25 and len(driven()) == 2
        graph.until(back, 60, "commands and both drivers again", lambda: (publish_image(), up.poll()))
        processes = [up.process(spec.full_name) for spec in up.specs]
    assert [p.returncode for p in processes] == [0] * len(processes)  # all ended on SIGTERM


def test_ctrl_c_ends_waiting_episode_runner(tmp_path, graph):
    spec = bringup.NodeSpec("episode_runner", "runner", "", {"robots": ["nobody"], "summary": str(tmp_path / "summary.json")})
    ran = subprocess.Popen(node_command(spec, tmp_path), env=node_environment(), stdout=subprocess.PIPE, text=True)
    assert "waiting for nobody/joint_states" in ran.stdout.readline()
    ran.send_signal(signal.SIGINT)
    assert ran.wait(5) == 130


def can_render():
    try:
        from latent_policy_ros.sim.world import World

        World("panda_gripper").render("front")
    except Exception:
        return False
    return True


@pytest.mark.skipif(not can_render(), reason="needs OpenGL (apt libegl1 or libosmesa6)")
def test_simulated_robot_records_episodes(artifacts, tmp_path):
    fleet = bringup.single_robot("right", "panda_gripper", ["front"], "sim", artifacts.policy, artifacts.latent)
    specs = bringup.node_specs(fleet, record=True, bag_folder=tmp_path / "bags", overview=True)
    spec = bringup.runner_spec(fleet, episodes=2, seed=5, summary=tmp_path / "summary.json", time_limit=2.0)
    with Supervisor(specs, log_folder=tmp_path / "log") as up:
        ran = subprocess.run(node_command(spec, tmp_path), env=node_environment(), timeout=90, check=False,
                             capture_output=True, text=True)  # fmt: skip
        assert up.poll() == {}, "a node ended by itself"
    assert ran.returncode == 3, ran.stdout + ran.stderr  # an untrained policy does not succeed
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [e["seed"] for e in found["episodes"]] == [5, 6]
    robot = found["robots"]["right"]
    assert robot["episodes"] == 2 and robot["command_rate_hz"] > 35 and robot["chunk_rate_hz"] > 7
    assert 5 < robot["camera_to_command_ms"]["p50"] < 250
    assert len(found["bags"]) == 2 and all(os.path.isdir(bag) for bag in found["bags"])
    from rosbags.highlevel import AnyReader

    with AnyReader([Path(found["bags"][0])]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    for camera_topic, least in (("/right/front/image_raw/compressed", 30), ("/right/overview/image_raw/compressed", 3)):
        assert counts[camera_topic] >= least
    for topic in ("joint_states", "wrist_pose", "latent_action", "gripper_command", "wrist_command"):
        assert counts[f"/right/{topic}"] >= 15
