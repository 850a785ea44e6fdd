"""Fixtures: a recorder of one robot, and calls of its services."""

import pytest


@pytest.fixture
def robot(fake_robot):
    return fake_robot("left", "mimic_hand", ("front",))


@pytest.fixture
def recorder(graph, artifacts, tmp_path, robot):
    from recordings import FLEET

    from latent_policy_ros.nodes.recorder_node import Recorder

    node = graph.add(Recorder, robots=["left"], cameras=["front"], embodiments=["mimic_hand"], folder=str(tmp_path / "bags"),
                     fleet=FLEET, policy=artifacts.policy, latent=artifacts.latent, min_free=0.001, silent_after=0.4,
                     start_wait=0.6)  # fmt: skip
    graph.run(0.7, robot.publish)  # discovery
    return node


@pytest.fixture
def call(graph):
    """Call one of the recorder's services while ``each`` publishes."""
    from std_srvs.srv import Trigger

    def call(name, each=lambda: None):
        client = graph.probe.create_client(Trigger, f"/recorder/{name}")
        graph.until(client.service_is_ready, what=name)
        graph.run(0.1, each, 0.03)
        future = client.call_async(Trigger.Request())
        graph.until(future.done, what=name, each=each)
        return future.result()

    return call
