"""A ROS 2 graph of one's own: a domain that no other run uses, on this machine only. Free of ROS itself."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latent_policy_ros.errors import LatentPolicyError

#: Domains whose ports stay below Linux' ephemeral range (docs.ros.org, "About ROS_DOMAIN_ID"); 0 is everyone's default.
DOMAINS = range(1, 102)


@contextmanager
def private_domain() -> Iterator[dict[str, str]]:
    """Hold a ROS domain that no other run of this package on this machine holds.

    Yields:
        The environment variables that put a process into it, with discovery kept on this machine.

    Raises:
        LatentPolicyError: Every domain is taken.
    """
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        lock = Path(tempfile.gettempdir()) / f"latent_policy_ros-{os.getuid()}-domain-{domain}.lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
            return
    raise LatentPolicyError(f"all {len(DOMAINS)} ROS domains are in use by runs of this package on this machine")
