"""The simulator's end of the bus: to driver processes it is the hardware (messages: ``drivers/wire.py``).

A thread answers at once from the last measurement, whatever the simulation is busy with; it never touches the world.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.drivers import simulator_protocol
from latent_policy_ros.sim.world import World

LONGEST_PATH = 107  # bytes, of an AF_UNIX address on Linux
SLICE, MOST_CATCH_UP = 0.01, 0.1  # s: physics between two looks at the bus; most that one call makes up for


@dataclass(frozen=True)
class Channel:
    """Joints that one driver moves: their names, and the limits (n,) that what it writes is clipped to."""

    joint_names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray


class Bus:
    """Serves `channels` at the socket `path` until :meth:`close`.

    Raises:
        HardwareError: The path is too long or cannot be made, or something else is there.
    """

    def __init__(self, path: Path | str, channels: Mapping[str, Channel]) -> None:
        self.path, self.channels = Path(path), dict(channels)
        self._lock = threading.Lock()
        self._measured: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
        self._written: dict[str, np.ndarray] = {}
        self._writers: dict[str, socket.socket] = {}  # of each channel, its one driver
        self._listener = _listen(self.path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._waken = socket.socketpair()
        self._selector.register(self._waken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name=f"bus {self.path.name}", daemon=True)
        self._thread.start()

    def publish(self, channel: str, position: np.ndarray, velocity: np.ndarray, stamp: float) -> None:
        """Make positions and velocities (n,), measured at `stamp` [s], what readers get from now on."""
        with self._lock:
            self._measured[channel] = position.copy(), velocity.copy(), stamp

    def written(self, channel: str) -> np.ndarray | None:
        """The positions (n,) that were written last; None if none were since the last call."""
        with self._lock:
            return self._written.pop(channel, None)

    def close(self) -> None:
        """Stop serving, hang up on every driver and remove the socket. A second call does nothing."""
        if not self._thread.is_alive():
            return
        self._wake.send(b".")
        self._thread.join(timeout=2.0)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake.close()
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._waken:
                    return
                if key.fileobj is self._listener:
                    client, _ = self._listener.accept()
                    client.setblocking(False)
                    self._selector.register(client, selectors.EVENT_READ)
                else:
                    self._converse(key.fileobj)

    def _converse(self, client: socket.socket) -> None:
        try:
            data = client.recv(simulator_protocol.MAX_MESSAGE)
            if data:
                client.send(simulator_protocol.pack(self._answer(client, data)))
                return
        except BlockingIOError:
            return  # the client does not read its answers: this one is lost
        except OSError:
            pass
        self._selector.unregister(client)
        self._writers = {channel: writer for channel, writer in self._writers.items() if writer is not client}
        client.close()

    def _answer(self, client: socket.socket, data: bytes) -> simulator_protocol.Message:
        try:
            request = simulator_protocol.unpack(data)
        except HardwareError as error:
            return simulator_protocol.error_reply("", str(error))
        try:
            return self._reply(client, request)
        except HardwareError as error:
            return simulator_protocol.error_reply(request.channel, str(error))

    def _reply(self, client: socket.socket, request: simulator_protocol.Message) -> simulator_protocol.Message:
        name, channel = request.channel, self.channels.get(request.channel)
        if channel is None:
            raise HardwareError(f"no channel {name!r}; {available(self.channels)}")
        if request.op == simulator_protocol.HELLO:
            return simulator_protocol.hello_reply(name, channel.joint_names, time.time())
        if request.op == simulator_protocol.READ:
            with self._lock:
                measured = self._measured.get(name)
            if measured is None:
                raise HardwareError(f"channel {name!r}: nothing measured yet")
            return simulator_protocol.read_reply(name, *measured)
        if request.op == simulator_protocol.WRITE:
            position = request.array()
            if position.shape != channel.lower.shape or not np.isfinite(position).all():
                raise HardwareError(f"channel {name!r}: expected {channel.lower.size} finite positions, got {position}")
            if self._writers.setdefault(name, client) is not client:
                raise HardwareError(f"channel {name!r}: another driver moves it; stop one of the two")
            position = np.clip(position, channel.lower, channel.upper)
            with self._lock:
                self._written[name] = position
            return simulator_protocol.write_message(name, position, time.time())
        raise HardwareError(f"channel {name!r}: op {request.op} is not a request")


def _listen(path: Path) -> socket.socket:
    if len(str(path).encode()) > LONGEST_PATH:
        raise HardwareError(f"socket path is {len(str(path).encode())} bytes long, at most {LONGEST_PATH} are possible: {path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            left_behind = path.is_socket()  # by a simulator that was killed
        except OSError:
            left_behind = False  # nothing there, or something else, which is not ours to remove
        else:
            raise HardwareError(f"another simulator serves at {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if left_behind:
            path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(8)
    except OSError as error:
        listener.close()
        there = "a socket of another program" if path.is_socket() else "a folder" if path.is_dir() else "a file"
        reason = f"{there} is in the way" if error.errno == errno.EADDRINUSE else error
        raise HardwareError(f"cannot serve at {path}: {reason}") from error
    listener.setblocking(False)
    return listener


class SimulatedRobot:
    """A world on the bus: its arm and its end-effector, on the wall clock.

    Args:
        world: The world; only this object steps it.
        path: Socket to serve channels ``arm`` and ``hand`` at.
        clock: The time that measurements are stamped with and that the world follows [s].
    """

    def __init__(self, world: World, path: Path | str, clock: Callable[[], float] = time.time) -> None:
        arm, e = world.arm, world.embodiment
        self.world, self.clock = world, clock
        self.bus = Bus(
            path, {"arm": Channel(arm.joint_names, arm.lower, arm.upper), "hand": Channel(e.joint_names, e.lower, e.upper)}
        )
        self._now = clock()
        self._publish()

    def reset(self, seed: int) -> None:
        """Start episode `seed`; what was written before it is forgotten."""
        self.world.reset(seed)
        for channel in self.bus.channels:
            self.bus.written(channel)
        self._now = self.clock()
        self._publish()

    def advance(self) -> None:
        """Let the world catch up with the clock, obeying the bus. After a long delay (the machine was busy) the time
        missed beyond 0.1 s is skipped: physics runs late rather than in a jump. A clock set back starts anew."""
        now = self.clock()
        if not 0.0 <= now - self._now <= MOST_CATCH_UP:
            self._now = now - (MOST_CATCH_UP if now > self._now else 0.0)
        while now - self._now >= SLICE:
            if (q := self.bus.written("arm")) is not None:
                self.world.set_arm_target(q)
            if (q := self.bus.written("hand")) is not None:
                self.world.set_hand_target(q)
            self.world.step(SLICE)
            self._now += SLICE
            self._publish()

    def close(self) -> None:
        self.bus.close()

    def _publish(self) -> None:
        world = self.world
        self.bus.publish("arm", world.arm_q, world.arm_velocity, self._now)
        self.bus.publish("hand", world.hand_q, world.hand_velocity, self._now)
