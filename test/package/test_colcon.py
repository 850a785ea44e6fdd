"""The package builds with colcon, and ``colcon test`` runs its tests, in a workspace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
NAME = "latent_policy_ros"

CONSUMER = {  # a C++ package of a user, which uses the messages
    "package.xml": """<package format="3"><name>consumer</name><version>0.0.0</version><description>-</description>
<maintainer email="a@b.invalid">a</maintainer><license>Apache-2.0</license><buildtool_depend>ament_cmake</buildtool_depend>
<depend>latent_policy_ros</depend><export><build_type>ament_cmake</build_type></export></package>""",
    "CMakeLists.txt": """cmake_minimum_required(VERSION 3.16)
project(consumer)
set(CMAKE_CXX_STANDARD 17)
find_package(ament_cmake REQUIRED)
find_package(latent_policy_ros REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer ${latent_policy_ros_TARGETS})
install(TARGETS consumer DESTINATION lib/consumer)
ament_package()""",
    "main.cpp": """#include <iostream>
#include <latent_policy_ros/action/run_episode.hpp>
#include <latent_policy_ros/msg/latent_action.hpp>
#include <rosidl_typesupport_cpp/message_type_support.hpp>
int main() {
  latent_policy_ros::msg::LatentAction message;
  message.latents.assign(3, 0.5f);
  auto support = rosidl_typesupport_cpp::get_message_type_support_handle<latent_policy_ros::msg::LatentAction>();
  std::cout << rosidl_generator_traits::name<latent_policy_ros::action::RunEpisode::Goal>() << " " << message.latents.size()
            << " " << (support != nullptr);
}""",
}

pytest.importorskip("colcon_core", reason="needs colcon (requirements/build.txt)")
pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)


def colcon(workspace, verb, *arguments):
    prefixes = os.environ.get("AMENT_PREFIX_PATH") or sys.prefix
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_PREFIX_PATH": prefixes,
        "COLCON_HOME": str(workspace / "colcon"),
    }
    command = [sys.executable, "-m", "colcon", verb, "--base-paths", "src", "--executor", "sequential", *arguments]
    return subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with this package and one that uses it in ``src``, built."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "src").mkdir()
    (folder / "src" / NAME).symlink_to(ROOT)
    (folder / "src" / "consumer").mkdir()
    for name, content in CONSUMER.items():
        (folder / "src" / "consumer" / name).write_text(content)
    flags = [f"-DPython3_EXECUTABLE={sys.executable}", "-DPython3_FIND_VIRTUALENV=ONLY"]
    flags += ["-GNinja"] if shutil.which("ninja") else []
    done = colcon(folder, "build", "--cmake-args", *flags)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_colcon_installs_nodes_launch_files_and_messages(workspace):
    prefix = workspace / "install" / NAME
    assert os.access(prefix / "lib" / NAME / "policy_node", os.X_OK)
    assert (prefix / "share" / NAME / "launch" / "bringup.launch.py").is_file()
    assert (prefix / "share" / NAME / "config" / "robots" / "demo.yaml").is_file()
    assert list(prefix.glob(f"lib/python3*/site-packages/{NAME}/msg/_latent_action.py"))


def test_messages_are_used_from_cpp(workspace):
    install = workspace / "install"
    libraries = [install / NAME / "lib", Path(sys.prefix) / "lib", os.environ.get("LD_LIBRARY_PATH", "")]
    env = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}
    done = subprocess.run([install / "consumer/lib/consumer/consumer"], env=env, capture_output=True, text=True, timeout=20)
    assert done.stdout == "latent_policy_ros/action/RunEpisode_Goal 3 1", done.stderr


def test_colcon_test_runs_the_tests_of_the_package(workspace):
    done = colcon(workspace, "test", "--return-code-on-test-failure", "--ctest-args", "-R", "test_observations")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (result,) = (workspace / "build" / NAME / "test_results" / NAME).glob("test_observations.xunit.xml")
    suite = ElementTree.parse(result).getroot().find("testsuite")
    assert int(suite.get("tests")) > 20 and suite.get("failures") == suite.get("errors") == "0"
