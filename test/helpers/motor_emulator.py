"""Serial servo motors on a pseudo-terminal: Dynamixel X (Protocol 2.0) and Feetech STS."""

from serial_emulator import SerialLine

PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83


class Motor:
    """Memory of a motor, whose position is its goal as soon as it has torque.

    Attributes:
        gone: Whether the motor is unplugged.
        writes: (address, bytes) of everything that was written.
    """

    def __init__(self, layout, model, position=2048):
        self.layout, self.memory, self.gone, self.writes = layout, bytearray(256), False, []
        self.speed, self.stuck, self.reversed = 0, False, False
        self.put(layout.model, model, 2)
        self.position = position
        for address, value, size in layout.initial:
            self.put(address, value, size)

    def put(self, address, value, size):
        self.memory[address : address + size] = int(value).to_bytes(size, "little", signed=value < 0)

    def get(self, address, size):
        return int.from_bytes(self.memory[address : address + size], "little")

    @property
    def position(self):
        return self.get(self.layout.position, self.layout.size)

    @position.setter
    def position(self, ticks):
        self.put(self.layout.position, ticks, self.layout.size)

    @property
    def torque(self):
        return bool(self.memory[self.layout.torque])

    def write(self, address, data):
        self.memory[address : address + len(data)] = data
        self.writes.append((address, bytes(data)))
        if self.torque and not self.stuck and address == self.layout.goal:
            goal = self.get(address, self.layout.size)
            self.position = 4096 - goal if self.reversed else goal


class MotorLine(SerialLine):
    """Motors by id on one line."""

    def __init__(self, path, motors):
        self.motors, self._buffer = dict(motors), b""
        super().__init__(path)

    def received(self, data):
        self._buffer += data
        while (packet := self._packet()) is not None:
            self._obey(*packet)

    def _obey(self, number, instruction, parameters):
        width = self.address_size
        word = lambda k: int.from_bytes(parameters[k * width : (k + 1) * width], "little")
        present = {k: m for k, m in self.motors.items() if not m.gone}
        if instruction == SYNC_WRITE:
            address, size, rest = word(0), word(1), parameters[2 * width :]
            for k in range(0, len(rest), size + 1):
                if rest[k] in present:
                    present[rest[k]].write(address, rest[k + 1 : k + 1 + size])
        elif instruction == SYNC_READ:
            asked = [target for target in parameters[2 * width :] if target in present]
            memory = slice(word(0), word(0) + word(1))
            self.send(*(self.status(target, bytes(present[target].memory[memory])) for target in asked))
        elif number in present or (number == 0xFE and instruction == PING):
            for target in [number] if number != 0xFE else sorted(present):
                motor = present[target]
                if instruction == PING:
                    self.send(self.status(target, self.ping_data(motor)))
                elif instruction == READ:
                    self.send(self.status(target, bytes(motor.memory[word(0) : word(0) + word(1)])))
                elif instruction == WRITE:
                    motor.write(word(0), parameters[width:])
                    self.send(self.status(target, b""))


class DynamixelLayout:
    model, goal, position, torque, size = 0, 116, 132, 64, 4
    initial = ((48, 4095, 4), (52, 0, 4), (38, 1750, 2), (11, 3, 1))


class FeetechLayout:
    model, goal, position, torque, size = 3, 42, 56, 40, 2
    initial = ((9, 0, 2), (11, 4095, 2), (55, 1, 1))


def crc16(data):
    """CRC of Protocol 2.0: polynomial 0x8005, without reflection."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = ((value << 1) ^ 0x8005) & 0xFFFF if value & 0x8000 else value << 1
    return value


_TABLE = [crc16([k]) for k in range(256)]


def fast_crc16(data):
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _TABLE[(value >> 8) ^ byte]
    return value


class DynamixelLine(MotorLine):
    """Emulator of Protocol 2.0. A motor's ``memory[70]`` is its hardware error status."""

    address_size = 2
    HEADER = b"\xff\xff\xfd\x00"

    def _packet(self):
        start = self._buffer.find(self.HEADER)
        self._buffer = self._buffer[max(0, start) :] if start >= 0 else self._buffer[-3:]
        if len(self._buffer) < 7 or not self._buffer.startswith(self.HEADER):
            return None
        end = 7 + int.from_bytes(self._buffer[5:7], "little")
        if len(self._buffer) < end:
            return None
        packet, self._buffer = self._buffer[:end], self._buffer[end:]
        if int.from_bytes(packet[-2:], "little") != fast_crc16(packet[:-2]):
            return self._packet()
        return packet[4], packet[7], packet[8:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")

    def status(self, number, data):
        alert = 0x80 if self.motors[number].memory[70] else 0
        data = data.replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
        packet = self.HEADER + bytes([number]) + (len(data) + 4).to_bytes(2, "little") + bytes([0x55, alert]) + data
        return packet + fast_crc16(packet).to_bytes(2, "little")

    @staticmethod
    def ping_data(motor):
        return bytes(motor.memory[0:2]) + b"\x2d"


class FeetechLine(MotorLine):
    """Emulator of Feetech's protocol. A motor's ``memory[65]`` is its status, sent as the error byte."""

    address_size = 1

    def _packet(self):
        start = self._buffer.find(b"\xff\xff")
        self._buffer = self._buffer[max(0, start) :] if start >= 0 else self._buffer[-1:]
        if len(self._buffer) < 4 or len(self._buffer) < 4 + self._buffer[3] or not self._buffer.startswith(b"\xff\xff"):
            return None
        end = 4 + self._buffer[3]
        packet, self._buffer = self._buffer[:end], self._buffer[end:]
        if packet[-1] != ~sum(packet[2:-1]) & 0xFF:
            return self._packet()
        return packet[2], packet[4], packet[5:-1]

    def status(self, number, data):
        packet = b"\xff\xff" + bytes([number, len(data) + 2, self.motors[number].memory[65]]) + data
        return packet + bytes([~sum(packet[2:]) & 0xFF])

    @staticmethod
    def ping_data(motor):
        return b""


def dynamixel_motors(ids, model=1240):
    return {number: Motor(DynamixelLayout, model) for number in ids}


def feetech_motors(ids, model=777):
    return {number: Motor(FeetechLayout, model) for number in ids}
