"""Nodes as child processes: started together, restarted when they crash, and stopped together."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from latent_policy_ros.bringup.composition import write_members
from latent_policy_ros.bringup.node_spec import NodeSpec, node_arguments
from latent_policy_ros.common.processes import READY, die_with_parent
from latent_policy_ros.common.ros_environment import node_environment

FIRST_RESTART_DELAY, MAX_RESTART_DELAY = 0.1, 10.0  # s
POLL_PERIOD = 0.05  # s
MAX_RESTARTS = 10  # of a node without a stable run in between
STABLE_RUN = 60.0  # run time after which earlier crashes no longer count [s]
# Signals to stop a node, with the shortest time to wait after each [s]. No SIGINT: a Python process that is still importing
# would print a traceback.
STOP_STEPS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))


def node_command(spec: NodeSpec, folder: Path, ros_arguments: Sequence[str] = ()) -> list[str]:
    """The command line of a node, or of a process of several.

    Their parameter files are written to ``folder``. ``ros_arguments`` follow these files and replace their values.
    """
    command = [sys.executable, "-m", f"latent_policy_ros.nodes.{spec.executable}"]
    if spec.members:
        return [*command, str(write_members(spec, folder, ros_arguments=ros_arguments)), "--ros-args", *ros_arguments]
    return [*command, *node_arguments(spec, folder, ros_arguments=ros_arguments)]


class Supervisor:
    """Runs nodes as child processes.

    Args:
        specs: The nodes.
        environment: Environment of the nodes, completed by ``node_environment``; default that of this process.
        log_folder: Folder of the log files, one for each node; default: nodes write to the output of this process.
        restart: Restart a node that exits, up to ``MAX_RESTARTS`` times without a stable run in between.
        say: Function that shows a line of text to the user.
        ready: Text to show when all nodes are ready, also after a restart; empty: none.
        command: Function that returns the command line of a node; replaced in tests.
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
        repeated = sorted({s.full_name for s in specs if [t.full_name for t in specs].count(s.full_name) > 1})
        if repeated:
            raise ValueError(f"node names must be unique, got more than once: {', '.join(repeated)}")
        self.specs = tuple(specs)
        self.environment, self.log_folder, self.restart = node_environment(environment), log_folder, restart
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without stored bytecode, a restarted node imports twice as long
        self._say, self._command, self._ready = say, command, ready
        self._announced = not ready
        self._processes: dict[str, subprocess.Popen] = {}
        self._crashes: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}
        self._given_up: set[str] = set()
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
        """Exit status of the nodes that exited since the last call, by full name. Restarts nodes that are due."""
        ended = {}
        for spec in self.specs:
            name, process = spec.full_name, self._processes.get(spec.full_name)
            if process is not None and process.poll() is not None:
                ended[name] = process.returncode
                del self._processes[name]
                if self.restart:
                    self._schedule_restart(name, f"ended with status {process.returncode}")
            elif process is None and time.monotonic() >= self._restart_at.get(name, float("inf")):
                del self._restart_at[name]
                try:
                    self._start(spec)
                except OSError as error:  # no memory, no disk: the other nodes continue
                    self._schedule_restart(name, f"could not be started ({error})")
        if not self._announced and self._folder and all(self._ready_file(spec).exists() for spec in self.specs):
            self._announced = True
            self._say(self._ready)
        return ended

    def _schedule_restart(self, name: str, reason: str) -> None:
        """Schedule the restart of a node, with a delay that doubles with each crash. A node that crashes too often stays down."""
        now = time.monotonic()
        self._crashes[name] = 1 if now - self._started[name] > STABLE_RUN else self._crashes.get(name, 0) + 1
        if self._crashes[name] > MAX_RESTARTS:
            self._given_up.add(name)
            self._say(f"{name} {reason}; not restarted: it ended {self._crashes[name]} times without running for {STABLE_RUN:g} s")
            return
        delay = min(MAX_RESTART_DELAY, FIRST_RESTART_DELAY * 2 ** (self._crashes[name] - 1))
        self._restart_at[name] = now + delay
        self._say(f"{name} {reason}; restarting in {delay:g} s")

    def stop(self) -> None:
        """Stop every node: SIGTERM, and SIGKILL after its ``stop_timeout``. May be called more than once."""
        stopping_since, timeouts = time.monotonic(), {spec.full_name: spec.stop_timeout for spec in self.specs}
        for number, pause in STOP_STEPS:
            running = {name: process for name, process in self._processes.items() if process.poll() is None}
            for process in running.values():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            now = time.monotonic()
            for name, process in running.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, now + pause - time.monotonic(), stopping_since + timeouts[name] - time.monotonic()))
        self._processes.clear()
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def run(self) -> int:
        """Run until SIGINT or SIGTERM, or until a node exits and nodes are not restarted. Returns 1 if a node stayed down."""
        stopping: list[int] = []
        previous = {n: signal.signal(n, lambda number, _: stopping.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.start()
            while not stopping:
                ended = self.poll()
                if ended and not self.restart:
                    self._say("; ".join(f"{name} ended with status {status}" for name, status in ended.items()))
                    return 1
                time.sleep(POLL_PERIOD)
            return int(bool(self._given_up))
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self, spec: NodeSpec) -> None:
        assert self._folder is not None
        name, file = spec.full_name, self._ready_file(spec)
        file.unlink(missing_ok=True)  # from the previous process
        self._announced, self._started[name] = not self._ready, time.monotonic()
        with contextlib.ExitStack() as stack:  # the node keeps the log open; this process closes it
            log = stack.enter_context((self.log_folder / f"{spec.file_name}.log").open("ab")) if self.log_folder else None
            self._processes[name] = subprocess.Popen(
                self._command(spec, Path(self._folder.name)), env={**self.environment, READY: str(file)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT if log else None,
                start_new_session=True,  # Ctrl-C reaches this process only, which then stops the nodes
                preexec_fn=die_with_parent,  # no robot moves without this process
            )  # fmt: skip

    def _ready_file(self, spec: NodeSpec) -> Path:
        """File that the node creates when it is ready."""
        assert self._folder is not None
        return Path(self._folder.name) / f"{spec.file_name}.ready"
