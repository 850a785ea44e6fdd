"""One contract for every driver: it runs over the mock, and over the simulator's client where a simulator can run."""

import numpy as np
import pytest

from latent_policy_ros.drivers.base import Driver, JointReading
from latent_policy_ros.drivers.mock import MockDriver
from latent_policy_ros.errors import HardwareError

NAMES = ("one", "two", "three")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def driver(clock):
    return MockDriver(NAMES, np.zeros(3), time_constant=0.02, clock=clock)


def test_it_is_a_driver_and_names_its_joints_while_disconnected(driver):
    assert isinstance(driver, Driver) and driver.joint_names == NAMES


def test_it_refuses_to_work_while_disconnected(driver):
    for call in (driver.read, lambda: driver.write(np.zeros(3))):
        with pytest.raises(HardwareError, match="not connected"):
            call()
    driver.close()
    driver.close()


def test_it_goes_where_it_is_sent(driver, clock):
    driver.connect()
    np.testing.assert_array_equal(driver.write(np.array([0.1, -0.2, 0.3])), [0.1, -0.2, 0.3])
    clock.now += 0.01
    halfway = driver.read()
    assert isinstance(halfway, JointReading) and halfway.stamp == clock.now
    assert 0.02 < halfway.position[0] < 0.09 and halfway.velocity[0] > 0
    clock.now += 1.0
    np.testing.assert_allclose(driver.read().position, [0.1, -0.2, 0.3], atol=1e-9)


def test_readings_are_copies(driver):
    driver.connect()
    driver.read().position[:] = 9
    np.testing.assert_array_equal(driver.read().position, np.zeros(3))


@pytest.mark.parametrize("bad, word", [(np.zeros(2), "shape"), (np.array([0, np.nan, 0]), "two")])
def test_malformed_commands_raise(driver, bad, word):
    driver.connect()
    with pytest.raises(ValueError, match=word):
        driver.write(bad)
