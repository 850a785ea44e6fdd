"""The whole suite runs in a ROS domain of its own, on this machine only, with field types checked."""

import faulthandler
import os

import pytest

from latent_policy_ros.common.ros_environment import node_environment, private_domain

pytest_plugins = ("fleet_files",)

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # read when the messages are imported
os.environ.update(node_environment())

HANG = 330.0  # s: more than pytest's timeout, whose signal does not reach a call of the middleware that never returns


def pytest_configure(config):
    config.stderr = os.dup(2)  # later ones are captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs ends the run, and shows where it was."""
    faulthandler.dump_traceback_later(HANG, exit=True, file=item.config.stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session", autouse=True)
def ros_domain():
    """The variables of the suite's own domain."""
    with private_domain() as variables:
        os.environ.update(variables)
        yield variables
