"""The tree reads as the data flows: imports point backwards only, and ROS stays in its folder."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "latent_policy_ros"
ORDER = (
    "common", "embodiments", "retargeting", "latent", "observations", "data", "policy", "control", "drivers", "sim", "bringup",
    "nodes", "cli",
)  # fmt: skip
#: Folders that a folder must not import although they stand before it: a data set does not depend on a latent space.
INDEPENDENT = {"data": ("latent",)}
MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_folder_imports_only_what_stands_before_it(path):
    own = path.parts[0].removesuffix(".py")
    assert own in ORDER, f"{own} has no place in the order"
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("latent_policy_ros.") and part(name) not in ("msg", own):
                assert ORDER.index(part(name)) < ORDER.index(own), f"{path}:{node.lineno} imports {name}"
                assert part(name) not in INDEPENDENT.get(own, ()), f"{path}:{node.lineno} imports {name}"
            if name.split(".")[0] in ("rclpy", "launch", "launch_ros"):
                assert own == "nodes", f"{path}:{node.lineno} imports {name}"


def test_everything_but_the_nodes_imports_without_rclpy():
    modules = [".".join(("latent_policy_ros", *p.with_suffix("").parts)) for p in MODULES]
    modules = [m.removesuffix(".__init__") for m in modules if ".nodes" not in m]
    code = "import sys, importlib\nsys.modules['rclpy'] = None\nfor m in sys.argv[1:]: importlib.import_module(m)"
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module, needs",
    [
        ("nodes.decoder_node", ()),
        ("nodes.hand_driver_node", ()),
        ("nodes.recorder_node", ("cv2",)),
        ("nodes.sim_node", ("mujoco", "pinocchio")),
        ("policy.runtime", ("torch", "diffusers")),
    ],
)
def test_what_starts_beside_a_robot_imports_no_more_than_it_needs(module, needs):
    """Seconds, for which a robot waits when the process is started again."""
    if module.startswith("nodes."):
        pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
    heavy = ("torch", "torch._dynamo", "diffusers", "mujoco", "numba", "pinocchio", "cv2", "matplotlib", "scipy")
    code = f"import sys, latent_policy_ros.{module}; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= set(needs)
