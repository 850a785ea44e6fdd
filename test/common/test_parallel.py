"""Workers: all results once, jobs of killed workers run again, workers end with the caller; shards."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.parallel import BACKENDS, Shard, Workers

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # of the cluster that the tests start


@pytest.mark.timeout(280)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_job_has_one_result_although_a_worker_is_killed(backend, tmp_path):
    if backend != "loky":
        pytest.importorskip({"dask": "distributed"}.get(backend, backend))

    def square(number: int) -> tuple[int, int]:
        """The first worker that is given 3 is killed."""
        if number == 3 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number, os.getpid()

    results = list(Workers(2, backend).run(square, range(12)))
    assert sorted(square for square, _ in results) == [n * n for n in range(12)]
    assert os.getpid() not in {process for _, process in results} and (tmp_path / "killed").exists()


def test_one_worker_is_this_process():
    assert list(Workers(1).run(lambda _: os.getpid(), range(3))) == [os.getpid()] * 3


@pytest.mark.parametrize("count", [1, 2])
def test_error_of_a_job_reaches_the_caller(count):
    with pytest.raises(ZeroDivisionError):
        list(Workers(count).run(partial(divmod, 1), [1, 0, 1, 1]))


def test_unknown_backend_is_refused():
    with pytest.raises(LatentPolicyError, match="--backend: expected loky, ray, dask, got 'slurm'"):
        list(Workers(2, "slurm").run(abs, [1, 2]))


PARENT = """
import os, time
from latent_policy_ros.common.parallel import Workers
def job(seconds):
    time.sleep(seconds)
    return os.getpid()
pids = set()
try:
    for pid in Workers(2).run(job, [0.5] * 4 + [60.0] * 4):
        pids.add(pid)
        if len(pids) == 2:
            print(*pids, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="parent death signals exist on Linux only")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_caller(number):
    """SIGINT goes to all processes of the group, as from a terminal."""
    listen = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # background jobs of scripts ignore it
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], **pipes, start_new_session=True, preexec_fn=listen)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2 and all(alive(pid) for pid in workers)
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)
        out, error = parent.communicate(timeout=20)
        assert out == "stopped\n" and parent.returncode == 0
        # A thread of loky may end with a KeyError, and its tracker may warn of a semaphore that it no longer finds.
        warned = [line for line in error.splitlines() if "Warning" in line and "resource_tracker" not in line]
        assert "KeyboardInterrupt" not in error and not warned
    else:
        parent.send_signal(number)
        assert parent.wait(10) == -number
    end = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < end, "workers continue without their parent"
        time.sleep(0.05)


def test_shards_are_disjoint_and_complete():
    parts = [Shard.parse(f"{k}/3").part(range(10)) for k in (1, 2, 3)]
    assert sorted(job for part in parts for job in part) == list(range(10)) and {len(part) for part in parts} == {3, 4}


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/2"])
def test_shard_in_another_form_is_refused(text):
    with pytest.raises(LatentPolicyError, match="--shard: expected NUMBER/COUNT"):
        Shard.parse(text)
