"""Quality of service of every kind of topic, in one place."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(reliability: ReliabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=DurabilityPolicy.VOLATILE)


#: Cameras, as drivers publish them.
IMAGES = _profile(ReliabilityPolicy.BEST_EFFORT, 5)
#: Measured joints and poses. Deep, because the policy thinks for 10 ms and more while they come in at 100 Hz.
STATES = _profile(ReliabilityPolicy.BEST_EFFORT, 50)
#: Plans: only the newest counts.
LATENTS = _profile(ReliabilityPolicy.RELIABLE, 1)
#: Commands: only the newest counts.
COMMANDS = _profile(ReliabilityPolicy.RELIABLE, 1)
#: Rare and important.
EVENTS = _profile(ReliabilityPolicy.RELIABLE, 10)


def matching(offered: Iterable[QoSProfile], depth: int) -> QoSProfile:
    """What receives the most from publishers that offer these: what one of them lacks, nobody can be asked for.

    Args:
        offered: One profile for each publisher; none: the weakest, which receives from any.
        depth: Messages that may wait.
    """
    offered = list(offered)
    reliable = bool(offered) and all(o.reliability == ReliabilityPolicy.RELIABLE for o in offered)
    latched = bool(offered) and all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )  # fmt: skip
