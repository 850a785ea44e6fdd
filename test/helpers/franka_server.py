"""A simulated Franka arm and hand that speaks libfranka's protocol, in a process of its own. Prints its host."""

import logging
import sys
import time

from franky_sim import SimulationServer
from franky_sim.mujoco_simulator import MujocoSimulator

if __name__ == "__main__":
    logging.disable()
    with MujocoSimulator(enable_visualization=False) as simulator:
        robot = simulator.add_robot()
        with SimulationServer(simulator) as server:
            server.run_async()
            print(robot.hostname, flush=True)
            time.sleep(float(sys.argv[1]))
