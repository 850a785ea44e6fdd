"""Parameters of nodes as their source declares them, against the real nodes."""

import pytest

from latent_policy_ros.bringup.node_parameters import (
    CAMERA_NODE,
    FLEET_NODES,
    ROBOT_NODES,
    UNKNOWN,
    checked_parameters,
    declared_parameters,
)

pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
pytest.importorskip("latent_policy_ros.msg", reason="needs the generated messages", exc_type=ImportError)


def test_declared_parameters_are_those_of_the_nodes(ros_domain):
    import rclpy

    from latent_policy_ros.nodes.node_reference import NODES, _parameters

    rclpy.init()
    try:
        entries = {entry.executable: entry for entry in NODES}
        for executable in (*ROBOT_NODES.values(), *FLEET_NODES.values(), CAMERA_NODE):
            node = entries[executable].make()
            real = {name: value for name, (value, _) in _parameters(node).items()}
            node.destroy_node()
            declared = declared_parameters(executable)
            assert set(real) - set(declared) <= {"use_sim_time", "start_type_description_service"}, executable
            for name, default in declared.items():
                assert default is UNKNOWN or default == real[name], f"{executable}: {name}"
    finally:
        rclpy.try_shutdown()


def test_whole_numbers_become_doubles():
    assert checked_parameters("decoder_node", "decoder", {"blend": 0, "qos_overrides./x.publisher.depth": 3}) == {
        "blend": 0.0, "qos_overrides./x.publisher.depth": 3,
    }  # fmt: skip
