"""Quality-of-service profiles of all topics."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy

#: Policies that the parameters ``qos_overrides.<topic>.<publisher or subscription>.<policy>`` of a node override.
OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def _profile(reliability: ReliabilityPolicy, depth: int, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


#: Camera images and hand keypoints, as sensor drivers publish them, and measurements of which only the newest count.
IMAGES = _profile(ReliabilityPolicy.BEST_EFFORT, 5)
#: Measured joints and poses. Inference blocks a policy node for 10 ms and more, while states arrive at 100 Hz and above.
#: Commands and action chunks too, where they are counted only: acknowledging them costs their publisher as much as sending them.
STATES = _profile(ReliabilityPolicy.BEST_EFFORT, 50)
#: Action chunks: each replaces the one before.
LATENTS = _profile(ReliabilityPolicy.RELIABLE, 1)
#: Joint and wrist commands: each replaces the one before.
COMMANDS = _profile(ReliabilityPolicy.RELIABLE, 1)
COMMAND_DEADLINE = 0.2  # s that publishers of commands offer
#: Simulation time, as the clock of ROS subscribes to it.
CLOCK = _profile(ReliabilityPolicy.BEST_EFFORT, 1)
#: Episode events, diagnostics and other rare messages that must arrive.
EVENTS = _profile(ReliabilityPolicy.RELIABLE, 10)
#: Transforms of tf.
TRANSFORMS = _profile(ReliabilityPolicy.BEST_EFFORT, 100)
#: Messages that are published once, for subscribers that come later too: fixed transforms, robot descriptions.
LATCHED = _profile(ReliabilityPolicy.RELIABLE, 100, DurabilityPolicy.TRANSIENT_LOCAL)

#: States that change rarely, whose newest value a late subscriber gets too.
STATE_CHANGES = _profile(ReliabilityPolicy.RELIABLE, 1, DurabilityPolicy.TRANSIENT_LOCAL)


def offered_commands(deadline: float) -> QoSProfile:
    """Commands, as a publisher offers them: subscribers notice within the lease that the publisher has ended.

    Args:
        deadline: Longest time between two commands, for which subscribers may ask [s]; 0 offers none.
    """
    profile = _profile(ReliabilityPolicy.RELIABLE, 1)
    profile.deadline = Duration(seconds=deadline)
    profile.liveliness, profile.liveliness_lease_duration = LivelinessPolicy.AUTOMATIC, Duration(seconds=2.0)
    return profile


def matching(offered: Iterable[QoSProfile], depth: int) -> QoSProfile:
    """The strongest subscription profile that is compatible with every publisher.

    Args:
        offered: Profile of each publisher. Without publishers the result is best effort and volatile.
        depth: Depth of the subscription's queue.

    Returns:
        Reliable if all publishers are reliable; transient local if all publishers are transient local.
    """
    offered = list(offered)
    reliable = bool(offered) and all(o.reliability == ReliabilityPolicy.RELIABLE for o in offered)
    latched = bool(offered) and all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )  # fmt: skip
