"""A simulated Franka arm and hand that speaks libfranka's protocol, in a process of its own. Prints its host.

Arguments: seconds to run, and optionally the socket of a simulated robot, whose arm then follows the joints of this one.
"""

import contextlib
import logging
import sys
import time

from franky_sim import SimulationServer
from franky_sim.mujoco_simulator import MujocoSimulator

from latent_policy_ros.common.errors import HardwareError
from latent_policy_ros.control.arm_description import load_arm
from latent_policy_ros.drivers.simulated.simulator import SimDriver

PERIOD = 0.01  # s


def mirror(robot, path, until):
    """Make the arm of the simulated robot at ``path`` follow ``robot``, which has another simulation of its own."""
    arm = SimDriver(path, "arm", load_arm("panda").joint_names)
    connected, due = False, time.monotonic()
    while due < until:
        try:
            if not connected:
                arm.connect()
                connected = True
            arm.write(robot.inner_state.q)
        except HardwareError:
            connected = False
        due = max(due + PERIOD, time.monotonic() - PERIOD)
        time.sleep(max(0.0, due - time.monotonic()))
    arm.close()


if __name__ == "__main__":
    logging.disable()
    until = time.monotonic() + float(sys.argv[1])
    with MujocoSimulator(enable_visualization=False) as simulator:
        robot = simulator.add_robot()
        with SimulationServer(simulator) as server, contextlib.suppress(KeyboardInterrupt):
            server.run_async()
            print(robot.hostname, flush=True)
            if len(sys.argv) > 2:
                mirror(robot, sys.argv[2], until)
            time.sleep(max(0.0, until - time.monotonic()))
