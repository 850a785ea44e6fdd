"""Fault runs: unplugged in motion, silence, damaged answers, garbage and a slow bus, for every driver with a line."""

import os
import socketserver
import sys
import threading
import time

import numpy as np
import pytest
from driver_cases import CASES, SERIAL, make_case

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.drivers.base import JointReading
from latent_policy_ros.drivers.bus import threaded
from latent_policy_ros.drivers.registry import make_driver


@pytest.fixture(params=SERIAL)
def case(request, tmp_path):
    case = make_case(request.param, tmp_path)
    case.driver.connect()
    case.driver.write(case.goal)
    case.settle()
    yield case
    case.close()


def control(case, seconds, period=0.005):
    """Call the driver as a control loop does. Returns the durations [s] of the calls and the stamps."""
    durations, stamps, until = [], [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        stamps.append(case.driver.read().stamp)
        case.driver.write(case.goal + 0.01 * np.sin(20 * began))
        durations.append(time.perf_counter() - began)
        time.sleep(period)
    return durations, stamps


def fails(case, words, seconds=2.0):
    """The driver raises HardwareError with these words, and no call before it blocks."""
    durations, until = [], time.monotonic() + seconds
    with pytest.raises(HardwareError, match=words) as raised:
        while time.monotonic() < until:
            durations.extend(control(case, 0.02)[0])
    assert np.median([0.0, *durations]) < 0.008
    return str(raised.value)


def resumes(case):
    """The driver connects again and follows commands."""
    case.driver.connect()
    case.driver.write(0.5 * case.goal)
    case.settle()
    np.testing.assert_allclose(case.driver.read().position, 0.5 * case.goal, atol=case.tolerance)


def test_single_damaged_answer_is_no_fault(case):
    case.line.corrupt = 1
    case.settle()
    assert case.line.corrupt == 0
    np.testing.assert_allclose(case.driver.read().position, case.goal, atol=case.tolerance)


def test_unplugged_in_motion(case):
    control(case, 0.05)
    case.line.unplug()
    assert str(case.line.path) in fails(case, "connection lost|no valid answer|no answer")
    with pytest.raises(HardwareError, match=f"no serial port {case.line.path}; is it plugged in"):
        case.driver.connect()
    for call in (case.driver.read, lambda: case.driver.write(case.goal)):
        with pytest.raises(HardwareError, match="not connected"):
            call()
    case.line.plug_in()
    resumes(case)


def test_silence(case):
    case.line.silent = True
    fails(case, "no answer|no valid answer")
    with pytest.raises(HardwareError, match="no motor answers at|no valid answer of device"):
        case.driver.connect()
    case.line.silent = False
    resumes(case)


def test_damaged_answers(case):
    case.line.corrupt = 10**6
    fails(case, "damaged answer|no valid answer|no answer")
    case.line.corrupt = 0
    resumes(case)


def test_garbage_on_the_line_is_never_a_measurement(case):
    over = threading.Event()

    def flood():
        while not over.is_set():
            case.line.inject(os.urandom(64))
            time.sleep(0.001)

    thread, until = threading.Thread(target=flood, daemon=True), time.monotonic() + 0.4
    thread.start()
    try:
        while time.monotonic() < until:
            np.testing.assert_allclose(case.driver.read().position, case.goal, atol=case.tolerance)
    except HardwareError as error:
        assert str(case.line.path) in str(error)
    finally:
        over.set()
        thread.join()
    resumes(case)


def test_slow_bus_does_not_delay_the_control_loop(case):
    case.line.delay = 0.008
    durations, stamps = control(case, 0.5)
    assert np.median(durations) < 0.008 and len(durations) > 20
    assert 3 <= len(set(stamps)) < 0.8 * len(stamps)  # measurements are late, and keep their own time


def test_slow_orca_hand_does_not_delay_the_control_loop(tmp_path):
    case = make_case("orca", tmp_path)
    case.driver.connect()
    hand = case.driver._worker.connection._hand
    measure = hand.get_joint_position
    hand.get_joint_position = lambda: (time.sleep(0.03), measure())[1]
    durations, stamps = control(case, 0.5)
    case.close()
    assert np.median(durations) < 0.008 and 3 <= len(set(stamps)) < 0.8 * len(stamps)


def test_garbage_over_the_network_is_never_a_measurement(tmp_path):
    case = make_case("inspire_tcp", tmp_path)
    case.closing()
    case.closing = lambda: None
    port = int(case.name.rpartition(":")[2])

    class Garbage(socketserver.BaseRequestHandler):
        def handle(self):
            while self.request.recv(4096):
                self.request.sendall(os.urandom(29))

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Garbage) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(HardwareError, match=f"inspire at tcp://127.0.0.1:{port}: "):
            case.driver.connect()
        server.shutdown()
    case.close()


class Blocked:
    """Hardware whose exchange never ends, until it is closed."""

    def __init__(self):
        self.open, self.block = threading.Event(), False

    def measure(self):
        if self.block:
            self.open.wait(10.0)
            raise OSError("closed")
        return JointReading(time.time(), np.zeros(1), np.zeros(1))

    def send(self, position):
        pass

    def close(self):
        self.open.set()


class BlockedDriver(threaded.ThreadedDriver):
    def open(self):
        self.connection = Blocked()
        return self.connection


def test_exchange_that_never_ends_is_a_fault(monkeypatch):
    monkeypatch.setattr(threaded, "NO_ANSWER", 0.05)
    driver = BlockedDriver(("one",), "blocked at x")
    driver.connect()
    driver.read()
    driver.connection.block = True
    began = time.monotonic()
    with pytest.raises(HardwareError, match="blocked at x: no measurement for 0.05 s; the bus is slow or blocked"):
        while time.monotonic() < began + 2.0:
            driver.read()
    driver.close()
    assert time.monotonic() - began < 1.0


def test_last_command_is_sent_when_the_driver_is_closed(case):
    case.driver.write(0.2 * case.goal)
    case.driver.close()
    case.driver.connect()
    np.testing.assert_allclose(case.driver.read().position, 0.2 * case.goal, atol=case.tolerance)


@pytest.mark.parametrize("name", CASES)
def test_library_that_is_not_installed_is_named_with_its_extra(name, tmp_path, monkeypatch):
    case = make_case(name, tmp_path)
    extra = name.partition("_")[0]
    module = {"dynamixel": "dynamixel_sdk", "feetech": "scservo_sdk", "orca": "orca_core"}.get(extra, "pymodbus.client")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HardwareError, match=rf"{module} is not installed; type: pip install 'latent_policy_ros\[{extra}\]'"):
        make_driver(case.name, case.setup)
    case.close()
