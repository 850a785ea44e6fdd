"""Drivers of simulated robots, and what they exchange with the simulator."""
