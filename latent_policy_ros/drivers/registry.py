"""Registry of joint drivers: built-in ones, those of installed packages, and classes by module path."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace

from latent_policy_ros.common.errors import HardwareError, LatentPolicyError, available
from latent_policy_ros.common.registry import Registry
from latent_policy_ros.drivers.base import Driver, DriverSetup

DRIVERS = Registry(
    "driver",
    "latent_policy_ros.drivers",
    {
        "dynamixel": "latent_policy_ros.drivers.dynamixel:DynamixelDriver",
        "feetech": "latent_policy_ros.drivers.feetech:FeetechDriver",
        "franka": "latent_policy_ros.drivers.franka:FrankaDriver",
        "franka_hand": "latent_policy_ros.drivers.franka_hand:FrankaHandDriver",
        "inspire": "latent_policy_ros.drivers.inspire:InspireDriver",
        "mock": "latent_policy_ros.drivers.mock:MockDriver",
        "orca": "latent_policy_ros.drivers.orca:OrcaDriver",
        "robotiq": "latent_policy_ros.drivers.robotiq:RobotiqDriver",
        "ros2_control": "latent_policy_ros.nodes.ros2_control.driver:Ros2ControlDriver",
        "sim": "latent_policy_ros.drivers.simulated.simulator:SimDriver",
    },
)
ALLOWED_MODULES = "LATENT_POLICY_DRIVER_MODULES"  # environment variable: modules, separated by commas, that driver names may import
NEED_ROS = ("ros2_control",)  # drivers whose modules import rclpy
METHODS = ("connect", "read", "write", "close")


def make_driver(name: str, setup: DriverSetup) -> Driver:
    """Make a driver, not yet connected.

    Args:
        name: A registered name or ``package.module:Class``; ``@address`` may follow.
        setup: What the driver is made from; its ``address`` is taken from ``name``.

    Raises:
        HardwareError: Unknown driver, a class that is no driver, a missing setting, or joints other than those of ``setup``.
    """
    found = driver_class(name)
    setup = replace(setup, address=name.partition("@")[2])
    driver = found.create(setup) if hasattr(found, "create") else found(setup.joint_names, setup.address)
    if tuple(driver.joint_names) != tuple(setup.joint_names):  # arrays are matched by order
        got = ", ".join(driver.joint_names)
        raise HardwareError(f"driver {name}: expected the joints {', '.join(setup.joint_names)} in this order; got {got}")
    return driver


def driver_class(name: str) -> type:
    """Import the class of a driver.

    Args:
        name: A registered name or ``package.module:Class``; ``@address`` may follow.

    Raises:
        HardwareError: The name is unknown, its module is not allowed by ``ALLOWED_MODULES``, or the class cannot be imported or
            lacks methods of a driver.
    """
    label = name.partition("@")[0]
    if label in DRIVERS.names():
        try:
            found = DRIVERS.load(label)
        except LatentPolicyError as error:
            needs_ros = label in NEED_ROS and isinstance(error.__cause__, ImportError)
            hint = "needs ROS 2 with rclpy and control_msgs: source an installation, or type: make setup"
            raise HardwareError(f"driver {label}: {hint}" if needs_ros else str(error)) from error
    else:
        found = _class_at(name, label)
    lacking = [method for method in METHODS if not callable(getattr(found, method, None))]
    if lacking:
        expected = "expected the methods of latent_policy_ros.drivers.base.Driver"
        raise HardwareError(f"driver {name}: lacks {', '.join(lacking)}; {expected}")
    return found


def is_simulated(name: str) -> bool:
    """Whether a driver moves no hardware: see ``Driver``. Errors as of ``driver_class``."""
    return bool(getattr(driver_class(name), "simulated", False))


def _class_at(name: str, path: str) -> type:
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name:
        raise HardwareError(f"unknown driver {name!r}; {available(DRIVERS.names())}, or a class: package.module:Class")
    if module_name not in os.environ.get(ALLOWED_MODULES, "").split(","):
        message = f"a fleet file imports the module {module_name} only if you allow it: set {ALLOWED_MODULES}={module_name}"
        raise HardwareError(f"driver {name}: {message}, or install a package that registers the driver (docs/EXTENDING.md)")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything when it is imported
        message = f"{module_name} cannot be imported ({error}); is it in PYTHONPATH?"
        raise HardwareError(f"driver {name}: {message}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
        own = [key for key, value in classes.items() if value.__module__ == module_name]
        raise HardwareError(f"driver {name}: {module_name} has no class {class_name!r}; {available(own)}")
    return found
