"""The whole suite runs in a ROS domain of its own, on this machine only, with field types checked."""

import os
import sys

import pytest

from latent_policy_ros.ros_env import private_domain

os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")  # read when the messages are imported
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def ros_domain():
    """The variables of the suite's own domain."""
    with private_domain() as variables:
        os.environ.update(variables)
        yield variables
