"""Each thing that can be wrong with a recording is named, with file, topic and time; the other episodes are converted."""

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
def faults_of(tmp_path, recording, converted):
    """Converts a spoiled bag between two good ones; returns what is told of it, and whether it was left out."""

    def run(spoiled, **options):
        spoiled = spoiled if isinstance(spoiled, type(tmp_path)) else spoiled.write(tmp_path / "spoiled")
        good = [recording(seconds=1).write(tmp_path / name) for name in ("good1", "good2")]
        report, out = converted(good[0], spoiled, good[1], **options)
        reader = LeRobotReader(out / "faive_hand")
        lengths = {told["source"].rsplit("/", 1)[1]: row["length"] for told, row in zip(reader.about, reader.episodes)}
        assert lengths["good1"] == lengths["good2"] == 11
        faults = [fault for _, reasons in report.left_out for fault in reasons] + report.warnings
        assert all(fault.file == spoiled for fault in faults) and json.loads((out / "report.json").read_text())
        assert len(report.left_out) <= 1 and ("spoiled" in lengths) == (not report.left_out)
        return {fault.kind: fault for fault in faults}, lengths.get("spoiled"), reader

    return run


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_file_cut_short(tmp_path, recording, faults_of, keep):
    bag = recording(size=(240, 320)).write(tmp_path / "spoiled")
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    told, length, _ = faults_of(bag)
    fault = told["truncated"]
    assert length is None and "dataset repair" in fault.text and file.name in fault.text
    assert fault.time == pytest.approx(3 * keep, abs=0.4)


def test_a_database_cut_short(tmp_path, recording, faults_of):
    bag = recording().write(tmp_path / "spoiled", storage=StoragePlugin.SQLITE3)
    file = next(bag.glob("*.db3"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    told, length, _ = faults_of(bag)
    assert length is None and len(told) == 1 and "malformed" in str(list(told.values())[0])


def test_a_missing_topic(recording, faults_of):
    made = recording()
    made.drop("wrist/image_raw")
    told, length, _ = faults_of(made)
    assert length is None and "/left/wrist/image_raw" in told["missing topic"].topic
    assert "the bag has /left/front/image_raw" in told["missing topic"].text


def test_a_camera_at_half_rate(recording, faults_of):
    made = recording()
    made.drop("wrist/image_raw", keep=lambda event: round(event.at * 10) % 2 == 0)
    told, length, _ = faults_of(made)
    fault = told["low rate"]
    assert length is None and fault.topic == "/left/wrist/image_raw"
    assert "5.0 images per second, expected at least 7.5 for 10 frames" in fault.text


def test_a_camera_that_is_slower_than_the_frames(recording, faults_of):
    made = recording()
    made.drop("wrist/image_raw")
    for k in range(25):
        made.add_image("wrist", T0 + k * 0.122)
    told, length, _ = faults_of(made)
    assert length is None
    assert "8.2 images per second on average, expected at least 9; 5 of 30 frames repeat" in told["low rate"].text


def test_cameras_out_of_step_lose_nothing(recording, faults_of):
    made = recording()
    made.drop("wrist/image_raw")
    for k in range(-1, 31):  # half a frame off the other camera, now a little more, now less
        made.add_image("wrist", T0 + (k + 0.5) / 10 + 0.004 * (-1) ** (k // 2))
    told, length, _ = faults_of(made)
    assert length == 31 and list(told) == ["repeated images"] and int(told["repeated images"].text.split()[0]) > 3


def test_messages_a_little_out_of_order_are_put_in_their_place(recording, faults_of):
    made = recording()
    for name in ("joint_states", "front/image_raw"):
        events = made.on(name)
        for one, other in zip(events[10::4], events[11::4]):
            one.message, other.message = other.message, one.message
    told, length, reader = faults_of(made)
    assert length == 31 and not told["out of order"].fatal and told["out of order"].topic.startswith("/left/")
    columns = reader.columns(2)
    np.testing.assert_allclose(columns["observation.state"], [made.state(T0 + k / 10) for k in range(31)], atol=1e-6)
    images = np.array([p[40, 30, 1] for p in reader.images(2, "front")], int)
    assert np.abs(images - np.arange(31)).max() <= 1


def test_a_message_far_out_of_order(recording, faults_of):
    made = recording()
    event = made.on("joint_states")[80]
    event.message.header = made.joint_state(T0 + 0.3, [], []).header
    told, length, _ = faults_of(made)
    fault = told["out of order"]
    assert length is None and fault.fatal and fault.topic == "/left/joint_states" and fault.time == pytest.approx(1.6, abs=0.05)


@pytest.mark.parametrize("name", ["front/image_raw", "joint_states", "wrist_pose", "hand_command", "wrist_command"])
def test_a_hole_of_two_seconds(tmp_path, recording, converted, name):
    made = recording(seconds=5)
    made.drop(name, keep=lambda event: not 1.5 < event.at < 3.5)
    fault = the_hole(converted(made.write(tmp_path / "bag"))[0])
    assert fault.topic == f"/left/{name}" and fault.time == pytest.approx(1.5, abs=0.35)
    assert not name.endswith("_command") or fault.text == "no command for 2.02 s"


@pytest.mark.parametrize("name", ["hand_command", "wrist_command"])
def test_commands_that_stop_while_the_others_go_on(tmp_path, recording, converted, name):
    made = recording(seconds=6)
    made.drop(name, keep=lambda event: event.at < 3.01)
    fault = the_hole(converted(made.write(tmp_path / "bag"))[0])
    assert fault.topic == f"/left/{name}" and fault.time == pytest.approx(3.0, abs=0.05)
    assert fault.text == "no command for 3.00 s"


def the_hole(report):
    """The only one there is, in all that is told of the only bag."""
    ((_, faults),) = report.left_out
    (hole,) = (fault for fault in faults if fault.kind == "hole")
    return hole


def test_joints_in_another_order_from_some_time_on(recording, faults_of):
    made = recording()
    for event in made.on("joint_states")[70:]:
        message = event.message
        event.message = dataclasses.replace(message, name=message.name[::-1], position=message.position[::-1].copy())
    told, length, reader = faults_of(made)
    fault = told["joint order"]
    assert length == 31 and fault.topic == "/left/joint_states" and fault.time == pytest.approx(1.4, abs=0.05)
    truth = [made.state(T0 + k / 10) for k in range(31)]
    np.testing.assert_allclose(reader.columns(2)["observation.state"], truth, atol=1e-6)


def test_a_hold_as_the_first_command_has_no_order_of_joints(recording, faults_of):
    made = recording()
    first = made.on("hand_command")[0]
    first.message = made.trajectory(first.at + T0, [])
    told, length, _ = faults_of(made)
    assert length == 31 and not told


@pytest.mark.parametrize("name", ["joint_states", "hand_command", "wrist_pose", "wrist_command"])
def test_nan(recording, faults_of, name):
    made = recording()
    message = made.on(name)[60].message
    if name == "joint_states":
        message.position[3] = np.nan
    elif name == "hand_command":
        message.points[0].positions[3] = np.nan
    else:
        message.pose.position = dataclasses.replace(message.pose.position, y=np.nan)
    told, length, _ = faults_of(made)
    fault = told["not finite"]
    assert length is None and fault.topic == f"/left/{name}" and fault.time == pytest.approx(1.2, abs=0.05)


def test_another_robot_by_its_own_account(recording, faults_of, tmp_path):
    made = recording()
    told = {"left": {"name": "faive_hand", "content_hash": "e" * 64}}
    bag = made.write(tmp_path / "spoiled", custom=made.custom(embodiments=json.dumps(told)))
    told, length, _ = faults_of(bag)
    assert length is None and "eeeeeeeeeeee" in told["another robot"].text


def test_another_robot_by_its_joints(recording, faults_of):
    made = recording()
    for event in made.on("joint_states"):
        event.message = dataclasses.replace(event.message, name=[f"other_{i}" for i in range(11)])
    told, length, _ = faults_of(made)
    assert length is None and told["another robot"].topic == "/left/joint_states" and "other_0" in told["another robot"].text


def test_a_clock_that_jumps(recording, faults_of):
    made = recording()
    for event in made.on("front/image_raw")[15:]:
        event.message.header = made.joint_state(event.received - 0.01 + 7.0, [], []).header
    told, length, _ = faults_of(made)
    fault = told["clock jump"]
    assert length is None and fault.topic == "/left/front/image_raw" and fault.time == pytest.approx(1.4, abs=0.05)


def test_a_clock_that_is_off_from_the_beginning(recording, faults_of):
    made = recording()
    for event in made.on("wrist/image_raw"):
        event.message.header = made.joint_state(event.received - 3600, [], []).header
    told, length, _ = faults_of(made)
    assert length is None and "3600.0 s behind" in told["clock"].text and told["clock"].topic == "/left/wrist/image_raw"


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
def test_a_cameras_clock_that_is_off_by_less_than_a_second(recording, faults_of, ahead, length, text):
    made = recording()
    for event in made.on("wrist/image_raw"):
        event.message.header = made.joint_state(event.received + ahead, [], []).header
    told, got, _ = faults_of(made)
    assert got == pytest.approx(length, abs=8) if length else got is None
    assert (text in told["clock"].text and told["clock"].topic == "/left/wrist/image_raw") if text else "clock" not in told


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
def test_a_robots_clock_that_is_off_by_less_than_a_second(recording, faults_of, behind, length, text):
    made = recording()
    for name in ("front/image_raw", "wrist/image_raw", "joint_states", "wrist_pose"):
        for event in made.on(name):
            event.message.header = made.joint_state(event.received - behind, [], []).header
    told, got, _ = faults_of(made)
    assert got == length  # without the images whose stamps are before the first command
    assert (text in told["clock"].text and "`stamps: receive`" in told["clock"].text) if text else "clock" not in told


def test_slow_networks_of_cameras_are_no_clock_that_is_behind(recording, faults_of):
    made = recording()
    for name in ("front/image_raw", "wrist/image_raw"):
        for event in made.on(name):
            event.received += 0.25
    told, length, _ = faults_of(made)
    assert length == 31 and not told


def test_messages_without_stamps_go_by_their_receipt(recording, faults_of):
    made = recording()
    for event in made.on("joint_states"):
        event.message.header = made.joint_state(0.0, [], []).header
    told, length, _ = faults_of(made)
    assert length == 31 and told["no stamp"].topic == "/left/joint_states"


def test_a_image_that_cannot_be_decoded(recording, faults_of):
    made = recording(compressed=True)
    event = made.on("front/image_raw/compressed")[12]
    event.message = dataclasses.replace(event.message, data=event.message.data[:20])
    told, length, _ = faults_of(made)
    fault = told["image"]
    assert length is None and fault.topic == "/left/front/image_raw/compressed" and fault.time == pytest.approx(1.2, abs=0.05)


def test_the_mosaic_of_a_bayer_camera_is_no_image(recording, faults_of):
    made = recording(compressed=True)
    for event in made.on("front/image_raw/compressed"):
        event.message = dataclasses.replace(event.message, format="bayer_rggb8; jpeg compressed ")
    told, length, _ = faults_of(made)
    fault = told["image"]
    assert length is None and fault.topic == "/left/front/image_raw/compressed"
    assert "'bayer_rggb8; jpeg compressed ' is not supported; available: " in fault.text


def test_a_image_of_another_size(recording, faults_of):
    made = recording()
    event = made.on("front/image_raw")[12]
    event.message = made.image(T0 + 1.2, np.zeros((24, 32, 3), np.uint8))
    told, length, _ = faults_of(made)
    assert length is None and "32x24" in told["image"].text and told["image"].time == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize(
    ("size", "text"), [((64, 1), "image of 1x64: expected at least 2x2"), ((8, 20000), "20000x8: H.264 cannot have this size")]
)
def test_images_that_no_video_can_hold(tmp_path, recording, converted, size, text):
    report, _ = converted(recording(seconds=0.5, size=size).write(tmp_path / "bag"))
    ((_, (fault,)),) = report.left_out
    assert fault.kind == "image" and text in fault.text and fault.topic == "/left/front/image_raw"


def test_one_lost_image_is_told(recording, faults_of):
    made = recording()
    made.drop("front/image_raw", keep=lambda event: round(event.at * 10) != 15)
    told, length, _ = faults_of(made)
    assert length == 31 and "1 of 31 frames" in told["repeated images"].text


def test_one_lost_image_of_a_camera_that_jitters_is_told(recording, faults_of):
    made = recording()
    made.drop("front/image_raw", keep=lambda event: round(event.at * 10) != 15)
    for event in made.on("front/image_raw")[14:16]:  # those around it
        event.message.header = made.joint_state(event.received - 0.01 + (0.008 if event.at > 1.5 else -0.008), [], []).header
    told, length, _ = faults_of(made)
    assert length == 31 and list(told) == ["repeated images"]


@pytest.mark.parametrize("rate", [1, 2, 4, 5])
def test_slow_cameras_need_no_limits(tmp_path, recording, converted, rate):
    made, rng = recording(seconds=8), np.random.default_rng(0)
    for camera in ("front", "wrist"):
        made.drop(f"{camera}/image_raw")
        for k in range(8 * rate + 1):
            if k != 4:
                made.add_image(camera, T0 + (k + rng.uniform(-0.05, 0.05)) / rate)
    report, out = converted(made.write(tmp_path / "bag"))
    assert report.written == 1 and LeRobotReader(out / "faive_hand").fps == rate
    assert [fault.kind for fault in report.warnings if fault.kind != "repeated images"] == []


def test_commands_may_be_seconds_old_where_the_limit_says_so(tmp_path, recording, converted):
    made = recording(seconds=9)
    for name in ("hand_command", "wrist_command"):
        made.drop(name, keep=lambda event: event.at < 0.5 or 4.0 < event.at < 4.5)
    known = TopicMapping((conventional("left", made.embodiment, ("front", "wrist")),), limits=Limits(command=5.0))
    report, out = converted(made.write(tmp_path / "bag"), mapping=known)
    assert (report.written, report.left_out) == (1, [])
    action = LeRobotReader(out / "faive_hand").columns(0)["action"]
    assert len(action) == 91 and np.abs(action[30] - made.state(T0 + 0.48) - 0.01).max() < 1e-6


def test_states_may_be_seconds_apart_where_the_limit_says_so(tmp_path, recording, converted):
    made = recording(seconds=9)
    made.drop("joint_states", keep=lambda event: round(event.at * 50) % 75 == 0)
    known = TopicMapping((conventional("left", made.embodiment, ("front", "wrist")),), limits=Limits(state=2.0))
    report, _ = converted(made.write(tmp_path / "bag"), mapping=known)
    assert (report.written, report.frames, report.left_out) == (1, 91, [])


def test_failures_and_the_recorders_own_account(recording, faults_of, tmp_path):
    made = recording()
    custom = made.custom(outcome="failure", dropped=json.dumps({"/left/joint_states": 3}))
    told, length, _ = faults_of(made.write(tmp_path / "spoiled", custom=custom))
    assert length is None and told["failed"] and told["messages dropped"].topic == "/left/joint_states"


def test_kept_failures_are_no_success(recording, faults_of, tmp_path):
    made = recording()
    told, length, reader = faults_of(made.write(tmp_path / "spoiled", custom=made.custom(outcome="failure")), keep_failed=True)
    assert length == 31 and not reader.columns(2)["next.success"].any() and reader.columns(0)["next.success"][-1]


def test_commands_that_begin_late_and_end_early_are_told(recording, faults_of):
    made = recording(seconds=6)
    for name in ("hand_command", "wrist_command"):
        made.drop(name, keep=lambda event: 1.5 < event.at < 4.0)
    told, length, _ = faults_of(made)
    assert not told["begins late"].fatal and not told["ends early"].fatal
    assert told["begins late"].topic.endswith("_command") and told["ends early"].time == pytest.approx(4.0, abs=0.05)
    assert told["begins late"].text == "no earlier message; the first 1.5 s are dropped"
    assert length == pytest.approx(27, abs=1)  # 1.6 to 4.3: the last command is in force for another 0.3 s


def test_other_images_than_in_the_data_set(recording, faults_of):
    told, length, _ = faults_of(recording(size=(24, 32)))
    assert length is None and "observation.images.front is [24, 32, 3]" in told["does not fit"].text


def test_a_bag_that_is_silent_about_its_robots(recording, faults_of, tmp_path):
    told, length, _ = faults_of(recording().write(tmp_path / "spoiled", custom={}))
    assert length is None and "name them in a mapping" in told["unusable"].text
