"""Quality-of-service profiles of all topics."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(reliability: ReliabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)


#: Camera images and hand keypoints, as sensor drivers publish them.
IMAGES = _profile(ReliabilityPolicy.BEST_EFFORT, 5)
#: Measured joints and poses. Inference blocks a policy node for 10 ms and more, while states arrive at 100 Hz and above.
STATES = _profile(ReliabilityPolicy.BEST_EFFORT, 50)
#: Action chunks: each replaces the one before.
LATENTS = _profile(ReliabilityPolicy.RELIABLE, 1)
#: Joint and wrist commands: each replaces the one before.
COMMANDS = _profile(ReliabilityPolicy.RELIABLE, 1)
#: Episode events, diagnostics and other rare messages that must arrive.
EVENTS = _profile(ReliabilityPolicy.RELIABLE, 10)


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
