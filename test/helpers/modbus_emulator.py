"""Robotiq gripper and Inspire hand as pymodbus servers: on a pseudo-terminal, or on TCP."""

import asyncio
import os
import threading
import tty

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from serial_emulator import SerialLine


class Registers:
    """A server thread; ``values`` maps the address of a holding register to its value.

    ``written(address, values)`` is called after each write, ``reading()`` before each read.
    """

    def __init__(self, unit, blocks, make_server):
        self.values = {address + k: 0 for address, count in blocks for k in range(count)}
        self.writes, self.on_write, self.on_read = [], lambda address, values: None, lambda: None
        data = [SimData(address, count=count, values=0, datatype=DataType.REGISTERS) for address, count in blocks]
        self._device = SimDevice(unit, data, action=self._action)
        self._make_server, self._ready = make_server, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(5.0)

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self.server = self._make_server(self._device)
        await self.server.serve_forever(background=True)
        self._ready.set()
        await self.server.serving

    async def _action(self, function_code, start, address, count, current, new):
        if new is None:
            self.on_read()
            for k in range(count):
                current[address - start + k] = self.values[address + k]
        else:
            self.values.update({address + k: value for k, value in enumerate(new)})
            self.writes.append((address, list(new)))
            self.on_write(address, list(new))

    def close(self):
        asyncio.run_coroutine_threadsafe(self.server.shutdown(), self._loop).result(5.0)
        self._thread.join(5.0)


class ModbusLine(SerialLine):
    """A serial line whose bytes a pymodbus server, on a second pseudo-terminal, answers."""

    def __init__(self, path, unit, blocks):
        self._server_end, self._server_slave = os.openpty()
        for end in (self._server_end, self._server_slave):
            tty.setraw(end)
        self._unit, port = unit, os.ttyname(self._server_slave)
        self.registers = Registers(
            unit, blocks, lambda device: ModbusSerialServer(device, framer=FramerType.RTU, port=port, ignore_missing_devices=True)
        )
        super().__init__(path)
        threading.Thread(target=self._answer, daemon=True).start()

    def received(self, data):
        if data[0] == self._unit:  # the server would answer requests to other devices with an exception
            os.write(self._server_end, data)

    def _answer(self):
        while True:
            try:
                data = os.read(self._server_end, 4096)
            except OSError:
                return
            try:
                self.send(data)
            except OSError:
                continue  # unplugged in the meantime

    def close(self):
        super().close()
        self.registers.close()
        os.close(self._server_slave)
        os.close(self._server_end)


class Robotiq:
    """Behaviour of a 2F gripper in three command registers and three status registers.

    Attributes:
        obstacle: Position at which closing jaws are stopped, of 0 to 255; None without an object.
        fault: Value of gFLT.
        activation_reads: Status readings that an activation takes.
    """

    BLOCKS = ((0x03E8, 3), (0x07D0, 3))

    def __init__(self, registers, active=True):
        self.registers, self.obstacle, self.fault = registers, None, 0
        self.active, self.activating, self.position, self.object, self.request = active, 0, 3, 3, 0
        self.activation_reads = 3
        registers.on_write, registers.on_read = self._written, self._update
        self._update()

    def _written(self, address, values):
        if address != 0x03E8:
            return
        action, self.request = values[0] >> 8, values[1] & 0xFF
        if not action & 1:
            self.active = False
        elif not self.active and not self.activating:
            self.activating = self.activation_reads
        elif action & 8 and self.active:
            blocked = self.obstacle is not None and self.request > self.obstacle
            self.position = self.obstacle if blocked else self.request
            self.object = 2 if blocked else 3

    def _update(self):
        if self.activating:
            self.activating -= 1
            self.active = self.activating == 0
        state = 3 if self.active else 1 if self.activating else 0
        activated = self.active or bool(self.activating)
        status = int(activated) | (8 if self.active else 0) | state << 4 | (self.object if self.active else 0) << 6
        self.registers.values.update({0x07D0: status << 8, 0x07D1: self.fault << 8 | self.request, 0x07D2: self.position << 8})


class Inspire:
    """Registers of an RH56 hand whose fingers reach their angle at once."""

    BLOCKS = ((1000, 5), (1486, 6), (1498, 6), (1522, 6), (1546, 6), (1606, 3))

    def __init__(self, registers, number=1):
        self.registers = registers
        registers.values[1000] = number
        registers.values.update({1546 + k: 1000 for k in range(6)})
        registers.on_write = self._written

    def _written(self, address, values):
        if address == 1486:
            self.registers.values.update({1546 + k: value for k, value in enumerate(values)})
        elif address == 1004:
            self.registers.values.update({1606 + k: 0 for k in range(3)})


def tcp_registers(unit, blocks, port):
    return Registers(unit, blocks, lambda device: ModbusTcpServer(device, address=("127.0.0.1", port)))
