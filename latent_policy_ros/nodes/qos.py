"""Quality of service of every kind of topic, in one place."""

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
#: Recorders must not lose what was sent reliably, and take the rest as it comes.
RECORD_RELIABLE = _profile(ReliabilityPolicy.RELIABLE, 100)
RECORD_BEST_EFFORT = _profile(ReliabilityPolicy.BEST_EFFORT, 100)
