"""The fixture rig: bags as real rigs record them, converted with a mapping."""

import itertools

import pytest
import yaml

from latent_policy_ros.data.conversion.mapping_file import load_mapping
from latent_policy_ros.data.lerobot.reader import LeRobotReader

ROBOT = {"cameras": {"front": "/left/front/image_raw"}, "state": "/left/joint_states", "command": "/left/hand_command"}


@pytest.fixture
def rig(tmp_path, recording, converted):
    """Converts a modified recording with a mapping; returns its issues by kind, and the reader or None."""

    count = itertools.count()

    def run(made, custom=None, more=None, **robot):
        number = next(count)
        content = {"robots": {"left": {"embodiment": made.embodiment.name, **ROBOT, **robot}}, **(more or {})}
        file = tmp_path / "rig.yaml"
        file.write_text(yaml.safe_dump(content))
        bag = made.write(tmp_path / f"bag{number}", custom=custom or {"outcome": "success"})
        report, out = converted(bag, out=tmp_path / f"out{number}", mapping=load_mapping(file))
        issues = {issue.kind: issue for _, reasons in report.left_out for issue in reasons}
        issues |= {issue.kind: issue for issue in report.warnings}
        return issues, LeRobotReader(out / made.embodiment.name) if report.written else None

    return run
