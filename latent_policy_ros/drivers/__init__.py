"""Drivers: clients of hardware, of the simulator, and of cameras."""
