"""Which hinges belong to which finger."""

from __future__ import annotations

from latent_policy_ros.embodiments.schema import Embodiment, Hinge

PALM = "palm"


def finger_chain(embodiment: Embodiment, finger: str) -> tuple[Hinge, ...]:
    """The hinges from the palm to the tip of ``finger``. KeyError: it has no such finger."""
    hinge, chain = embodiment.hinge(embodiment.fingertips[finger].hinge), []
    while True:
        chain.append(hinge)
        if hinge.parent is None:
            return tuple(chain[::-1])
        hinge = embodiment.hinge(hinge.parent)


def parts(embodiment: Embodiment) -> dict[str | None, str]:
    """The finger that each hinge moves (None, the base itself: the palm); ``palm`` if it moves several, or none."""
    moves: dict[str | None, list[str]] = {None: [], **{name: [] for name in embodiment.hinge_names}}
    for finger in embodiment.fingertips:
        for hinge in finger_chain(embodiment, finger):
            moves[hinge.name].append(finger)
    return {name: fingers[0] if len(fingers) == 1 else PALM for name, fingers in moves.items()}
