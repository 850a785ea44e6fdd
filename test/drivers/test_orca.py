"""ORCA driver on the mock motors of orca_core."""

import numpy as np
import pytest
from driver_cases import make_case

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import DriverSetup
from latent_policy_ros.drivers.registry import make_driver
from latent_policy_ros.embodiments import load_embodiment


@pytest.fixture
def case(tmp_path):
    case = make_case("orca", tmp_path)
    yield case
    case.close()


def hand(case):
    return case.driver._worker.connection._hand


def test_torque_is_switched_on_by_the_first_command(case):
    case.driver.connect()
    case.settle()
    client = hand(case).motor_client
    assert not any(client._torque_enabled.values())
    case.driver.write(case.goal)
    case.settle()
    assert all(client._torque_enabled.values())
    case.driver.close()
    assert not any(client._torque_enabled.values())


def test_motors_that_do_not_answer_are_a_fault_and_come_back(case):
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    hand(case).motor_client.last_read_ok = False
    with pytest.raises(HardwareError, match="orca at .*config.yaml: no answer of the motors"):
        for _ in range(200):
            case.driver.read()
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    np.testing.assert_allclose(case.driver.read().position, case.goal, atol=1e-6)


def test_hand_that_is_not_calibrated_is_refused(case, tmp_path):
    driver = make_driver(f"orca@{tmp_path}/config.yaml", case.setup)
    with pytest.raises(HardwareError, match="the hand is not calibrated; calibrate it with orca_core first"):
        driver.connect()


def test_ranges_are_those_of_the_embodiment(tmp_path):
    orca = make_case("orca", tmp_path)
    e = load_embodiment("orca_hand")
    driver = make_driver(orca.name, DriverSetup(e.joint_names, e.rest, lower=e.lower, upper=e.upper))
    np.testing.assert_allclose(driver.hardware_range(), np.stack([e.lower, e.upper], 1), atol=1e-4)


def test_mistakes_in_an_address(case, tmp_path):
    with pytest.raises(HardwareError, match="driver orca: .*no_such.yaml"):
        make_driver(f"orca@{tmp_path}/no_such.yaml", case.setup)
    with pytest.raises(HardwareError, match="missing joints tail; got wrist, thumb_cmc"):
        make_driver(case.name, DriverSetup(("tail",), np.zeros(1)))
