"""Stamps of other clocks, uneven arrival, and bags without metadata."""

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin

from latent_policy_ros.data.bags.message_types import message_types

T0 = 1_700_000_000.0
TYPES = message_types().types


def truth(made, count=11):
    return np.array([made.state(T0 + k / 10) for k in range(count)])


def test_nan_before_the_first_image(recording, rig):
    made = recording(seconds=1)
    for k in range(1, 100):
        at = T0 - 2 + k / 50
        made.add("joint_states", at, made.joint_state(at, made.joints, np.full(len(made.joints), np.nan)))
    issues, reader = rig(made)
    assert set(issues) == {"not finite", "begins late"} and reader.frames == 11


def shifted(made, by):
    """The recording with all times moved by ``by`` [s]."""
    for event in made.events:
        event.received += by
        if hasattr(event.message, "header"):
            at = event.message.header.stamp
            event.message.header = made.joint_state(at.sec + 1e-9 * at.nanosec + by, [], []).header
    return made


@pytest.mark.parametrize("begin", [0.0, 22.0])
def test_simulated_time_from_zero(recording, rig, begin):
    made = shifted(recording(seconds=1), begin - T0)
    made.events = [event for event in made.events if event.received >= begin]
    if begin:
        for name in ("joint_states", "wrist_pose"):
            event = made.on(name)[0]
            made.add(name, 0.0, type(event.message)(**{**vars(event.message), "header": made.joint_state(0.0, [], []).header}))
    made.events.append(made.on("hand_command")[0])
    made.events[-1] = type(made.events[-1])("/left/hand_command", begin, made.events[-1].message)
    issues, reader = rig(made)
    assert reader is not None and reader.frames >= 10 and set(issues) <= {"begins late", "ends early"}
    assert all(issue.time is None or 0 <= issue.time < 60 for issue in issues.values())


def test_faults_of_stamps_of_another_clock_are_timed_by_their_receipt(recording, rig):
    made = recording(seconds=1)
    for event in made.on("joint_states"):
        event.message.header = made.joint_state(event.received - T0 + 3, [], []).header
    issues, _ = rig(made)
    assert all(issue.time is None or 0 <= issue.time < 2 for issue in issues.values()) and "clock" in issues


@pytest.mark.parametrize("jitter", [0.08, 0.45])
def test_uneven_arrival_does_not_set_the_frame_rate(recording, rig, jitter):
    made, rng = recording(seconds=4), np.random.default_rng(2)
    for event in made.on("front/image_raw"):
        event.received += rng.uniform(0, jitter)
    issues, reader = rig(made)
    assert reader.fps == 10 and reader.frames == 41
    assert set(issues) <= {"out of order"}
    np.testing.assert_allclose(reader.columns(0)["observation.state"], truth(made, 41), atol=1e-6)


@pytest.mark.parametrize("first", [0.04, 0.06])
@pytest.mark.parametrize("lost", [(), (7, 20, 33)])
def test_intervals_that_take_turns_do_not_set_the_frame_rate(recording, rig, first, lost):
    """A camera at 20 Hz in a loop at 50 Hz."""
    made = recording(seconds=2)
    for camera in ("front", "wrist"):
        made.drop(f"{camera}/image_raw")
        for k in range(42):
            if k not in lost:
                made.add_image(camera, T0 + k // 2 * 0.1 + k % 2 * first)
    issues, reader = rig(made)
    assert reader.fps == 20 and reader.frames == 41 and set(issues) <= {"repeated images", "ends early"}


def test_reindexed_bags_and_files_without_a_profile(tmp_path, recording, converted):
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        bag = recording(seconds=1).write(tmp_path / storage.name, storage=storage)
        file = bag / "metadata.yaml"
        content = yaml.safe_load(file.read_text())
        content["rosbag2_bagfile_information"]["storage_identifier"] = ""
        file.write_text(yaml.safe_dump(content))
        assert converted(bag, out=tmp_path / f"{storage.name}_out")[0].written == 1
    (file,) = (tmp_path / "MCAP").glob("*.mcap")
    content = file.read_bytes()
    assert content.count(b"\x04\x00\x00\x00ros2") == 1
    file.write_bytes(content.replace(b"\x04\x00\x00\x00ros2", b"\x04\x00\x00\x00none"))
    assert converted(tmp_path / "MCAP", out=tmp_path / "other")[0].written == 1
