"""Nodes as processes of this one: started, watched, restarted when they crash, and all stopped at the end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from latent_policy_ros.bringup.node_list import NodeSpec, write_parameters
from latent_policy_ros.common.processes import READY, die_with_parent
from latent_policy_ros.common.ros_environment import node_environment

MAX_RESTART_DELAY = 10.0  # s
GOOD_RUN = 60.0  # s: a node that ran for so long is started again as if it had never crashed
# And how long each is waited for at least [s]. Not SIGINT: a Python that is still importing would show where it was.
STOP_STEPS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


def node_command(spec: NodeSpec, folder: Path) -> list[str]:
    """The command line of a node, whose parameter file goes into ``folder``."""
    command = [sys.executable, "-m", f"latent_policy_ros.nodes.{spec.executable}", "--ros-args"]
    names = ["-r", f"__ns:=/{spec.namespace}", "-r", f"__node:={spec.name}"]
    return [*command, *names, "--params-file", str(write_parameters(spec, folder))]


class Supervisor:
    """Runs a list of nodes.

    Args:
        specs: The nodes.
        environment: Of the nodes; default this process's, completed by ``node_environment``.
        log_folder: Where each node's output goes, one file a node; default: this process's output.
        restart: Start a node again when it ends by itself.
        say: Where a line for people goes.
        ready: What is said once every node is ready, and again when one that ended is so; empty: nothing.
        command: Makes the command line of a node; replaced in tests.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        environment: Mapping[str, str] | None = None,
        log_folder: Path | None = None,
        restart: bool = False,
        say: Callable[[str], None] = print,
        command: Callable[[NodeSpec, Path], list[str]] = node_command,
        ready: str = "",
    ) -> None:
        doubles = sorted({s.full_name for s in specs if [t.full_name for t in specs].count(s.full_name) > 1})
        if doubles:
            raise ValueError(f"node names must differ, got twice: {', '.join(doubles)}")
        self.specs = tuple(specs)
        self.environment, self.log_folder, self.restart = node_environment(environment), log_folder, restart
        self._say, self._command, self._ready = say, command, ready
        self._told = not ready
        self._processes: dict[str, subprocess.Popen] = {}
        self._crashes: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._again: dict[str, float] = {}  # when to start again
        self._folder: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> Supervisor:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every node."""
        self._folder = tempfile.TemporaryDirectory(prefix="latent_policy_ros_")
        if self.log_folder:
            self.log_folder.mkdir(parents=True, exist_ok=True)
        for spec in self.specs:
            self._start(spec)

    def process(self, full_name: str) -> subprocess.Popen:
        """The process of a node; KeyError if there is none of that name."""
        return self._processes[full_name]

    def poll(self) -> dict[str, int]:
        """Nodes that ended by themselves since the last call, with their exit status; restarts them if asked to."""
        ended = {}
        for spec in self.specs:
            name, process = spec.full_name, self._processes.get(spec.full_name)
            if process is not None and process.poll() is not None:
                ended[name] = process.returncode
                del self._processes[name]
                if self.restart:
                    self._later(name, f"ended with status {process.returncode}")
            elif process is None and time.monotonic() >= self._again.get(name, float("inf")):
                del self._again[name]
                try:
                    self._start(spec)
                except OSError as error:  # no memory, no disk: the other robots go on
                    self._later(name, f"could not be started ({error})")
        if not self._told and self._folder and all(self._ready_file(spec).exists() for spec in self.specs):
            self._told = True
            self._say(self._ready)
        return ended

    def _later(self, name: str, what: str) -> None:
        """Start a node again, the later the more often it crashed."""
        now = time.monotonic()
        self._crashes[name] = 1 if now - self._began[name] > GOOD_RUN else self._crashes.get(name, 0) + 1
        delay = min(MAX_RESTART_DELAY, 0.5 * 2 ** (self._crashes[name] - 1))
        self._again[name] = now + delay
        self._say(f"{name} {what}; starting it again in {delay:g} s")

    def stop(self) -> None:
        """Stop every node: SIGTERM, and once its ``patience`` is over SIGKILL. May be called twice."""
        began, timeouts = time.monotonic(), {spec.full_name: spec.stop_timeout for spec in self.specs}
        for number, pause in STOP_STEPS:
            running = {name: process for name, process in self._processes.items() if process.poll() is None}
            for process in running.values():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            now = time.monotonic()
            for name, process in running.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, now + pause - time.monotonic(), began + timeouts[name] - time.monotonic()))
        self._processes.clear()
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def run(self) -> int:
        """Run until SIGINT or SIGTERM (status 0), or until a node ends that is not restarted (status 1)."""
        stopping: list[int] = []
        previous = {n: signal.signal(n, lambda number, _: stopping.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.start()
            while not stopping:
                ended = self.poll()
                if ended and not self.restart:
                    self._say("; ".join(f"{name} ended with status {status}" for name, status in ended.items()))
                    return 1
                time.sleep(0.2)
            return 0
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, spec: NodeSpec) -> None:
        assert self._folder is not None
        name, file = spec.full_name, self._ready_file(spec)
        file.unlink(missing_ok=True)  # of the process before
        self._told, self._began[name] = not self._ready, time.monotonic()
        with contextlib.ExitStack() as stack:  # the node has the log open; this process needs it no more
            log = stack.enter_context((self.log_folder / f"{spec.file_name}.log").open("ab")) if self.log_folder else None
            self._processes[name] = subprocess.Popen(
                self._command(spec, Path(self._folder.name)), env={**self.environment, READY: str(file)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT if log else None,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order
                preexec_fn=die_with_parent,  # so that no robot goes on without this process
            )  # fmt: skip

    def _ready_file(self, spec: NodeSpec) -> Path:
        """Made by the node when it is ready."""
        assert self._folder is not None
        return Path(self._folder.name) / f"{spec.file_name}.ready"
