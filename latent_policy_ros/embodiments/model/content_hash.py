"""Content hash of an embodiment, by which artefacts identify it; and a key for caches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from latent_policy_ros.embodiments.model.schema import Embodiment

DECIMALS = 8  # of metres and radians: the last bits of computed values differ between processors


def content_hash(embodiment: Embodiment) -> str:
    """sha256 of the canonical JSON of everything that defines the meaning of q and x; the same on every machine."""
    e = embodiment
    content = {
        "name": e.name, "kind": e.kind, "side": e.side,
        "joint_names": e.joint_names, "action_names": e.action_names,
        "hinges": [[h.name, h.parent, h.kind, *h.axis, *h.point] for h in e.hinges],
        "fingertips": {finger: [tip.hinge, *tip.point] for finger, tip in e.fingertips.items()},
        **{key: getattr(e, key).tolist() for key in ("lower", "upper", "coupling", "T_base_hand")},
        "action_limits": [e.action_lower.tolist(), e.action_upper.tolist()],
        "action": [e.action_closed, e.action_open],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(_rounded(content), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class EmbodimentKey:
    """An embodiment as the key of a cache: equal if everything that retargeting and simulation use is equal.

    Attributes:
        embodiment: The embodiment; not part of the comparison.
        content: Its content hash, shape, servo, correspondence, hinge ranges, rest pose and velocity limits.
    """

    embodiment: Embodiment = field(compare=False)
    content: tuple

    @classmethod
    def of(cls, embodiment: Embodiment) -> EmbodimentKey:
        """The key of an embodiment. Its hash is computed again, for it may differ from the one that was loaded."""
        e = embodiment
        ranges = tuple((hinge.lower, hinge.upper) for hinge in e.hinges)
        return cls(e, (content_hash(e), e.shape, e.servo, e.correspondence, ranges, e.rest.tobytes(), e.max_velocity.tobytes()))


def _rounded(content):
    """Round all floats of nested containers."""
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(value) for value in content]
    return round(float(content), DECIMALS) + 0.0 if isinstance(content, (float, np.floating)) else content  # no -0.0
