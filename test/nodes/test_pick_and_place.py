"""The scripted expert's action chunks through the whole graph in real time: both robots place their cubes."""

import time

import numpy as np
import pytest

from latent_policy_ros import bringup
from latent_policy_ros.bringup.supervisor import Supervisor
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import ActionChunk

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)

from std_srvs.srv import Trigger  # noqa: E402

from latent_policy_ros.msg import EpisodeEvent, LatentAction  # noqa: E402
from latent_policy_ros.nodes.topics import message_conversion, qos  # noqa: E402
from latent_policy_ros.sim.tasks.motion import DT  # noqa: E402
from latent_policy_ros.sim.world import World  # noqa: E402

ROBOTS = {"left": "mimic_hand", "right": "panda_gripper"}
LATENCY = 0.08  # s from an observation to its chunk
HORIZON = 16


class Expert:
    """Action chunks of a perfect policy for one robot: the expert's trajectory from now on, encoded."""

    def __init__(self, embodiment, space, seed):
        world = World(embodiment)
        world.reset(seed)
        self.steps, self.space = world.task.expert(world), space
        self.latents = space.encode(embodiment, world.embodiment.to_action(self.steps.hand))
        self.seconds = len(self.steps) * DT

    def chunk(self, stamp, began, number):
        steps = [(stamp - began) / DT + k for k in range(HORIZON)]
        poses = np.stack([self._at(self.steps.wrist, step) for step in steps])
        poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
        latents = np.stack([self._at(self.latents, step) for step in steps])
        return ActionChunk(stamp, DT, latents, poses, self.space.latent_id, "expert", number)

    def _at(self, values, step):
        step = np.clip(step, 0, len(values) - 1)
        before = min(int(step), len(values) - 2)
        return (1 - (step - before)) * values[before] + (step - before) * values[before + 1]


@pytest.fixture
def shipped():
    try:
        return LatentSpace.load(artifact("latents", "default"))
    except FileNotFoundError:
        pytest.skip("no latent space is shipped")


@pytest.fixture
def fleet(artifacts, shipped, tmp_path):
    file = tmp_path / "fleet.yaml"
    robots = "\n".join(f"  {r}: {{embodiment: {e}, cameras: [front], driver: sim}}" for r, e in ROBOTS.items())
    file.write_text(f"policy: {artifacts.policy}\nlatent: default\nrobots:\n{robots}\n")
    return bringup.load_fleet(file)


def test_both_robots_place_their_cubes(graph, fleet, shipped, tmp_path):
    try:
        World("panda_gripper").render("front")
    except Exception as error:
        pytest.skip(f"cannot draw: {error}")
    done = {robot: graph.listen(EpisodeEvent, f"{robot}/robot_event", qos.EVENTS) for robot in ROBOTS}
    specs = [spec for spec in bringup.node_specs(fleet) if spec.name != "policy"]
    with Supervisor(specs, log_folder=tmp_path / "log") as up:
        experts = {robot: Expert(embodiment, shipped, seed=0) for robot, embodiment in ROBOTS.items()}
        for robot in ROBOTS:
            client = graph.probe.create_client(Trigger, f"{robot}/sim/reset")
            graph.until(client.service_is_ready, 60, f"{robot}'s simulator")
        graph.run(3.0)  # drivers connect
        for robot in ROBOTS:
            client = graph.probe.create_client(Trigger, f"{robot}/sim/reset")
            graph.until(client.service_is_ready)
            future = client.call_async(Trigger.Request())
            graph.until(future.done, 10, f"{robot}'s reset")
        graph.run(0.5)
        succeeded = lambda robot: any(message.event == "success" for _, message in done[robot])
        began, number = time.time(), 0
        limit = max(expert.seconds for expert in experts.values()) + 2.0
        while time.time() - began < limit and not all(map(succeeded, ROBOTS)):
            stamp, number = time.time(), number + 1
            graph.run(LATENCY)
            for robot, expert in experts.items():
                message = message_conversion.latent_action(expert.chunk(stamp, began, number), "")
                graph.publish(LatentAction, f"{robot}/latent_action", qos.LATENTS, message)
            graph.run(max(0.0, DT - (time.time() - stamp)))
        assert up.poll() == {}
    assert {robot: succeeded(robot) for robot in ROBOTS} == dict.fromkeys(ROBOTS, True)
