"""Buses: threads, serial ports, motors and Modbus, which the drivers of hardware share."""
