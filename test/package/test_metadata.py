"""What the package says of itself in package.xml, CMakeLists.txt, setup.py and requirements/ is one and the same."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
NAME = "latent_policy_ros"
NODES = sorted(path.stem for path in (ROOT / NAME / "nodes").glob("*_node.py"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
DISTRIBUTIONS = {  # import name -> name in requirements/core.txt, where they differ
    "cv2": "opencv-python-headless", "example_robot_data": "example-robot-data", "mcap_ros2": "mcap-ros2-support",
    "pinocchio": "pin", "pydantic_core": "pydantic", "yaml": "PyYAML",
}  # fmt: skip
ROSDEP = {  # rosdep key (rosdistro/rosdep/python.yaml) or ROS package -> name in requirements/core.txt
    "pinocchio": "pin", "python3-joblib": "joblib", "python3-matplotlib": "matplotlib", "python3-mujoco-pip": "mujoco",
    "python3-numba": "numba", "python3-numpy": "numpy", "python3-opencv": "opencv-python-headless", "python3-pytorch-pip": "torch",
    "python3-rich": "rich", "python3-rosbags-pip": "rosbags", "python3-transforms3d": "transforms3d",
    "python3-yaml": "PyYAML",
}  # fmt: skip
OPTIONAL = {
    "rerun", "OpenGL", "google", "tf_transformations", "message_filters", "launch", "launch_ros", "lifecycle_msgs",
    "ament_index_python",
}  # fmt: skip
EXTRAS = {"tensorboard", "transformers", "distributed", "ray", "zarr", "mediapipe"}  # optional, in extras_require of setup.py


def requirement_lines(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements" / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.fixture(scope="module")
def manifest():
    package = pytest.importorskip("catkin_pkg.package")
    warnings = []
    parsed = package.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    assert not warnings
    return parsed


@pytest.fixture(scope="module")
def distribution():
    core = pytest.importorskip("setuptools") and __import__("distutils.core", fromlist=["run_setup"])
    before = os.getcwd()
    try:
        os.chdir(ROOT)
        yield core.run_setup("setup.py", stop_after="init")
    finally:
        os.chdir(before)


def top_level_imports():
    """Import name -> the modules that import it, of everything in the package."""
    found = {}
    for path in (ROOT / NAME).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    return {k: v for k, v in found.items() if k not in sys.stdlib_module_names and k != NAME}


def test_the_manifest_is_an_ament_cmake_package_with_messages(manifest):
    assert manifest.name == NAME and manifest.package_format == 3
    assert manifest.get_build_type() == "ament_cmake"
    assert [group.name for group in manifest.member_of_groups] == ["rosidl_interface_packages"]
    assert manifest.licenses == ["Apache-2.0"] and "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_version_is_that_of_the_manifest(manifest, distribution):
    import latent_policy_ros

    assert manifest.version == distribution.get_version() == latent_policy_ros.__version__


def test_every_message_is_generated():
    listed = set(re.findall(r"((?:msg|action)/\w+\.\w+)", (ROOT / "CMakeLists.txt").read_text()))
    assert listed == {f"{path.parent.name}/{path.name}" for kind in ("msg", "action") for path in (ROOT / kind).glob(f"*.{kind}")}


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_a_main_function(node):
    tree = ast.parse((ROOT / NAME / "nodes" / f"{node}.py").read_text())
    assert "main" in [item.name for item in tree.body if isinstance(item, ast.FunctionDef)]


def test_the_only_console_script_is_the_command_line(distribution):
    assert [re.sub(r"\s", "", line) for line in distribution.entry_points["console_scripts"]] == [f"latent-policy={NAME}.cli:main"]


@pytest.mark.skipif(not (Path(sys.prefix) / "share" / NAME / "package.xml").is_file(), reason="not installed here")
@pytest.mark.parametrize("name", [*NODES, "latent-policy"])
def test_executables_are_installed_for_ros2_run(name):
    for folder in (f"lib/{NAME}", *(["bin"] if name == "latent-policy" else [])):
        file = Path(sys.prefix) / folder / name
        assert os.access(file, os.X_OK), f"{file}: not there; type: make setup"
        assert file.read_text().startswith(f"#!{Path(sys.prefix)}/bin/python"), file


@pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "latent-policy").is_file(), reason="not installed here")
def test_the_installed_command_runs_anywhere(tmp_path):
    command = [Path(sys.prefix) / "bin" / "latent-policy", "embodiments", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "panda_gripper" in done.stdout, done.stderr


def test_every_library_that_is_imported_is_required():
    required = {r.name for r in requirement_lines("core.txt")}
    for name, users in top_level_imports().items():
        if name.endswith(("_msgs", "_srvs", "_interfaces")) or name == "rclpy" or name in OPTIONAL | EXTRAS:
            continue
        assert DISTRIBUTIONS.get(name, name) in required, f"{name}, imported by {sorted(users)}, is not in requirements/core.txt"


def test_rosdep_keys_and_the_workspace_file_name_every_library(manifest):
    """In a ROS 2 workspace each library comes from rosdep or from requirements/workspace.txt, and none from both."""
    keys = {d.name for d in manifest.exec_depends}
    by_rosdep = {library for key, library in ROSDEP.items() if key in keys}
    by_pip = {requirement.name for requirement in requirement_lines("workspace.txt")}
    assert set(ROSDEP) <= keys and not by_rosdep & by_pip
    assert by_rosdep | by_pip == {requirement.name for requirement in requirement_lines("core.txt")}
    assert "numpy" not in by_pip  # that of the distribution stays, for which ROS packages were built


def test_optional_libraries_are_extras(distribution):
    lines = {line for extra in distribution.extras_require.values() for line in extra}
    assert {Requirement(line).name for line in lines - set(distribution.extras_require["hardware"])} == EXTRAS


def test_every_ros_package_that_is_imported_is_in_the_manifest(manifest):
    declared = {d.name for d in (*manifest.exec_depends, *manifest.build_depends)}
    for name, users in top_level_imports().items():
        if name.endswith(("_msgs", "_srvs", "_interfaces")) or name == "rclpy":
            assert name in declared, f"{name}, imported by {sorted(users)}, is not in package.xml"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_once_for_every_python(python):
    environment = {"python_version": python, "sys_platform": "linux", "platform_system": "Linux"}
    pins = {}
    for pin in requirement_lines("constraints.txt"):
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in pins, f"{pin.name} is pinned twice for Python {python}"
            pins[pin.name] = str(pin.specifier)
    for requirement in (*requirement_lines("core.txt"), *requirement_lines("build.txt")):
        pin = pins.get(requirement.name, "")
        assert pin.startswith("=="), f"{requirement.name} has no version for Python {python}; see requirements/lock.py"
        assert requirement.specifier.contains(pin[2:]), f"{requirement} against {requirement.name}{pin}"


def test_every_ros_wheel_is_pinned_by_hash():
    text = re.sub(r"^#.*\n", "", (ROOT / "requirements" / "ros.txt").read_text(), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 80
    for entry in entries:
        assert re.match(r"ros-[\w-]+==\S+ \\\n(\s+--hash=sha256:[0-9a-f]{64}( \\\n|$))+", entry), entry


def test_every_driver_with_a_library_has_an_extra(distribution):
    from latent_policy_ros.drivers.registry import DRIVERS

    lines = {"dynamixel", "feetech", "franka", "inspire", "orca", "robotiq"}
    others = {"hardware", "dinov2", "tensorboard", "dask", "ray", "zarr", "webcam"}
    assert set(distribution.extras_require) == others | lines and lines < set(DRIVERS.names())
    required = {Requirement(line).name for line in distribution.extras_require["hardware"]}
    tested = {requirement.name.replace("_", "-") for requirement in requirement_lines("build.txt")}
    assert required <= tested
