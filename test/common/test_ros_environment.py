"""ROS environment: node variables, Fast DDS transports, private domains, orphaned shared memory."""

import fcntl
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from latent_policy_ros.cli import doctor
from latent_policy_ros.common import ros_environment
from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.ros_environment import DOMAINS, choose_transport, node_environment, private_domain

LIBRARIES = os.path.join(sys.prefix, "lib")


def test_the_distribution_is_the_sourced_one_or_that_of_the_wheels(monkeypatch):
    """Bags name it: ``ros2 bag info`` shows it as ROS Distro."""
    ros_environment.ros_distribution.cache_clear()
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    assert ros_environment.ros_distribution() == "kilted"
    ros_environment.ros_distribution.cache_clear()
    monkeypatch.delenv("ROS_DISTRO")
    wheel = SimpleNamespace(metadata={"Name": "ros-jazzy-rclpy"})
    monkeypatch.setattr(ros_environment, "distributions", lambda: [SimpleNamespace(metadata={"Name": "ros-jazzy-x"}), wheel])
    assert ros_environment.ros_distribution() == "jazzy"
    ros_environment.ros_distribution.cache_clear()


def test_private_domains_differ():
    with private_domain() as a, private_domain() as b:
        assert a["ROS_DOMAIN_ID"] != b["ROS_DOMAIN_ID"]
        assert {int(a["ROS_DOMAIN_ID"]), int(b["ROS_DOMAIN_ID"])} <= set(DOMAINS)
        assert a["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_domain_is_released(monkeypatch, tmp_path):
    monkeypatch.setattr(ros_environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(ros_environment, "DOMAINS", range(7, 8))
    monkeypatch.setattr(ros_environment, "domain_in_use", lambda _: False)
    for _ in range(2):
        with private_domain() as variables:
            assert variables["ROS_DOMAIN_ID"] == "7"
            with pytest.raises(LatentPolicyError, match="all 1 ROS domains"), private_domain():
                pass
    assert not list(tmp_path.iterdir())


def test_domain_of_another_process_is_in_use():
    with private_domain() as variables:
        domain = int(variables["ROS_DOMAIN_ID"])
        assert not ros_environment.domain_in_use(domain)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 7410 + 250 * domain))
            assert ros_environment.domain_in_use(domain)
        assert not ros_environment.domain_in_use(domain)


def test_environment_is_completed():
    env = node_environment({})
    assert Path(env["HOME"]).is_dir() and env["OMP_NUM_THREADS"] == "1"
    assert env["AMENT_PREFIX_PATH"].split(os.pathsep)[0] == sys.prefix


def test_existing_variables_are_kept():
    given = {"HOME": "/home/me", "OMP_NUM_THREADS": "4", "OTHER": "x"}
    assert given.items() <= node_environment(given).items()


@pytest.mark.parametrize("reach", ["LOCALHOST", "SUBNET", None])
@pytest.mark.parametrize("images", [True, False])
def test_only_nodes_with_images_use_shared_memory(images, reach):
    chosen = choose_transport(images, {ros_environment.RANGE: reach} if reach else {})
    (file,) = {chosen[name] for name in ros_environment.PROFILE_VARIABLES}
    profile = ElementTree.parse(file)
    name = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
    used = [element.text for element in profile.find(f".//{name}userTransports")]
    assert used == (["shared_memory", "udp"] if images else ["udp"])
    assert profile.find(f".//{name}useBuiltinTransports").text == "false"
    addresses = [element.text for element in profile.iter(f"{name}address")]
    here = reach == "LOCALHOST"
    assert addresses == (["127.0.0.1"] if here else []) and (chosen.get(ros_environment.RANGE) == "SUBNET") == here


def test_orphaned_shared_memory_is_found(tmp_path, monkeypatch):
    for name in ("fastrtps_dead", "fastrtps_alive", "fastrtps_port7400", "other"):
        (tmp_path / name).write_bytes(bytes(1000))
    for name in ("dead", "alive"):
        (tmp_path / f"fastrtps_{name}_el").touch()
    with (tmp_path / "fastrtps_alive_el").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert ros_environment.orphaned_shared_memory(tmp_path) == [tmp_path / "fastrtps_dead"]
    monkeypatch.setattr(ros_environment, "orphaned_shared_memory", lambda: [tmp_path / "fastrtps_dead"])
    monkeypatch.setattr(doctor, "CHECKS", {"shared memory": doctor.CHECKS["shared memory"]})
    assert list(doctor.run_checks())[1:] == [("shared memory", True, "killed ROS processes left 0.0 GB")]
    monkeypatch.setattr(doctor, "MAX_ORPHANED_MEMORY", 0.0)
    _, well, text = list(doctor.run_checks())[1]
    assert not well and "1 killed ROS processes left" in text and "fastdds shm clean" in text


@pytest.mark.parametrize("given", [{"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"}, {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}])
def test_existing_transport_settings_are_kept(given):
    assert choose_transport(False, given | {ros_environment.RANGE: "LOCALHOST"}) == {}


def test_wheels_guard_is_kept_only_with_the_library_path():
    orphan = node_environment({ros_environment.WHEELS_GUARD: "1"})
    assert ros_environment.WHEELS_GUARD not in orphan or LIBRARIES in orphan["LD_LIBRARY_PATH"].split(os.pathsep)
    whole = {ros_environment.WHEELS_GUARD: "1", "LD_LIBRARY_PATH": f"/other:{LIBRARIES}"}
    assert whole.items() <= node_environment(whole).items()


def test_own_prefix_precedes_a_ros_installation(monkeypatch, tmp_path):
    (tmp_path / "share" / "latent_policy_ros").mkdir(parents=True)
    (tmp_path / "share" / "latent_policy_ros" / "package.xml").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(ros_environment.importlib.util, "find_spec", lambda _: None)
    env = node_environment({"AMENT_PREFIX_PATH": "/opt/ros/jazzy", "LD_LIBRARY_PATH": "/opt/ros/jazzy/lib"})
    assert env["AMENT_PREFIX_PATH"] == f"{tmp_path}:/opt/ros/jazzy"
    assert env["LD_LIBRARY_PATH"] == f"{tmp_path}/lib:/opt/ros/jazzy/lib"
    assert node_environment(env) == env
