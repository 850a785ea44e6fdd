"""The demo's task through hardware interfaces: how often the shipped policy places the cube.

Run from the checkout, alone on the machine:

    .venv/bin/python benchmarks/hardware_task.py franka
    .venv/bin/python benchmarks/hardware_task.py ros2_control

``franka``: the arm driver speaks libfranka's protocol to franky-sim, which simulates the arm with torques at 1 kHz. The arm of
the simulated scene follows its joints; the end-effector is that of the scene. Between episodes franky moves the arm to the
start pose. ``ros2_control``: a joint_trajectory_controller of the arm, a GripperCommand action and a broadcaster, each in a
process of its own (``test/helpers/fake_controllers.py``), move and measure the joints of the scene. All states come from one
shared ``/joint_states``, the wrist pose from tf.

Everything else is the demo: the nodes, one policy, cameras of the scene. Episodes are kept in ``--out`` after each one; a further
run continues where the last one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy import Parameter

from latent_policy_ros.bringup import single_robot
from latent_policy_ros.bringup.node_list import node_specs
from latent_policy_ros.bringup.supervisor import Supervisor
from latent_policy_ros.common.processes import die_with_parent
from latent_policy_ros.common.ros_environment import node_environment, private_domain
from latent_policy_ros.nodes.base import ros_context
from latent_policy_ros.nodes.episode_runner import EpisodeRunner
from latent_policy_ros.sim.evaluation import wilson_interval
from latent_policy_ros.sim.world import World

HELPERS = Path(__file__).parents[1] / "test" / "helpers"
ROBOT, EMBODIMENT, FIRST_SEED = "cell", "panda_gripper", 45_000_000
TIME_LIMIT = 25.0  # s, as in the demo
SPEED = 0.4  # share of the arm's limits between episodes
ARM_CONTROLLER, GRIPPER_CONTROLLER, HAND_FRAME = "arm_controller", "gripper_controller", "cell_hand"


class Runner(EpisodeRunner):
    """Runs episodes one by one.

    Args:
        host: Of the Franka arm that is moved to the start pose of each episode; empty: the simulator places the arm.
    """

    def __init__(self, host: str) -> None:
        overrides = [Parameter("robots", value=[ROBOT]), Parameter("time_limit", value=TIME_LIMIT)]
        super().__init__(partial(print, flush=True), parameter_overrides=overrides)
        self._host, self._world = host, World(EMBODIMENT, cameras=()) if host else None
        self._arm = self.create_client(ChangeState, f"{ROBOT}/arm_driver/change_state")

    def wait(self) -> None:
        """Wait for all nodes."""
        self._wait_for_fleet()

    def episode(self, number: int, seed: int) -> float | None:
        """Time until success [s]; None if there was none."""
        if self._world is not None:
            self._change_arm(Transition.TRANSITION_DEACTIVATE)
            self._world.reset(seed)
            self._move_arm(self._world.arm_q)
            self._change_arm(Transition.TRANSITION_ACTIVATE)
            self._spin(1.0)
        return self._run_episode(number, seed).robots[ROBOT]

    def _move_arm(self, q) -> None:
        import franky

        arm = franky.Robot(self._host, realtime_config=franky.RealtimeConfig.Ignore)
        arm.relative_dynamics_factor = SPEED
        arm.move(franky.JointMotion(q))

    def _change_arm(self, transition: int) -> None:
        self._wait(self._arm.call_async(ChangeState.Request(transition=Transition(id=transition))), 10.0)


def fakes(options: dict, environment: dict[str, str]) -> subprocess.Popen:
    """Start a process of fake controllers."""
    command = [sys.executable, str(HELPERS / "fake_controllers.py"), json.dumps(options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)


def start(kind: str, scratch: Path, environment: dict[str, str], stack: ExitStack, log: Path) -> str:
    """Start the nodes and the hardware; returns the host of the Franka arm, if there is one."""
    fleet = single_robot(ROBOT, EMBODIMENT, ["front", "wrist"])
    specs = {spec.name: spec for spec in node_specs(fleet, socket_folder=scratch)}

    def change(name: str, **parameters) -> None:
        specs[name] = replace(specs[name], parameters={**specs[name].parameters, **parameters})

    change("policy", engage=False)  # only in episodes
    socket, host, processes = str(scratch / f"{ROBOT}.sock"), "", []
    if kind == "franka":
        command = [sys.executable, str(HELPERS / "franka_server.py"), "3600", socket]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=die_with_parent)
        host = server.stdout.readline().strip()
        processes.append(server)
        drivers = {"arm_driver": f"franka@{host}"}
    else:
        arm, hand = fleet.robots[ROBOT].arm, fleet.robots[ROBOT].embodiment
        joints = {"arm": arm.joint_names, "hand": hand.joint_names}
        for part, channel, controller in (("trajectory", "arm", ARM_CONTROLLER), ("gripper", "hand", GRIPPER_CONTROLLER)):
            described = {"kind": part, "name": controller, "joints": joints[channel]}
            options = {"controllers": [described], "socket": socket, "channels": {channel: joints[channel]}}
            processes.append(fakes(options, environment))
        tf = {"arm": arm.reference, "embodiment": EMBODIMENT, "frame": HAND_FRAME}
        processes.append(fakes({"broadcast": True, "socket": socket, "channels": joints, "tf": tf}, environment))
        drivers = {
            "arm_driver": f"ros2_control@/{ARM_CONTROLLER}",
            "gripper_driver": f"ros2_control@/{GRIPPER_CONTROLLER}?type=gripper",
        }
        change("decoder", base_frame=arm.base)  # as in the robot's own tf
        change("arm_driver", base_frame=arm.base, wrist_frame=HAND_FRAME)
    for name, driver in drivers.items():
        change(name, driver=driver)
    for process in processes:
        stack.callback(process.kill)
    stack.enter_context(Supervisor(list(specs.values()), environment, log_folder=log))
    return host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("franka", "ros2_control"))
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=7.0, help="no further episode begins after this time")
    parser.add_argument("--out", type=Path, default=Path("runs/hardware_task"))
    options = parser.parse_args()
    began, file = time.monotonic(), options.out / f"{options.kind}.json"
    results: dict[str, float | None] = json.loads(file.read_text()) if file.is_file() else {}
    left = [seed for seed in range(FIRST_SEED, FIRST_SEED + options.episodes) if str(seed) not in results]
    if left:
        options.out.mkdir(parents=True, exist_ok=True)
        with private_domain() as domain, tempfile.TemporaryDirectory(prefix="lpr-") as scratch, ExitStack() as stack:
            environment = node_environment(os.environ | domain)
            os.environ.update(environment)
            host = start(options.kind, Path(scratch), environment, stack, options.out / f"log-{options.kind}")
            ros_context.init(images=False)
            stack.callback(ros_context.shutdown)
            runner = Runner(host)
            signal.signal(signal.SIGTERM, lambda *_: setattr(runner, "stopped", True))
            runner.wait()
            for seed in left:
                if time.monotonic() - began > 60.0 * options.minutes:
                    break
                results[str(seed)] = runner.episode(seed - FIRST_SEED + 1, seed)
                file.write_text(json.dumps(results))
    done = [seconds for seconds in results.values() if seconds is not None]
    low, high = wilson_interval(len(done), len(results))
    print(f"{options.kind}: {len(done)}/{len(results)} placed, 95% interval {low:.0%} .. {high:.0%}")
    if done:
        print(f"time to success: median {sorted(done)[len(done) // 2]:.1f} s, longest {max(done):.1f} s")


if __name__ == "__main__":
    main()
