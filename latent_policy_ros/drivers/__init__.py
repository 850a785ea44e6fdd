"""Clients of hardware (and of the simulator), and the safety between commands and them."""
