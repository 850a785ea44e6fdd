"""A process notices that its parent ended; Ctrl-C that Python loses is noticed later."""

import signal
import subprocess
import sys

import pytest

from latent_policy_ros.common.processes import lasting_interrupt

CHILD = """
import time
from latent_policy_ros.common.processes import watch_parent
alive = watch_parent()
assert alive()
print("watching", flush=True)
while alive():
    time.sleep(0.01)
print("ended", flush=True)
"""


def test_a_process_notices_that_its_parent_was_killed():
    middle = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "watching\n"
    parent.kill()
    assert parent.stdout.readline() == "ended\n"
    parent.wait()


class Interrupted:
    """Receives Ctrl-C while its destructor runs."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def default_handler():
    """Background jobs of scripts ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_ignores_is_raised_later(default_handler):
    with lasting_interrupt() as check:
        check()
        made = Interrupted()
        del made  # Python prints the KeyboardInterrupt and continues
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is default_handler
