"""Identity, joints and outcome of episodes, also of data sets that another package made.

A data set of another package can train policies if it has these features:

* ``observation.state`` and ``action``: joint positions [rad or m], measured and commanded. The names of the elements are those of
  the embodiment's joints, in any order, with or without the suffix ``.pos``; other elements are ignored.
* ``observation.wrist`` and ``action.wrist``: poses x y z [m], qx qy qz qw of the hand frame in the robot's base frame; or
  elements ``wrist.x`` to ``wrist.qw`` of ``observation.state`` and ``action``.
* ``observation.images.<camera>``: videos or images.

``robot_type`` in ``meta/info.json`` is the name of the embodiment. Episodes with a feature ``next.success`` that is never true are
failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latent_policy_ros.common.errors import ArtifactError, LatentPolicyError
from latent_policy_ros.data.lerobot.layout import MANIFEST, SUCCESS
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.data.lerobot.staging import DatasetIdentity
from latent_policy_ros.embodiments import load_embodiment


def is_own(reader: LeRobotReader) -> bool:
    """Whether this package made the data set."""
    return (reader.root / MANIFEST).is_file()


def dataset_identity(reader: LeRobotReader) -> DatasetIdentity:
    """Identity of a data set of any package.

    Raises:
        ArtifactError: ``robot_type`` of a data set of another package is not an embodiment.
    """
    if is_own(reader):
        return reader.identity
    name = str(reader.info.get("robot_type"))
    try:
        return DatasetIdentity.for_embodiment(load_embodiment(name), reader.fps)
    except (LatentPolicyError, FileNotFoundError) as error:
        raise ArtifactError(f"{reader.root}: robot_type: expected the name of an embodiment, got {name!r} ({error})") from error


def episode_metadata(reader: LeRobotReader, episode: int) -> dict[str, Any]:
    """Source, settings and outcome of an episode; of a data set of another package, its outcome only."""
    if is_own(reader):
        return reader.episode_metadata[episode]
    if SUCCESS not in reader.features:
        return {"success": True}
    return {"success": bool(reader.columns(episode)[SUCCESS].any())}


def joint_columns(reader: LeRobotReader, feature: str, joints: Sequence[str]) -> list[int]:
    """Columns of a feature, as :meth:`LeRobotReader.columns` gives it, that are the positions of these joints.

    Raises:
        ArtifactError: The feature lacks a joint.
    """
    places = {name.removesuffix(".pos"): place for place, name in enumerate(reader.joint_names(feature))}
    if missing := [joint for joint in joints if joint not in places]:
        raise ArtifactError(f"{reader.root}: {feature}: no element for the joints {', '.join(missing)}; got {list(places)}")
    return [places[joint] for joint in joints]
