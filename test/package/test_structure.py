"""Layering of the package: import direction, import cycles, rclpy only in the nodes, size of folders, start-up imports."""

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
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
MODULES = [p.relative_to(PACKAGE) for p in FILES]
NAMES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}


def imports(path):
    """(line, imported module) of every import in a file, relative ones and those inside functions included."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield node.lineno, submodule if submodule in NAMES else module


def folder(module):
    """The folder of the package that a module is in; empty for modules of other packages."""
    return module.split(".")[1] if module.startswith("latent_policy_ros.") else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_folder_imports_only_folders_before_it(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in ORDER, f"{own} has no place in ORDER"
    for line, module in imports(path):
        other = folder(module)
        if other and other not in ("msg", "action", own):
            assert ORDER.index(other) < ORDER.index(own), f"{path}:{line} imports {module}"
            assert other not in INDEPENDENT.get(own, ()), f"{path}:{line} imports {module}"
        if module.split(".")[0] in ("rclpy", "launch", "launch_ros"):
            assert own == "nodes", f"{path}:{line} imports {module}"


def test_relative_imports_are_followed(tmp_path, monkeypatch):
    file = PACKAGE / "data" / "bags" / "made_up.py"
    monkeypatch.setattr(Path, "read_text", lambda self: "def f():\n    from ...sim import world\n    from .. import issues\n")
    assert [module for _, module in imports(file)] == ["latent_policy_ros.sim.world", "latent_policy_ros.data.issues"]


def test_no_import_cycles():
    """Not even inside functions: a module that is needed by what it needs belongs with it, or apart."""
    graph = {name: {m for _, m in imports(path) if m in NAMES and m != name} for name, path in NAMES.items()}
    waiting, cycle = dict(graph), []
    while free := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in free:
            del waiting[name]
    if waiting:  # walk until a module comes again
        cycle = [next(iter(waiting))]
        while (following := min(waiting[cycle[-1]] & waiting.keys())) not in cycle:
            cycle.append(following)
        cycle = [*cycle[cycle.index(following) :], following]
    assert not cycle, " -> ".join(cycle)


def test_folders_stay_rooms():
    counts = {}
    for path in FILES:
        counts[path.parent] = counts.get(path.parent, 0) + (path.name != "__init__.py")
    crowded = {str(parent.relative_to(ROOT)): count for parent, count in counts.items() if count > 17}
    assert not crowded, f"more than 17 modules in one folder: {crowded}"


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
        ("nodes.sim_node", ("mujoco", "pinocchio", "numba")),
        ("policy.runtime", ("torch", "pinocchio")),
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
