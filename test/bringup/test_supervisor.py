"""Supervisor: start, readiness, restart after crashes, and stop of node processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latent_policy_ros.bringup import supervisor
from latent_policy_ros.bringup.node_list import NodeSpec
from latent_policy_ros.bringup.supervisor import Supervisor

WAIT = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; print('up', flush=True); time.sleep(60)"
POLITE = (
    "import signal, sys, time; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(0))); "
    "print('up', flush=True); time.sleep(60)"
)


READY = "import time; from latent_policy_ros.common.processes import report_ready; assert report_ready(); time.sleep(60)"


def make(scripts, tmp_path, **options):
    """A supervisor of Python one-liners in place of nodes."""
    specs = [NodeSpec("x", name, "robot") for name in scripts]
    command = lambda spec, _: [sys.executable, "-c", scripts[spec.name]]
    return Supervisor(specs, log_folder=tmp_path, command=command, **{"say": lambda _: None, **options})


def wait(condition, timeout=10.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def log(tmp_path, name):
    file = tmp_path / f"robot.{name}.log"
    return file.read_text() if file.exists() else ""


def test_nodes_get_sigterm_first(tmp_path):
    with make({"a": POLITE, "b": POLITE}, tmp_path) as up:
        wait(lambda: "up" in log(tmp_path, "a") and "up" in log(tmp_path, "b"))
        processes = [up.process("/robot/a"), up.process("/robot/b")]
    assert [p.returncode for p in processes] == [0, 0]
    assert "bye" in log(tmp_path, "a") and "bye" in log(tmp_path, "b")
    up.stop()


def test_stop_during_start_prints_no_traceback(tmp_path):
    with make({"a": WAIT}, tmp_path):
        wait(lambda: "up" in log(tmp_path, "a"))
    assert log(tmp_path, "a") == "up\n"


def test_node_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    steps = ((signal.SIGTERM, 0.2), (signal.SIGKILL, 2.0))
    monkeypatch.setattr(supervisor, "STOP_STEPS", steps)
    with make({"a": STUBBORN}, tmp_path) as up:
        wait(lambda: "up" in log(tmp_path, "a"))
        process = up.process("/robot/a")
    assert process.returncode == -signal.SIGKILL


def test_crash_is_reported_and_restarted(tmp_path):
    with make({"a": "raise SystemExit(3)", "b": WAIT}, tmp_path, restart=True) as up:
        wait(lambda: up.poll() == {"/robot/a": 3})
        wait(lambda: up.poll() == {"/robot/a": 3})  # again, after a pause
        assert up.process("/robot/b").poll() is None


def test_a_node_that_ends_too_often_stays_down_and_the_others_continue(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "MAX_RESTARTS", 1)
    said = []
    with make({"a": "raise SystemExit(3)", "b": WAIT}, tmp_path, restart=True, say=said.append) as up:
        wait(lambda: up.poll() == {"/robot/a": 3})
        wait(lambda: up.poll() == {"/robot/a": 3})
        assert said[-1] == "/robot/a ended with status 3; not restarted: it ended 2 times without running for 60 s"
        assert up.poll() == {} and not up._restart_at and up.process("/robot/b").poll() is None


def test_restart_after_a_stable_run_is_immediate_and_logs_are_closed_here(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STABLE_RUN", 0.0)
    files = len(os.listdir("/proc/self/fd"))
    with make({"a": "raise SystemExit(3)"}, tmp_path, restart=True) as up:
        for _ in range(4):  # with growing pauses this would take 7.5 s
            wait(lambda: up.poll() == {"/robot/a": 3}, 2.0)
        assert len(os.listdir("/proc/self/fd")) <= files + 1


def test_failed_restart_does_not_stop_other_nodes(tmp_path, monkeypatch):
    with make({"a": "raise SystemExit(3)", "b": WAIT}, tmp_path, restart=True) as up:
        wait(lambda: up.poll() == {"/robot/a": 3})
        working, tried = up._command, []

        def fails(spec, folder):
            tried.append(spec.name)
            if len(tried) < 2:
                raise OSError("no memory")
            return working(spec, folder)

        monkeypatch.setattr(up, "_command", fails)
        wait(lambda: up.poll() == {"/robot/a": 3})
        assert tried == ["a", "a"] and up.process("/robot/b").poll() is None


def test_failed_start_stops_nodes_already_started(tmp_path):
    def command(spec, _):
        return [sys.executable, "-c", WAIT] if spec.name == "a" else [str(tmp_path / "no_such_program")]

    up = Supervisor([NodeSpec("x", name) for name in ("a", "b")], log_folder=tmp_path, command=command)
    processes = []
    stop = up.stop
    up.stop = lambda: (processes.append(up.process("/a")), stop())
    with pytest.raises(FileNotFoundError), up:
        pass
    assert processes[0].returncode is not None


def test_stop_timeout_of_a_node_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "STOP_STEPS", ((signal.SIGTERM, 0.1), (signal.SIGKILL, 2.0)))
    slow = POLITE.replace("print('bye'", "time.sleep(1.5), print('bye'")
    specs = [NodeSpec("x", "patient", stop_timeout=10.0), NodeSpec("x", "hasty", stop_timeout=0.2)]
    up = Supervisor(specs, log_folder=tmp_path, command=lambda *_: [sys.executable, "-c", slow])
    with up:
        wait(lambda: all("up" in (tmp_path / f"{s.name}.log").read_text() for s in specs))
        processes = [up.process(spec.full_name) for spec in specs]
        began = time.monotonic()
    assert processes[0].returncode == 0 and "bye" in (tmp_path / "patient.log").read_text()
    assert time.monotonic() - began < 5.0


def test_without_restart_a_crash_ends_the_run(tmp_path):
    up = make({"a": "raise SystemExit(3)", "b": WAIT}, tmp_path)
    assert up.run() == 1


def test_readiness_is_announced_once_and_again_after_a_restart(tmp_path):
    told, scripts = [], {"a": READY, "b": WAIT}
    with make(scripts, tmp_path, restart=True, ready="up", say=told.append) as up:
        wait(lambda: "up" in log(tmp_path, "b"))
        for _ in range(10):
            up.poll()
            time.sleep(0.05)
        assert not told  # b is not ready
        scripts["b"] = READY
        for times in (1, 2):
            up.process("/robot/b").kill()
            wait(lambda times=times: (up.poll(), told.count("up"))[1] == times, 20)
            up.poll()
            assert told.count("up") == times


def test_two_nodes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="/robot/a"):
        Supervisor([NodeSpec("x", "a", "robot")] * 2)


def test_when_the_supervisor_dies_its_nodes_die(tmp_path):
    script = (
        "from latent_policy_ros.bringup.supervisor import Supervisor; from latent_policy_ros.bringup.node_list import NodeSpec\n"
        "import sys, time, pathlib\n"
        f"up = Supervisor([NodeSpec('x', 'a')], command=lambda s, f: [sys.executable, '-c', {WAIT!r}])\n"
        "up.start(); print(up.process('/a').pid, flush=True); time.sleep(60)"
    )
    root = Path(supervisor.__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    child = next(int(line) for line in parent.stdout if line.strip().isdigit())
    parent.kill()
    parent.wait()

    def gone():
        try:
            return Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] == "Z"
        except FileNotFoundError:
            return True

    wait(gone)


def test_the_environment_is_completed_but_never_overruled():
    env = supervisor.node_environment({"OMP_NUM_THREADS": "4", "PATH": os.environ["PATH"]})
    assert env["OMP_NUM_THREADS"] == "4" and env["HOME"] and env["AMENT_PREFIX_PATH"]
