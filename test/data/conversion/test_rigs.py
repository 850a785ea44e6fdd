"""Messages as real rigs record them: joints in parts, several publishers, damaged messages and units."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.conversion import command_types
from latent_policy_ros.data.conversion.mapping_file import load_mapping

T0 = 1_700_000_000.0
TYPES = message_types().types
ROBOT = {"cameras": {"front": "/left/front/image_raw"}, "state": "/left/joint_states", "command": "/left/hand_command"}


def truth(made, count=11):
    return np.array([made.state(T0 + k / 10) for k in range(count)])


def split(made, names, to="joint_states", late=0.004):
    """Move some joints of the state to messages of their own."""
    for event in made.on("joint_states"):
        values = dict(zip(event.message.name, event.message.position))
        rest = [name for name in event.message.name if name not in names]
        at = event.received - 0.001
        event.message = made.joint_state(at, rest, [values[name] for name in rest])
        made.add(to, event.received + late, made.joint_state(at + late, names, [values[name] for name in names]))


def test_joints_in_messages_of_their_own_on_one_topic_or_on_two(recording, rig):
    made = recording(seconds=1)
    split(made, made.joints[3:5])
    issues, reader = rig(made)
    assert list(issues) == []
    np.testing.assert_allclose(reader.columns(0)["observation.state"], truth(made), atol=0.02)


def test_sources_on_two_topics_with_units_and_commands_apart(recording, rig):
    made, arm = recording(seconds=1), ["arm1", "arm2"]
    for k in range(-1, 51):
        at = T0 + k / 50
        made.add("arm_states", at + 0.003, made.array(np.rad2deg([0.1, k / 100])))
        made.add("arm_command", at + 0.003, made.joint_state(at, ["arm2"], [k / 100 + 0.02]))
        made.add("thumb", at + 0.003, made.joint_state(at, made.joints[:2], made.state(at)[:2]))
    for event in made.on("hand_command"):
        event.message = made.joint_state(T0, made.joints[2:], event.message.points[0].positions[2:])
    issues, reader = rig(
        made, more_joints=arm, state=["/left/joint_states", {"topic": "/left/arm_states", "order": arm, "more_units": "deg"}],
        command=["/left/hand_command", "/left/arm_command", "/left/thumb"],
    )  # fmt: skip
    assert list(issues) == ["not commanded"] and issues["not commanded"].text.startswith("no command for arm1: measured only")
    columns = reader.columns(0)
    assert reader.joint_names("observation.state") == (*made.joints, *arm) and reader.joint_names("action") == (
        *made.joints,
        "arm2",
    )
    np.testing.assert_allclose(columns["observation.state"][:, -2], 0.1, atol=1e-6)
    np.testing.assert_allclose(columns["observation.state"][:, -1], [k / 20 for k in range(11)], atol=0.011)
    np.testing.assert_allclose(columns["action"][:, -1], columns["observation.state"][:, -1] + 0.01, atol=0.011)


def test_command_topic_that_begins_late_is_part_of_the_action(recording, rig):
    made = recording(seconds=8)
    for k in range(250, 400):
        made.add("arm_command", T0 + k / 50, made.joint_state(T0 + k / 50, ["arm1"], [0.2]))
    for event in made.on("joint_states"):
        event.message.name, event.message.position = [*event.message.name, "arm1"], np.append(event.message.position, 0.2)
    issues, reader = rig(made, more_joints=["arm1"], command=["/left/hand_command", "/left/arm_command"])
    assert "not commanded" not in issues and reader.joint_names("action") == (*made.joints, "arm1")


def test_state_that_is_sent_on_changes_changes_then(recording, rig):
    made = recording(seconds=4)
    for at, value in ((-0.3, 0.0), (1.52, 1.0), (2.78, 0.0)):
        made.add("valve", T0 + at, made.array([value]))
    sources = ["/left/joint_states", {"topic": "/left/valve", "order": ["valve"], "limit": 60}]
    issues, reader = rig(made, state=sources, more_joints=["valve"])
    valve = reader.columns(0)["observation.state"][:, -1]
    assert list(np.flatnonzero(np.diff(valve)) + 1) == [16, 28] and len(valve) == 41 and set(issues) <= {"not commanded"}


def test_commands_that_copy_the_state_are_told(recording, rig):
    made = recording(seconds=3)
    for event in made.on("hand_command"):
        event.message = made.joint_state(event.received, made.joints, made.state(event.received - 0.002))
    issues, _ = rig(made)
    assert "are measured and commanded joints the same topic?" in issues["state equals command"].text
    made = recording(embodiment="panda_gripper", seconds=3)
    for event in made.on("joint_states"):  # rests at the command most of the time
        event.message.position = np.array([0.03 if event.at < 1.5 else 0.01])
    made.drop("hand_command")
    for k in range(150):
        made.add("hand_command", T0 + k / 50 - 0.1, made.joint_state(T0, made.joints, [0.03 if k < 72 else 0.01]))
    issues, _ = rig(made)
    assert "state equals command" not in issues


def test_small_values_are_not_taken_for_millimetres(recording, rig):
    made = recording(embodiment="panda_gripper", seconds=1)
    for event in made.on("joint_states"):
        event.message.position = np.array([0.5 + 0.4 * np.sin(event.at)])
    issues, _ = rig(made)
    assert "which unit is it in? `closed:` and `open:` map" in issues["units"].text


def test_one_wrong_value_does_not_hide_a_second_publisher(recording, rig):
    made = recording(seconds=3)
    for event in made.on("joint_states")[::3]:
        made.add("joint_states", event.received + 0.002, made.joint_state(event.received, made.joints, np.zeros(len(made.joints))))
    made.add("joint_states", T0 - 0.5, made.joint_state(T0 - 0.5, made.joints, np.full(len(made.joints), 1234.0)))
    issues, reader = rig(made)
    assert reader is None and issues["two publishers"].fatal


def test_a_part_that_falls_silent_is_a_hole(recording, rig):
    made = recording(seconds=4)
    split(made, made.joints[3:5], "rest")
    made.drop("rest", keep=lambda event: not 1.5 < event.at < 3.0)
    issues, reader = rig(made, state=["/left/joint_states", "/left/rest"])
    assert "hole" in issues and [row["length"] for row in reader.episodes] == pytest.approx([17, 11], abs=2)


def test_messages_without_positions_or_names(recording, rig):
    made = recording(seconds=1)
    for event in made.on("joint_states")[::2]:
        speeds = made.joint_state(event.received, made.joints, [])
        speeds.velocity = np.ones(len(made.joints))
        made.add("joint_states", event.received + 0.002, speeds)
    issues, reader = rig(made)
    assert list(issues) == [] and reader.frames == 11
    for event in made.on("joint_states"):
        event.message.name = []
    issues, _ = rig(made)
    assert "list their joints in `state.order` of the mapping" in issues["no names"].text
    for event in made.on("joint_states"):
        event.message.position = np.zeros(0)
    issues, reader = rig(made)
    assert reader is None and issues["missing joints"].text == "no positions in its messages" and "missing topic" not in issues


def dynamic(made, at, names, positions):
    interfaces = []
    for position in positions:
        found = np.array([0.0, *position])
        interfaces.append(TYPES["control_msgs/msg/InterfaceValue"](interface_names=["velocity", "position"], values=found))
    head = made.joint_state(at, [], []).header
    return TYPES["control_msgs/msg/DynamicJointState"](header=head, joint_names=list(names), interface_values=interfaces)


def test_a_damaged_message_is_a_lost_one_and_concerns_one_robot(recording, tmp_path, converted):
    """Too few values in one message of the left robot."""
    made, right = recording(seconds=2), recording("right", seconds=2)
    for event in made.on("joint_states"):
        lacks = 0.79 < event.at < 0.81
        found = [[q] for q in event.message.position]
        event.message = dynamic(made, event.received - 0.001, made.joints, [[], *found[1:]] if lacks else found)
    made.events += right.events
    robots = {name: yaml.safe_load(yaml.safe_dump(ROBOT).replace("left", name)) for name in ("left", "right")}
    file = tmp_path / "rig.yaml"
    file.write_text(yaml.safe_dump({"robots": {name: {"embodiment": "faive_hand", **robots[name]} for name in robots}}))
    report, _ = converted(made.write(tmp_path / "bag", custom={"outcome": "success"}), mapping=load_mapping(file))
    assert report.written == 2
    [(issue, text)] = [(issue, str(issue)) for issue in report.warnings if issue.kind == "refused"]
    assert issue.robot == "left" and issue.topic == "/left/joint_states" and issue.time == pytest.approx(0.82, abs=0.03)
    assert text.endswith(f"DynamicJointState has 2 interfaces and 1 values of {made.joints[0]}")


def test_messages_of_another_definition_are_refused(recording, rig, monkeypatch):
    made = recording(seconds=1)
    other = replace(command_types.JOINT_STATE, read=lambda message: message.positions)  # a field that the definition has not
    monkeypatch.setattr(command_types, "JOINT_STATE", other)
    issues, reader = rig(made)
    assert reader is None and "refused" in issues
    assert issues["refused"].text.startswith("sensor_msgs/msg/JointState without the field positions (and ")
    assert issues["refused"].topic == "/left/joint_states"


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3], ids=["mcap", "sqlite3"])
def test_a_topic_of_two_types_is_refused(tmp_path, recording, converted, storage):
    made = recording(seconds=1)
    for event in made.on("hand_command")[::2]:
        event.message = made.joint_state(event.received, made.joints, event.message.points[0].positions)
    report, _ = converted(made.write(tmp_path / "bag", storage=storage, custom=made.custom()))
    [(_, issues)] = report.left_out
    types = "trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/JointState"
    assert [issue.kind for issue in issues if issue.fatal] == ["wrong type"] and all(name in issues[0].text for name in types)


def test_two_publishers_of_the_same_joints(recording, rig):
    made = recording(seconds=2)
    for event in made.on("joint_states")[::3]:
        made.add("joint_states", event.received + 0.003, made.joint_state(event.received, made.joints, 0 * made.state(T0)))
    issues, reader = rig(made)
    assert reader is None and "alternates between" in issues["two publishers"].text


def test_two_publishers_of_the_same_wrist(recording, rig):
    """Measured poses leave the episode out; commands may be meant so, and are reported."""
    made, poses = recording(seconds=2), {"wrist": "/left/wrist_pose", "wrist_command": "/left/wrist_command"}
    for event in made.on("wrist_command")[::3]:
        made.add("wrist_command", event.received + 0.003, made.pose(event.received, event.message.pose.position.x - 0.4))
    issues, reader = rig(made, **poses)
    assert reader.frames == 21 and issues["two publishers"].text.startswith("perhaps two: x alternates between")
    for event in made.on("wrist_pose")[::3]:
        made.add("wrist_pose", event.received + 0.003, made.pose(event.received + 0.003, event.message.pose.position.x + 0.5))
    made.drop("wrist_command")
    issues, reader = rig(made, wrist=poses["wrist"])
    assert reader is None and issues["two publishers"].text.startswith("two publishers: x alternates between")


def test_two_cameras_on_one_topic(recording, rig):
    made = recording(seconds=2)
    images = made.on("front/image_raw")
    for event in images:
        event.message.header.frame_id = "left_eye" if event.at < 1 else "right_eye"
    issues, reader = rig(made)
    assert reader.frames == 21
    assert issues["two publishers"].text.startswith("perhaps two cameras: frame_id changes from left_eye to right_eye")
    images[-1].message.header.frame_id = "left_eye"
    issues, reader = rig(made)
    assert reader is None and "frame_id changes from right_eye back to left_eye" in issues["two publishers"].text


def test_signs_of_quaternions_are_continuous_in_an_episode(recording, rig):
    made, poses = recording(seconds=2), {"wrist": "/left/wrist_pose", "wrist_command": "/left/wrist_command"}
    for name, every in (("wrist_pose", 7), ("wrist_command", 3)):
        for k, event in enumerate(made.on(name)):
            q, angle, sign = event.message.pose.orientation, 3 * event.at, -1.0 if k % every == 1 else 1.0
            q.z, q.w = sign * np.sin(angle / 2), sign * np.cos(angle / 2)
    _, reader = rig(made, **poses)
    columns = reader.columns(0)
    measured, commanded = columns["observation.wrist"][:, 3:], columns["action.wrist"][:, 3:]
    angles = 3 * np.arange(21) / 10
    expected = np.stack((0 * angles, 0 * angles, np.sin(angles / 2), np.cos(angles / 2)), axis=1)
    np.testing.assert_allclose(np.sign(measured[0, 3]) * measured, expected, atol=0.04)
    np.testing.assert_allclose(commanded, measured, atol=0.06)


@pytest.mark.parametrize("stamps", ["header", "receive"])
def test_messages_that_overtake_each_other_are_no_second_publisher(recording, rig, stamps):
    """Detection follows the time of sending; a second publisher is found among late messages too."""
    rng, poses = np.random.default_rng(0), {"wrist": "/left/wrist_pose", "wrist_command": "/left/wrist_command"}
    more = {"stamps": stamps, "limits": {"command": 1.0, "state": 0.5}}

    def made(second):
        made = recording(seconds=4)
        for name in ("joint_states", "wrist_pose", "wrist_command", "hand_command"):
            for event in made.on(name):
                sent = event.received - 0.002
                if name.startswith("wrist"):
                    event.message = made.pose(sent, 0.3 + 0.25 * np.sin(3 * event.at))
                    other = made.pose(sent + 0.003, 0.3 + 0.25 * np.sin(3 * event.at) + 0.3)
                elif name == "joint_states":
                    event.message = made.joint_state(sent, made.joints, made.state(T0 + 5 * event.at))
                    other = made.joint_state(sent + 0.003, made.joints, made.state(T0 + 5 * event.at) * 0.2)
                else:
                    event.message = made.trajectory(sent, made.joints, made.state(T0 + 5 * event.at))
                    other = made.trajectory(sent + 0.003, made.joints, made.state(T0 + 5 * event.at) * 0.2)
                event.received += rng.uniform(0, 0.45)
                if name == second and event.at < 2:
                    made.add(name, sent + 0.003 + rng.uniform(0, 0.45), other)
        return made

    issues, reader = rig(made(""), more=more, **poses)
    assert "two publishers" not in issues and reader is not None
    for name in ("hand_command", "wrist_command", "joint_states", "wrist_pose"):
        issues, reader = rig(made(name), more=more, **poses)
        assert issues["two publishers"].topic == f"/left/{name}"
        assert issues["two publishers"].fatal == (name in ("joint_states", "wrist_pose"))


def test_pictures_after_lost_packets_of_a_video_count_as_lost(recording, rig):
    made = recording(seconds=4)
    made.drop("front/image_raw")
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "yuv420p", Fraction(1, 10)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
    for k in range(41):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * k, np.uint8), format="rgb24")
        frame.pts = k
        (packet,) = codec.encode(frame)
        if k != 15:
            video = TYPES["sensor_msgs/msg/CompressedImage"](
                header=made.image(T0 + k / 10, np.zeros((2, 2, 3), np.uint8)).header,
                format="h264",
                data=np.frombuffer(bytes(packet), np.uint8),
            )
            made.add("front/video", T0 + k / 10 + 0.01, video)
    issues, reader = rig(made, cameras={"front": "/left/front/video"}, more={"limits": {"bridge": 0.7}})
    assert "packets of the video are lost" in issues["refused"].text and "(and 3 more)" in issues["refused"].text  # 16 to 19
    assert issues["bridged"].topic == "/left/front/video" and reader.frames == 41
    grey = np.array([image[24, 32, 0] for image in reader.images(0, "front")], int)
    shown = np.array([*range(15), 14, 14, 17, 20, 20, *range(20, 41)])  # the nearest undamaged picture; frame 17 is between two
    assert np.abs(grey - 5 * shown)[shown != 17].max() < 8 and np.abs(grey[17] - 5 * np.array([14, 20])).min() < 8


def gripper(recording, values, kind=None, seconds=2, **fields):
    """A recording of a gripper with 30 images a second, whose command is a message of ``kind`` made by ``values``."""
    made = recording(embodiment="panda_gripper", seconds=seconds)
    for event in made.on("hand_command"):
        q = made.state(event.at + T0)[0]
        event.message = values(q) if kind is None else TYPES[kind](**{name: of(q) for name, of in {**values, **fields}.items()})
    return made


@pytest.mark.parametrize(("kind", "values", "source"), [
    ("control_msgs/msg/GripperCommand", {"position": float, "max_effort": lambda q: 5.0}, {}),
    ("std_msgs/msg/Float32", {"data": lambda q: 1e3 * q}, {"units": "mm"}),
    ("std_msgs/msg/UInt8", {"data": lambda q: round(255 * (1 - q / 0.04))}, {"closed": 255, "open": 0}),
    ("std_msgs/msg/Float64", {"data": lambda q: 100 * q / 0.04}, {"closed": 0, "open": 100}),
])  # fmt: skip
def test_commands_of_grippers(recording, rig, kind, values, source):
    made = gripper(recording, values, kind)
    issues, reader = rig(made, command={"topic": "/left/hand_command", **source})
    assert list(issues) == []
    np.testing.assert_allclose(reader.columns(0)["action"][:, 0], truth(made, 21)[:, 0], atol=6e-4)


def test_a_switch_closes_or_opens_the_gripper(recording, rig):
    made = gripper(recording, {"data": lambda q: bool(q < 0.016)}, "std_msgs/msg/Bool")
    issues, reader = rig(made)
    assert issues["assumed"].text.endswith("true is taken for closed") and set(reader.columns(0)["action"][:, 0]) <= {
        0.0,
        np.float32(0.04),
    }
    swapped, reader = rig(made, command={"topic": "/left/hand_command", "closed": False, "open": True}, more={"fps": 5})
    assert "assumed" not in swapped


@pytest.mark.parametrize("factor", [2500.0, 2.2])
def test_units_of_a_gripper_that_are_not_those_of_the_joint(recording, rig, factor):
    """Their fast changes are not taken for a second publisher."""
    made = recording(embodiment="panda_gripper", seconds=2)
    for event in made.on("joint_states"):
        turns = 5 * np.sin(9 * event.at) if factor > 100 else 0.0
        event.message.position = factor * event.message.position + 0.01 + turns
    issues, reader = rig(made)
    assert "two publishers" not in issues
    assert (
        reader is None and "its limits are 0 to 0.04 m" in issues["units"].text and "`closed:` and `open:`" in issues["units"].text
    )


def test_actions_of_a_bag_without_commands(recording, rig):
    made = recording(seconds=1)
    made.drop("hand_command")
    issues, _ = rig(made)
    assert issues["missing topic"].text.endswith("; without recorded commands, write `command: next_state`")
    issues, reader = rig(made, command={"next_state": 2}, wrist="/left/wrist_pose")
    assert issues["next state"].text.endswith("the action is the measured state 2 frames later")
    columns = reader.columns(0)
    np.testing.assert_array_equal(columns["action"], columns["observation.state"][[*range(2, 11), 10, 10]])
    assert columns["action.wrist"].shape == (11, 7) and reader.episode_metadata[0]["settings"]["next_state"] == 2
