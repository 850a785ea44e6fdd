"""The whole suite runs in a ROS domain of its own, on this machine only, with field types checked."""

import os

import pytest

from latent_policy_ros.ros_env import node_environment, private_domain

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # read when the messages are imported
os.environ.update(node_environment())


@pytest.fixture(scope="session", autouse=True)
def ros_domain():
    """The variables of the suite's own domain."""
    with private_domain() as variables:
        os.environ.update(variables)
        yield variables
