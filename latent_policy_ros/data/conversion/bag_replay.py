"""One reading of a bag serves all of its robots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latent_policy_ros.data.bags.reader import Bag
from latent_policy_ros.data.conversion.alignment import Alignment, Row

EVERY = 200  # messages between two reports of progress


def feed(
    bag: Bag, robots: Sequence[tuple[Alignment, Callable[[Row], None]]], progress: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Give a bag's messages to the alignments of its robots, and their rows to whoever wants them.

    Args:
        robots: Each with what takes its rows.
        progress: Called with the numbers of messages done, and of all.

    Raises:
        BagUnreadable: The bag is damaged; rows may have been given away before.
    """
    takers: dict[str, list[tuple[Alignment, Callable[[Row], None]]]] = {}
    for alignment, take in robots:
        for topic in alignment.sources.topics:
            takers.setdefault(topic, []).append((alignment, take))
    total = sum(bag.topics[topic].count for topic in takers)
    for number, (topic, received, message) in enumerate(bag.messages(takers) if takers else ()):
        if number % EVERY == 0:
            progress(number, total)
        for alignment, take in takers[topic]:
            for row in alignment.push(topic, received, message):
                take(row)
    for alignment, take in robots:
        for row in alignment.finish():
            take(row)
    progress(total, total)
