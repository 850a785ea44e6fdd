"""The whole suite runs in a ROS domain of its own, on this machine only, with field types checked."""

import faulthandler
import os
import traceback

import pytest

from latent_policy_ros.common.ros_environment import node_environment, private_domain

pytest_plugins = ("fleet_files",)

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # read when the messages are imported
os.environ.update(node_environment())

HANG = 330.0  # s: more than pytest's timeout, whose signal does not reach a call of the middleware that never returns


def pytest_configure(config):
    config.stderr = os.dup(2)  # later ones are captured


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from ends_when_it_hangs(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from ends_when_it_hangs(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    return (yield from ends_when_it_hangs(item))


def ends_when_it_hangs(item):
    """A phase of a test that hangs ends the run, and shows where it was.

    Each phase has its own timer: pytest's is off after a failure, that is in the teardown and when the test is repeated.
    """
    faulthandler.dump_traceback_later(HANG, exit=True, file=item.config.stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """The traceback of a failure would keep the test's nodes in the graph, where they disturb the tests that follow."""
    try:
        return (yield)
    finally:
        if call.excinfo is not None:
            traceback.clear_frames(call.excinfo.tb)
            for frame, _ in traceback.walk_tb(call.excinfo.tb):
                frame.f_locals  # noqa: B018  # reading it removes cleared variables from the copy that a frame keeps


@pytest.fixture(scope="session", autouse=True)
def ros_domain():
    """The variables of the suite's own domain."""
    with private_domain() as variables:
        os.environ.update(variables)
        yield variables
