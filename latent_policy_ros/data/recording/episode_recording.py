"""One recorded episode, from its beginning until nobody can say any more how it turned out. Needs no ROS."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.data.bags import metadata
from latent_policy_ros.data.bags.metadata import Topic
from latent_policy_ros.data.recording.bag_queue import BagQueue
from latent_policy_ros.data.recording.episode_bag import EpisodeBag, Times, bag_folder
from latent_policy_ros.embodiments import load_embodiment

UNKNOWN, SUCCESS, FAILURE = "unknown", "success", "failure"


def describe(
    robots: list[str], cameras: Mapping[str, list[str]], embodiments: list[str], policy: str, latent: str, fleet: str
) -> dict[str, str]:
    """What every bag of these robots says of itself.

    Args:
        robots: Their namespaces.
        cameras: Of each robot.
        embodiments: Name or YAML file of each robot's end-effector; may be empty.
        policy, latent: Folders or names of policy and latent space; may be empty.
        fleet: The fleet's YAML.

    Raises:
        LatentPolicyError: There are not as many embodiments as robots, or one cannot be loaded.
    """
    found = {"robots": ",".join(robots), "cameras": json.dumps(dict(cameras))} if robots else {}
    if embodiments:
        if len(embodiments) != len(robots):
            raise LatentPolicyError(f"embodiments: expected one for each of {', '.join(robots)}; got {', '.join(embodiments)}")
        loaded = {robot: load_embodiment(name) for robot, name in zip(robots, embodiments)}
        told = {robot: {"name": e.name, "content_hash": e.content_hash} for robot, e in loaded.items()}
        for robot, e in loaded.items():
            if e.reference != e.name:  # a file of the user's
                told[robot]["reference"] = e.reference
        found["embodiments"] = json.dumps(told)
    for key, kind, folder in (("policy", "policies", policy), ("latent", "latents", latent)):
        if folder:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found[f"{key}_id"] = json.loads((artifact(kind, folder) / f"{key}.json").read_text())[f"{key}_id"]
    return {**found, "fleet": fleet} if fleet else found


class EpisodeRecording:
    """A bag that is open, then finished, and may be marked or discarded all that time.

    Args:
        folder: Of all bags.
        information: What the bag is to say of itself.
        limit: Bytes that may wait for the disk, and as many for the JPEG encoder.
        quality: Of JPEGs.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, folder: Path, information: Mapping[str, str], limit: int, quality: int) -> None:
        started = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self.bag = EpisodeBag(bag_folder(folder), {**information, "started": started})
        self.path, self.open = self.bag.path, True
        self.queue = BagQueue(self.bag, limit, quality)
        self.outcome = UNKNOWN
        self.outcomes: dict[str, str] = {}  # of each robot

    def put(self, topic: Topic, times: Times, data: bytes, encode: bool) -> None:
        """Record a message; see ``BagQueue.put``."""
        self.queue.put(topic, times, data, encode)

    def stop(self, reason: str, information: Mapping[str, str], lost: Mapping[str, int]) -> None:
        """Finish the bag.

        Args:
            reason: Why it ends.
            information: More that it is to say of itself.
            lost: Messages of each topic that did not arrive here.

        Raises:
            OSError: The disk failed, and the bag could not be finished: it can be repaired.
        """
        self.open = False
        told = {"lost": json.dumps(dict(lost))} if lost else {}
        self.queue.close({**information, **self._told(), **told, "stopped": reason})

    def mark(self, outcome: str) -> None:
        """Say how the episode turned out, the last word counts.

        Raises:
            ArtifactError: The finished bag was moved or deleted.
        """
        self.outcome = outcome
        if not self.open:
            metadata.update_custom(self.path, self._told())

    def discard(self) -> None:
        """Delete the bag."""
        if self.open:
            self.open = False
            self.queue.discard()
        else:
            shutil.rmtree(self.path)

    def _told(self) -> dict[str, str]:
        known = {"success": str(self.outcome == SUCCESS).lower()} if self.outcome != UNKNOWN else {}
        robots = {"outcomes": json.dumps(self.outcomes)} if self.outcomes else {}
        return {"outcome": self.outcome, **known, **robots}


def unfinished(folder: Path) -> list[Path]:
    """Bags in the folders of all days that have no ending: their recorder was killed, or is recording them now."""
    found = (path for path in folder.glob("*/*") if path.is_dir() and not (path / metadata.FILE).exists())
    return sorted(path for path in found if any(path.glob("*.mcap")))


def free_bytes(folder: Path) -> int:
    """Free bytes where a folder is or will be."""
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(present).free
