"""Issues of recordings: each is reported with file, topic and time, and other episodes are converted."""

import dataclasses
import json

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from latent_policy_ros.data.conversion.mapping import Limits, TopicMapping, conventional
from latent_policy_ros.data.lerobot.reader import LeRobotReader

T0 = 1_700_000_000.0
START = T0 - 0.019  # of the bags: receipt of the first message


@pytest.fixture
def issues_of(tmp_path, recording, converted):
    """Converts a modified bag between two good ones; returns its issues by kind, its number of frames or None, and the reader."""

    def run(modified, **options):
        modified = modified if isinstance(modified, type(tmp_path)) else modified.write(tmp_path / "modified")
        good = [recording(seconds=1).write(tmp_path / name) for name in ("good1", "good2")]
        report, out = converted(good[0], modified, good[1], **options)
        reader = LeRobotReader(out / "faive_hand")
        lengths = {}
        for about, row in zip(reader.episode_metadata, reader.episodes):
            name = about["source"].rsplit("/", 1)[1]
            lengths[name] = lengths.get(name, 0) + row["length"]
        assert lengths["good1"] == lengths["good2"] == 11
        issues = [issue for _, reasons in report.left_out for issue in reasons] + report.warnings
        assert all(issue.file == modified for issue in issues) and json.loads((out / "report.json").read_text())
        assert len(report.left_out) <= 1 and ("modified" in lengths) == (not report.left_out)
        return {issue.kind: issue for issue in issues}, lengths.get("modified"), reader

    return run


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_mcap(tmp_path, recording, issues_of, keep):
    bag = recording(size=(240, 320)).write(tmp_path / "modified")
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    issues, length, _ = issues_of(bag)
    issue = issues["truncated"]
    assert length is None and "dataset repair" in issue.text and file.name in issue.text
    assert issue.time == pytest.approx(3 * keep, abs=0.4)


def test_truncated_sqlite3(tmp_path, recording, issues_of):
    bag = recording().write(tmp_path / "modified", storage=StoragePlugin.SQLITE3)
    file = next(bag.glob("*.db3"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    issues, length, _ = issues_of(bag)
    assert length is None and len(issues) == 1 and "malformed" in str(list(issues.values())[0])


def test_missing_topic(recording, issues_of):
    made = recording()
    made.drop("wrist/image_raw")
    issues, length, _ = issues_of(made)
    assert length is None and "/left/wrist/image_raw" in issues["missing topic"].topic
    assert "the bag has /left/front/image_raw" in issues["missing topic"].text


def test_camera_at_half_rate(recording, issues_of):
    made = recording()
    made.drop("wrist/image_raw", keep=lambda event: round(event.at * 10) % 2 == 0)
    issues, length, _ = issues_of(made)
    issue = issues["low rate"]
    assert length is None and issue.topic == "/left/wrist/image_raw"
    assert "5.0 images per second, expected at least 7.5 for 10 frames" in issue.text


def test_camera_slower_than_the_frame_rate(recording, issues_of):
    made = recording()
    made.drop("wrist/image_raw")
    for k in range(25):
        made.add_image("wrist", T0 + k * 0.122)
    issues, length, _ = issues_of(made, mapping=TopicMapping((), limits=Limits(repeated=0.1)))
    assert length is None
    assert "8.2 images per second on average, expected at least 9; 5 of 30 frames repeat" in issues["low rate"].text


def test_cameras_out_of_step(recording, issues_of):
    made = recording()
    made.drop("wrist/image_raw")
    for k in range(-1, 31):  # half a frame off the other camera, now a little more, now less
        made.add_image("wrist", T0 + (k + 0.5) / 10 + 0.004 * (-1) ** (k // 2))
    issues, length, _ = issues_of(made)
    assert length == 31 and list(issues) == ["repeated images"] and int(issues["repeated images"].text.split()[0]) > 3


def test_slightly_late_messages_are_sorted_in(recording, issues_of):
    made = recording()
    for name in ("joint_states", "front/image_raw"):
        events = made.on(name)
        for one, other in zip(events[10::4], events[11::4]):
            one.message, other.message = other.message, one.message
    issues, length, reader = issues_of(made)
    assert length == 31 and not issues["out of order"].fatal and issues["out of order"].topic.startswith("/left/")
    columns = reader.columns(2)
    np.testing.assert_allclose(columns["observation.state"], [made.state(T0 + k / 10) for k in range(31)], atol=1e-6)
    images = np.array([p[40, 30, 1] for p in reader.images(2, "front")], int)
    assert np.abs(images - np.arange(31)).max() <= 1


def test_very_late_message(recording, issues_of):
    made = recording()
    event = made.on("joint_states")[80]
    event.message.header = made.joint_state(T0 + 0.3, [], []).header
    issues, length, _ = issues_of(made)
    issue = issues["out of order"]
    assert length is None and issue.fatal and issue.topic == "/left/joint_states" and issue.time == pytest.approx(1.6, abs=0.05)


@pytest.mark.parametrize("name", ["front/image_raw", "joint_states", "wrist_pose", "hand_command", "wrist_command"])
def test_hole_of_two_seconds_splits_or_drops_the_episode(tmp_path, recording, converted, name):
    made = recording(seconds=5)
    made.drop(name, keep=lambda event: not 1.5 < event.at < 3.5)
    bag = made.write(tmp_path / "bag")
    report, out = converted(bag)
    assert (report.written, report.left_out) == (2, [])
    reader = LeRobotReader(out / "faive_hand")
    assert [row["length"] for row in reader.episodes] == pytest.approx([17, 16], abs=2)
    np.testing.assert_allclose(reader.columns(1)["observation.state"][-1], made.state(T0 + 5), atol=1e-6)
    assert not reader.columns(0)["next.success"].any() and reader.columns(1)["next.success"][-1]
    assert [about["success"] for about in reader.episode_metadata] == [True, True]
    again, _ = converted(bag, out=out)
    assert (again.written, again.kept) == (0, 1)
    issue = only_hole(converted(bag, out=tmp_path / "dropped", mapping=TopicMapping((), on_hole="drop"))[0])
    assert issue.topic == f"/left/{name}" and issue.time == pytest.approx(1.7, abs=0.3)
    assert "or `on_hole: keep` bridges it, `on_hole: split` makes two episodes" in issue.text
    kept, _ = converted(bag, out=tmp_path / "kept", mapping=TopicMapping((), on_hole="keep"))
    assert (kept.written, kept.frames) == (1, 51) and "bridged" in {issue.kind for issue in kept.warnings}


@pytest.mark.parametrize("name", ["front/image_raw", "joint_states", "wrist_command"])
def test_short_hole_is_bridged(recording, issues_of, name):
    made = recording()
    made.drop(name, keep=lambda event: not 1.15 < event.at < 1.55)
    issues, length, _ = issues_of(made)
    assert length == 31 and issues["bridged"].topic == f"/left/{name}"
    assert issues["bridged"].text.endswith("of 31 frames are within a hole and hold the nearest value")


def test_too_many_holes_leave_the_episode_out(recording, issues_of):
    made = recording(seconds=6)
    made.drop("joint_states", keep=lambda event: event.at % 2 < 0.3)
    issues, length, _ = issues_of(made)
    assert length is None and "`on_hole: keep` allows more (and 1 more)" in issues["holes"].text


@pytest.mark.parametrize("name", ["hand_command", "wrist_command"])
def test_commands_end_before_other_topics(tmp_path, recording, converted, name):
    made = recording(seconds=6)
    made.drop(name, keep=lambda event: event.at < 3.01)
    report, _ = converted(made.write(tmp_path / "bag"))
    assert report.written == 1 and report.frames == pytest.approx(34.5, abs=0.5)  # a trajectory reaches its point after 0.1 s
    (hole,) = (issue for issue in report.warnings if issue.kind == "hole")
    assert hole.topic == f"/left/{name}" and hole.text == "no command within 0.3 s until the end"


def only_hole(report):
    """The only hole among the issues of the only bag."""
    ((_, issues),) = report.left_out
    (hole,) = (issue for issue in issues if issue.kind == "hole")
    return hole


def test_joint_order_changes(recording, issues_of):
    made = recording()
    for event in made.on("joint_states")[70:]:
        message = event.message
        event.message = dataclasses.replace(message, name=message.name[::-1], position=message.position[::-1].copy())
    issues, length, reader = issues_of(made)
    issue = issues["joint order"]
    assert length == 31 and issue.topic == "/left/joint_states" and issue.time == pytest.approx(1.4, abs=0.05)
    truth = [made.state(T0 + k / 10) for k in range(31)]
    np.testing.assert_allclose(reader.columns(2)["observation.state"], truth, atol=1e-6)


def test_first_command_without_points(recording, issues_of):
    made = recording()
    first = made.on("hand_command")[0]
    first.message = made.trajectory(first.at + T0, [])
    issues, length, _ = issues_of(made)
    assert length == 31 and not issues


@pytest.mark.parametrize("name", ["joint_states", "hand_command", "wrist_pose", "wrist_command"])
def test_nan(recording, issues_of, name):
    made = recording()
    message = made.on(name)[60].message
    if name == "joint_states":
        message.position[3] = np.nan
    elif name == "hand_command":
        message.points[0].positions[3] = np.nan
    else:
        message.pose.position = dataclasses.replace(message.pose.position, y=np.nan)
    issues, length, _ = issues_of(made)
    issue = issues["not finite"]
    assert length == 31 and issue.topic == f"/left/{name}" and issue.time == pytest.approx(1.2, abs=0.05)
    assert not issue.fatal and list(issues) == ["not finite"]


def test_other_embodiment_in_the_metadata(recording, issues_of, tmp_path):
    made = recording()
    recorded = {"left": {"name": "faive_hand", "content_hash": "e" * 64}}
    bag = made.write(tmp_path / "modified", custom=made.custom(embodiments=json.dumps(recorded)))
    issues, length, _ = issues_of(bag)
    assert length is None and "eeeeeeeeeeee" in issues["another robot"].text


def test_other_joint_names(recording, issues_of):
    made = recording()
    for event in made.on("joint_states"):
        event.message = dataclasses.replace(event.message, name=[f"other_{i}" for i in range(11)])
    issues, length, _ = issues_of(made)
    assert length is None and issues["another robot"].topic == "/left/joint_states" and "other_0" in issues["another robot"].text


def test_clock_jump(recording, issues_of):
    made = recording()
    for event in made.on("front/image_raw")[15:]:
        event.message.header = made.joint_state(event.received - 0.01 + 7.0, [], []).header
    issues, length, _ = issues_of(made)
    issue = issues["clock jump"]
    assert length is None and issue.topic == "/left/front/image_raw" and issue.time == pytest.approx(1.4, abs=0.05)


def test_clock_offset_of_an_hour(recording, issues_of):
    made = recording()
    for event in made.on("wrist/image_raw"):
        event.message.header = made.joint_state(event.received - 3600, [], []).header
    issues, length, _ = issues_of(made)
    assert length is None and "3600.0 s behind" in issues["clock"].text and issues["clock"].topic == "/left/wrist/image_raw"


@pytest.mark.parametrize(
    ("ahead", "length", "text"),
    [
        (0.6, None, "0.60 s later than the time of receipt"),
        (0.05, 31, "0.05 s later than the time of receipt"),
        (-0.6, 31, "received 0.60 s after its stamps, /left/joint_states after 0.00 s"),
        (0.015, 31, ""),
        (-0.25, 31, ""),
    ],
)
def test_camera_clock_offset_below_a_second(recording, issues_of, ahead, length, text):
    made = recording()
    for event in made.on("wrist/image_raw"):
        event.message.header = made.joint_state(event.received + ahead, [], []).header
    issues, got, _ = issues_of(made)
    assert got == pytest.approx(length, abs=8) if length else got is None
    assert (text in issues["clock"].text and issues["clock"].topic == "/left/wrist/image_raw") if text else "clock" not in issues


@pytest.mark.parametrize(
    ("behind", "length", "text"),
    [
        (0.7, None, "received 0.70 s after its stamps, all other topics later"),
        (0.3, None, "received 0.30 s after its stamps, all other topics later"),
        (0.15, 28, "received 0.15 s after its stamps, all other topics later"),
        (0.08, 29, ""),
        (-0.3, None, "stamps are 0.30 s later than the time of receipt"),
    ],
)
def test_robot_clock_offset_below_a_second(recording, issues_of, behind, length, text):
    made = recording()
    for name in ("front/image_raw", "wrist/image_raw", "joint_states", "wrist_pose"):
        for event in made.on(name):
            event.message.header = made.joint_state(event.received - behind, [], []).header
    issues, got, _ = issues_of(made)
    assert got == length  # without the images whose stamps are before the first command
    assert (text in issues["clock"].text and "`stamps: receive`" in issues["clock"].text) if text else "clock" not in issues


def test_camera_transport_delay_is_no_clock_issue(recording, issues_of):
    made = recording()
    for name in ("front/image_raw", "wrist/image_raw"):
        for event in made.on(name):
            event.received += 0.25
    issues, length, _ = issues_of(made)
    assert length == 31 and not issues


def test_messages_without_stamps_use_the_time_of_receipt(recording, issues_of):
    made = recording()
    for event in made.on("joint_states"):
        event.message.header = made.joint_state(0.0, [], []).header
    issues, length, _ = issues_of(made)
    assert length == 31 and issues["no stamp"].topic == "/left/joint_states"


def test_image_that_cannot_be_decoded(recording, issues_of):
    made = recording(compressed=True)
    event = made.on("front/image_raw/compressed")[12]
    event.message = dataclasses.replace(event.message, data=event.message.data[:20])
    issues, length, _ = issues_of(made)
    issue = issues["damaged images"]
    assert length == 31 and issue.topic == "/left/front/image_raw/compressed" and issue.time == pytest.approx(1.2, abs=0.05)
    assert "cannot be decoded" in issue.text and "1 of 31 frames repeat another image, from 1.20 s of the episode on" in issue.text


def test_many_images_that_cannot_be_decoded(recording, issues_of):
    made = recording(compressed=True)
    for event in made.on("front/image_raw/compressed")[::3]:
        event.message = dataclasses.replace(event.message, data=event.message.data[:20])
    issues, length, _ = issues_of(made)
    assert length is None and issues["image"].topic == "/left/front/image_raw/compressed"


def test_bayer_mosaic(recording, issues_of):
    made = recording(compressed=True)
    for event in made.on("front/image_raw/compressed"):
        event.message = dataclasses.replace(event.message, format="bayer_rggb8; jpeg compressed ")
    issues, length, _ = issues_of(made)
    issue = issues["image"]
    assert length is None and issue.topic == "/left/front/image_raw/compressed"
    assert "'bayer_rggb8; jpeg compressed ' is not supported; available: " in issue.text


def test_image_of_another_size(recording, issues_of):
    made = recording()
    event = made.on("front/image_raw")[12]
    event.message = made.image(T0 + 1.2, np.zeros((24, 32, 3), np.uint8))
    issues, length, _ = issues_of(made)
    assert length is None and "32x24" in issues["image"].text and issues["image"].time == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize(
    ("size", "text"), [((64, 1), "image of 1x64: expected at least 2x2"), ((8, 20000), "20000x8: H.264 does not support this size")]
)
def test_image_sizes_that_videos_cannot_have(tmp_path, recording, converted, size, text):
    report, _ = converted(recording(seconds=0.5, size=size).write(tmp_path / "bag"))
    ((_, (issue,)),) = report.left_out
    assert issue.kind == "image" and text in issue.text and issue.topic == "/left/front/image_raw"


def test_one_lost_image(recording, issues_of):
    made = recording()
    made.drop("front/image_raw", keep=lambda event: round(event.at * 10) != 15)
    issues, length, _ = issues_of(made)
    assert length == 31 and "1 of 31 frames" in issues["repeated images"].text


def test_one_lost_image_of_a_jittering_camera(recording, issues_of):
    made = recording()
    made.drop("front/image_raw", keep=lambda event: round(event.at * 10) != 15)
    for event in made.on("front/image_raw")[14:16]:  # those around it
        event.message.header = made.joint_state(event.received - 0.01 + (0.008 if event.at > 1.5 else -0.008), [], []).header
    issues, length, _ = issues_of(made)
    assert length == 31 and list(issues) == ["repeated images"]


@pytest.mark.parametrize("rate", [1, 2, 4, 5])
def test_slow_cameras_with_default_limits(tmp_path, recording, converted, rate):
    made, rng = recording(seconds=8), np.random.default_rng(0)
    for camera in ("front", "wrist"):
        made.drop(f"{camera}/image_raw")
        for k in range(8 * rate + 1):
            if k != 4:
                made.add_image(camera, T0 + (k + rng.uniform(-0.05, 0.05)) / rate)
    report, out = converted(made.write(tmp_path / "bag"))
    assert report.written == 1 and LeRobotReader(out / "faive_hand").fps == rate
    assert [issue.kind for issue in report.warnings if issue.kind != "repeated images"] == []


def test_command_limit_of_seconds(tmp_path, recording, converted):
    made = recording(seconds=9)
    for name in ("hand_command", "wrist_command"):
        made.drop(name, keep=lambda event: event.at < 0.5 or 4.0 < event.at < 4.5)
    known = TopicMapping((conventional("left", made.embodiment, ("front", "wrist")),), limits=Limits(command=5.0))
    report, out = converted(made.write(tmp_path / "bag"), mapping=known)
    assert (report.written, report.left_out) == (1, [])
    action = LeRobotReader(out / "faive_hand").columns(0)["action"]
    assert len(action) == 91 and np.abs(action[30] - made.state(T0 + 0.48) - 0.01).max() < 1e-6


def test_state_limit_of_seconds(tmp_path, recording, converted):
    made = recording(seconds=9)
    made.drop("joint_states", keep=lambda event: round(event.at * 50) % 75 == 0)
    known = TopicMapping((conventional("left", made.embodiment, ("front", "wrist")),), limits=Limits(state=2.0))
    report, _ = converted(made.write(tmp_path / "bag"), mapping=known)
    assert (report.written, report.frames, report.left_out) == (1, 91, [])


def test_failed_episode_and_dropped_messages(recording, issues_of, tmp_path):
    made = recording()
    custom = made.custom(outcome="failure", dropped=json.dumps({"/left/joint_states": 3}))
    issues, length, _ = issues_of(made.write(tmp_path / "modified", custom=custom))
    assert length is None and issues["failed"] and issues["messages dropped"].topic == "/left/joint_states"


def test_kept_failure_is_no_success(recording, issues_of, tmp_path):
    made = recording()
    issues, length, reader = issues_of(made.write(tmp_path / "modified", custom=made.custom(outcome="failure")), keep_failed=True)
    assert length == 31 and not reader.columns(2)["next.success"].any() and reader.columns(0)["next.success"][-1]


def test_commands_that_begin_late_and_end_early(recording, issues_of):
    made = recording(seconds=6)
    for name in ("hand_command", "wrist_command"):
        made.drop(name, keep=lambda event: 1.5 < event.at < 4.0)
    issues, length, _ = issues_of(made)
    assert not issues["begins late"].fatal and not issues["ends early"].fatal
    assert issues["begins late"].topic.endswith("_command") and issues["ends early"].time == pytest.approx(4.0, abs=0.05)
    assert issues["begins late"].text == "no earlier frame with all topics; the first 1.6 s are dropped"
    assert length == pytest.approx(27, abs=1)  # 1.6 to 4.3: the last command is in force for another 0.3 s


def test_image_size_differs_from_the_data_set(recording, issues_of):
    issues, length, _ = issues_of(recording(size=(24, 32)))
    assert length is None and "observation.images.front: expected [48, 64, 3]" in issues["does not fit"].text


def test_bag_without_metadata_about_robots(recording, issues_of, tmp_path):
    issues, length, _ = issues_of(recording().write(tmp_path / "modified", custom={}))
    assert length is None and "name them in a mapping" in issues["unusable"].text
