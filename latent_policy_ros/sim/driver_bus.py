"""Server of a simulator, whose joints driver nodes read and command.

Measurements and commands are exchanged in shared memory, which drivers get over a socket
(``drivers/simulated/simulator_protocol.py``). A thread serves the socket; it does not access the simulation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latent_policy_ros.common.errors import HardwareError, available
from latent_policy_ros.control.set_point import clamp
from latent_policy_ros.drivers.simulated import simulator_protocol
from latent_policy_ros.drivers.simulated.simulator_protocol import Channel, ChannelMemory
from latent_policy_ros.sim.world import World

MAX_PATH = 107  # longest AF_UNIX address on Linux [bytes]
SLICE = 0.01  # simulated time between two exchanges with the bus [s]
MAX_CATCH_UP = 0.1  # longest delay that one call of advance() makes up for [s]


class Bus:
    """Serves ``channels`` at the socket ``path`` until :meth:`close`.

    Raises:
        HardwareError: The path is too long, cannot be created, or is in use.
    """

    def __init__(self, path: Path | str, channels: Mapping[str, Channel]) -> None:
        self.path, self.channels = Path(path), dict(channels)
        self._writers: dict[str, socket.socket] = {}  # the one driver that commands each channel
        self._listener = _listen(self.path)
        self._memory = {name: ChannelMemory(len(channel.joint_names)) for name, channel in self.channels.items()}
        self._selector = selectors.DefaultSelector()  # the data of each key is its socket
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        self._wake, self._waken = socket.socketpair()
        self._selector.register(self._waken, selectors.EVENT_READ, self._waken)
        self._thread = threading.Thread(target=self._serve, name=f"bus {self.path.name}", daemon=True)
        self._thread.start()

    def publish(self, channel: str, position: np.ndarray, velocity: np.ndarray, stamp: float) -> None:
        """Set the measurement that readers of a channel get: positions and velocities (n,), measured at ``stamp`` [s]."""
        self._memory[channel].measure(stamp, position, velocity)

    def take_command(self, channel: str) -> np.ndarray | None:
        """Return the last commanded positions (n,) within limits, once; None if there is no new and finite command."""
        position, limits = self._memory[channel].take_command(), self.channels[channel]
        return clamp(position, limits.lower, limits.upper) if position is not None and np.isfinite(position).all() else None

    def close(self) -> None:
        """Stop serving, disconnect all drivers, remove the socket, and its folder if that is empty. A second call has no effect."""
        if not self._thread.is_alive():
            return
        self._wake.send(b".")
        self._thread.join(timeout=2.0)
        for key in list(self._selector.get_map().values()):
            key.data.close()
        self._selector.close()
        self._wake.close()
        for memory in self._memory.values():
            os.close(memory.file)
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it contains sockets of other simulators, or belongs to another user
            self.path.parent.rmdir()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is self._waken:
                    return
                if key.data is self._listener:
                    client, _ = self._listener.accept()
                    client.setblocking(False)
                    self._selector.register(client, selectors.EVENT_READ, client)
                else:
                    self._answer_client(key.data)

    def _answer_client(self, client: socket.socket) -> None:
        try:
            data = client.recv(simulator_protocol.MAX_MESSAGE)
            if data:
                reply = self._answer(client, data)
                files = [self._memory[reply.channel].file] if reply.op == simulator_protocol.HELLO else []
                socket.send_fds(client, [simulator_protocol.pack(reply)], files)
                return
        except BlockingIOError:
            return  # the client does not read its answers, so this one is dropped
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
            return simulator_protocol.hello_reply(name, channel)
        if request.op == simulator_protocol.CLAIM:
            if self._writers.setdefault(name, client) is not client:
                raise HardwareError(f"channel {name!r}: another driver commands it; stop one of the two")
            return simulator_protocol.Message(simulator_protocol.CLAIM, name)
        raise HardwareError(f"channel {name!r}: op {request.op} is not a request")


def _listen(path: Path) -> socket.socket:
    if len(str(path).encode()) > MAX_PATH:
        raise HardwareError(f"socket path: expected at most {MAX_PATH} bytes, got {len(str(path).encode())}: {path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            stale = path.is_socket()  # left by a simulator that was killed
        except OSError:
            stale = False  # nothing, or a file of another program, which must not be removed
        else:
            raise HardwareError(f"another simulator already serves at {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if stale:
            path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(8)
    except OSError as error:
        listener.close()
        existing = "a socket of another program" if path.is_socket() else "a folder" if path.is_dir() else "a file"
        reason = f"{existing} is in the way" if error.errno == errno.EADDRINUSE else error
        raise HardwareError(f"cannot serve at {path}: {reason}") from error
    listener.setblocking(False)
    return listener


class SimulationClock:
    """Simulation time from 0 [s]: as fast as real time, but slower where the world cannot be advanced so fast."""

    def __init__(self) -> None:
        self._time, self._read = 0.0, time.monotonic()

    def __call__(self) -> float:
        now = time.monotonic()
        self._time, self._read = self._time + min(now - self._read, MAX_CATCH_UP), now
        return self._time


class SimulatedRobot:
    """A world whose arm and end-effector are served to drivers and which follows a clock.

    Args:
        world: The world; only this object may step it.
        path: Socket that serves the channels ``arm`` and ``hand``.
        clock: Clock that the world follows, and source of the measurements' time stamps [s].
        measured: Entered while the world is stepped, e.g. to measure its CPU time.
    """

    def __init__(
        self,
        world: World,
        path: Path | str,
        clock: Callable[[], float] = time.time,
        measured: contextlib.AbstractContextManager[Any] | None = None,
    ) -> None:
        arm, e = world.arm, world.embodiment
        self.world, self.clock, self._measured = world, clock, measured or contextlib.nullcontext()
        self.bus = Bus(
            path, {"arm": Channel(arm.joint_names, arm.lower, arm.upper), "hand": Channel(e.joint_names, e.lower, e.upper)}
        )
        self._now = clock()
        self._publish()

    @property
    def time(self) -> float:
        """Time of the newest measurement, by the clock that the world follows [s]."""
        return self._now

    def reset(self, seed: int) -> None:
        """Start the episode with ``seed``, and discard commands received before."""
        self.world.reset(seed)
        for channel in self.bus.channels:
            self.bus.take_command(channel)
        self._now = self.clock()
        self._publish()

    def advance(self) -> None:
        """Advance the world to the present, with the commands received.

        After a delay longer than :data:`MAX_CATCH_UP`, the excess is skipped, so that the simulation never runs a long time
        in one call. After the clock was set back, the world continues from the new time.
        """
        now = self.clock()
        if not 0.0 <= now - self._now <= MAX_CATCH_UP:
            self._now = now - (MAX_CATCH_UP if now > self._now else 0.0)
        while now - self._now >= SLICE:
            if (q := self.bus.take_command("arm")) is not None:
                self.world.set_arm_target(q)
            if (q := self.bus.take_command("hand")) is not None:
                self.world.set_hand_target(q)
            with self._measured:
                self.world.step(SLICE)
            self._now += SLICE
            self._publish()

    def close(self) -> None:
        """Stop serving."""
        self.bus.close()

    def _publish(self) -> None:
        world = self.world
        self.bus.publish("arm", world.arm_q, world.arm_velocity, self._now)
        self.bus.publish("hand", world.hand_q, world.hand_velocity, self._now)
