"""Short run of the seeded fuzzer of benchmarks/fuzz.py: hostile messages on all inputs of all nodes of a robot."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from latent_policy_ros.nodes.base import driver_node  # noqa: E402

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    if not FILE.is_file():
        pytest.skip("needs the source checkout")
    spec = importlib.util.spec_from_file_location("fuzz", FILE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fuzz", module)
        spec.loader.exec_module(module)
        yield module


def test_nodes_survive_hostile_messages(fuzz, graph, artifacts, space, tmp_path, monkeypatch):
    monkeypatch.setattr(driver_node, "make_driver", driver_node.make_driver)  # restored after the test
    texts = []
    judges = fuzz.judge_drivers(texts.append)
    nodes = {}
    for name in fuzz.NODES:
        namespace, parameters = fuzz.node_parameters(name, tmp_path)
        parameters |= {"latent": artifacts.latent} if not name.endswith("driver") else {}
        parameters |= {"policy": artifacts.policy} if name in ("policy", "recorder") else {}
        parameters |= {"recorder": {"min_free": 0.01}, "human_hand": {"mode": "direct"}}.get(name, {})
        nodes[name] = graph.add(lambda name=name, **options: fuzz.make_node(name, **options), namespace, **parameters)
    fuzzer = fuzz.Fuzzer(graph.probe, fuzz.inputs(space.dim, space.latent_id), seed=1, variants=60)
    graph.run(0.5)

    def send():
        for _ in range(20):
            fuzzer.send()

    graph.until(lambda: fuzzer.sent >= 2000, 60.0, "messages", send)
    failed = {
        f"{name}: {event}: {node.details[event]}" for name, node in nodes.items() for event in node.counts if "failed" in event
    }
    assert not failed and texts == []
    assert all(node.active for node in nodes.values()) and all(judge.commands for judge in judges)
    for name in ("decoder", "policy", "gripper_driver", "recorder"):
        assert any("refused" in event or "damaged" in event for event in nodes[name].counts), (name, nodes[name].counts)


def test_judge_finds_bad_commands(fuzz):
    import numpy as np

    texts = []
    judge = fuzz.Judge(np.zeros(2), np.ones(2), np.ones(2), texts.append)
    for command in ([0.5, 0.5], [0.5, np.nan], [0.5, 1.1], [0.9, 0.5]):
        judge.write(np.array(command))
    assert dict(judge.found) == {"not finite": 1, "outside of the limits": 1, "too fast": 2} and len(texts) == 4
