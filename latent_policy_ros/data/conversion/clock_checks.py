"""Clocks whose offset is too small to be visible in a single message."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from latent_policy_ros.data.conversion.stream_monitor import MAX_CLOCK_OFFSET, StreamMonitor
from latent_policy_ros.data.issues import IssueReporter

MAX_STAMP_LEAD = 0.02  # [s] by which stamps may be later than receipt
MAX_RELATIVE_DELAY = 0.3  # [s] by which the delay of a topic may exceed that of the fastest topic
MAX_TRANSPORT_DELAY = 0.1  # [s] from stamp to receipt that drivers and network may need on the fastest topic


def check_clocks(
    monitors: Mapping[str, StreamMonitor], command_topics: Collection[str], state_limit: float, reporter: IssueReporter
) -> None:
    """Report topics whose stamps differ from the time of receipt, or from those of other topics.

    Args:
        monitors: Monitor of each topic.
        command_topics: Topics that are timed by their receipt; they are not checked.
        state_limit: The limit of measured joints [s].
        reporter: Receives the issues.
    """
    delays = {topic: monitor.delay for topic, monitor in monitors.items() if topic not in command_topics and monitor.count}
    fastest = min(delays, key=lambda topic: abs(delays[topic]), default="")
    for topic, delay in delays.items():
        limit = monitors[topic].max_gap / 2
        if -MAX_CLOCK_OFFSET <= delay < -MAX_STAMP_LEAD:
            text = (
                f"stamps are {-delay:.2f} s later than the time of receipt; check the clocks of its device and of the "
                "recorder; `stamps: receive` ignores stamps"
            )
            reporter.report("clock", topic, None, text, delay < -limit)
        elif delay - delays[fastest] > MAX_RELATIVE_DELAY and delay <= MAX_CLOCK_OFFSET:
            text = (
                f"received {delay:.2f} s after its stamps, {fastest} after {delays[fastest]:.2f} s; check the clock of its device"
            )
            reporter.report("clock", topic, None, text, fatal=False)
    least = delays.get(fastest, 0.0)
    if MAX_TRANSPORT_DELAY < least <= MAX_CLOCK_OFFSET:  # commands are timed by receipt and would lag behind the state
        text = (
            f"received {least:.2f} s after its stamps, all other topics later; check the clock of the robot; "
            "`stamps: receive` ignores stamps"
        )
        reporter.report("clock", fastest, None, text, least - MAX_TRANSPORT_DELAY > state_limit)
