"""Hardware on a serial line: a pseudo-terminal whose other end answers as motors do, with faults on demand."""

import os
import select
import threading
import time
import tty
from abc import ABC, abstractmethod
from pathlib import Path


class SerialLine(ABC):
    """A pseudo-terminal at a path, which stays the same when it is unplugged and plugged in again.

    Subclasses answer the bytes that arrive. Attributes change while the line runs:

        delay: Time before each answer [s].
        corrupt: Number of answers to damage.
        silent: Whether nothing is answered.
        baud_rate: Answers take as long as at this rate [baud]; 0: no time.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.delay, self.corrupt, self.silent, self.baud_rate = 0.0, 0, False, 0
        self._wake = os.pipe()
        self._running = True
        self._let_go = threading.Event()  # whether the thread has seen that there is no port
        self._master = None
        self.plug_in()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @abstractmethod
    def received(self, data):
        """Handle bytes of the driver."""

    def send(self, *answers):
        """Send answers, which arrive together, as from a USB adapter."""
        if self.silent or self._master is None:
            return
        data = b"".join(map(self._damaged, answers))
        wait = self.delay * len(answers) + (10 * len(data) / self.baud_rate if self.baud_rate else 0.0)
        if wait:
            time.sleep(wait)
        self.inject(data)

    def _damaged(self, answer):
        if self.corrupt <= 0:
            return answer
        self.corrupt -= 1
        return answer[:-1] + bytes([answer[-1] ^ 0x55])

    def inject(self, data):
        """Put bytes on the line, e.g. garbage."""
        if self._master is not None:
            os.write(self._master, data)

    def unplug(self):
        """Remove the port, as when a USB cable is pulled."""
        self.path.unlink()
        master, slave, self._master = self._master, self._slave, None
        os.close(slave)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._let_go.clear()
            os.write(self._wake[1], b"x")
            self._let_go.wait(1.0)  # else the thread may read from a file that is opened next and gets the same descriptor
        os.close(master)

    def plug_in(self):
        """Make the port again."""
        master, self._slave = os.openpty()  # the slave stays open, so that a driver may close its own end
        tty.setraw(self._slave)
        self.path.symlink_to(os.ttyname(self._slave))
        self._master = master
        os.write(self._wake[1], b"x")

    def close(self):
        self._running = False
        os.write(self._wake[1], b"x")
        self._thread.join(2.0)
        if self._master is not None:
            self.unplug()
        for end in self._wake:
            os.close(end)

    def _run(self):
        while self._running:
            master = self._master
            if master is None:
                self._let_go.set()
            try:
                ready = select.select([self._wake[0], *([master] if master is not None else [])], [], [], 0.05)[0]
                if self._wake[0] in ready:
                    os.read(self._wake[0], 100)
                if master in ready:
                    self.received(os.read(master, 4096))
            except (OSError, ValueError):
                time.sleep(0.001)  # unplugged in the meantime
