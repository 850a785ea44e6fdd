"""Worker pools: end with the parent, cancel on errors, and leave Ctrl-C to the parent."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from latent_policy_ros.common.processes import worker_pool

PARENT = """
import os, time
from latent_policy_ros.common.processes import worker_pool
with worker_pool(2) as pool:
    pids = {pool.submit(os.getpid).result() for _ in range(2)}
    sleeping = [pool.submit(time.sleep, 60) for _ in range(4)]
    time.sleep(0.3)
    print(*pids, flush=True)
    time.sleep(60)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals exist on Linux only")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_when_the_parent_is_killed(number):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers and all(alive(pid) for pid in workers)
    parent.send_signal(number)
    assert parent.wait(10) == -number
    end = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < end, "workers continue without their parent"
        time.sleep(0.05)


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


def test_error_cancels_tasks_that_have_not_started():
    with pytest.raises(KeyError), worker_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        futures = [pool.submit(time.sleep, 0.2) for _ in range(50)]
        raise KeyError("stop")
    assert sum(f.cancelled() for f in futures) > 40


CTRL_C = """
import time
from latent_policy_ros.common.processes import worker_pool
try:
    with worker_pool(2) as pool:
        futures = [pool.submit(time.sleep, 60) for _ in range(2)]
        print("started", flush=True)
        futures[0].result()
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("after", [0.0, 0.1, 3.0])
def test_only_the_parent_handles_ctrl_c(after):
    """SIGINT goes to all processes of the group, as from a terminal, during and after the start of workers."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs of scripts ignore it
    parent = subprocess.Popen([sys.executable, "-c", CTRL_C], **pipes, start_new_session=True, preexec_fn=listen)
    assert parent.stdout.readline() == "started\n"
    time.sleep(after)
    os.killpg(parent.pid, signal.SIGINT)
    out, errors = parent.communicate(timeout=20)
    assert (out, errors, parent.returncode) == ("stopped\n", "", 0)
