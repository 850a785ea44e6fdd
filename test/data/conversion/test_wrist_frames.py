"""Frames of wrist poses and commands, and wrist poses from tf."""

import numpy as np
import pytest

from latent_policy_ros.data.bags.message_types import message_types

T0 = 1_700_000_000.0
TYPES = message_types().types


def frame(made, name, frame_id, every=1):
    for event in made.on(name)[::every]:
        event.message.header.frame_id = frame_id


def test_wrist_frames_that_differ_or_change(recording, rig):
    made = recording(seconds=1)
    frame(made, "wrist_pose", "base_link")
    frame(made, "wrist_command", "/tracker")
    poses = {"wrist": "/left/wrist_pose", "wrist_command": "/left/wrist_command"}
    issues, reader = rig(made, **poses)
    assert reader is None and "measured in frame_id base_link and commanded in tracker" in issues["frames"].text
    issues, reader = rig(made, frames={"tracker": [1, 0, 0, 0, 0, 0, 1]}, **poses)
    assert "frames" not in issues and reader.columns(0)["action.wrist"][0, 0] == pytest.approx(1.31)
    frame(made, "wrist_pose", "")
    issues, reader = rig(made, **poses)
    assert reader.frames == 11 and issues["assumed"].text == "no frame_id; taken for tracker, in which the wrist is commanded"
    frame(made, "wrist_pose", "base_link")
    frame(made, "wrist_pose", "map", every=2)
    issues, reader = rig(made, frames={"tracker": "same"}, **poses)
    assert "frame_id changes from map to base_link" in issues["frames"].text
    for event, name in zip(made.on("wrist_pose"), ["tracker", "base", "world"] * 20):
        event.message.header.frame_id = name
    issues, reader = rig(made, frames={"tracker": "same"}, wrist="/left/wrist_pose")
    assert reader is None and "frame_id changes from base to world" in issues["frames"].text


def test_wrist_pose_from_a_chain_of_transforms(recording, rig):
    made = recording(seconds=1)
    for event in made.drop("wrist_pose"):
        pose = event.message.pose
        pose.position.z = event.at
        at = [("base", "link", pose)]
        made.add("/tf", event.received, transforms(made, event.received - 0.001, *at))
    made.add("/tf_static", T0 - 0.02, transforms(made, T0, ("link", "tool0", made.pose(T0, 0.5).pose)))
    for event in made.events:
        event.topic = event.topic.replace("/left//", "/")
    issues, reader = rig(made, wrist={"frames": ["base", "tool0"]})
    assert list(issues) == []
    np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 0], 0.8, atol=1e-6)
    np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 2], 0.4 + np.arange(11) / 10, atol=0.011)
    issues, reader = rig(made, wrist={"frames": ["base", "flange"]})
    assert "available: base, link, tool0" in issues["frames"].text and list(issues) == ["frames"]
    poses = {"wrist": {"frames": ["/base", "tool0"]}, "wrist_command": "/left/wrist_command"}
    frame(made, "wrist_command", "world")
    issues, reader = rig(made, frames={"base": [1, 0, 0, 0, 0, 0, 1]}, **poses)
    np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 0], 1.8, atol=1e-6)


def chained(made, links, name="wrist_pose"):
    """Replace poses by messages of tf; ``links`` gives {topic: [(delay [s], parent, child, x [m])]} at a time."""
    for event in made.drop(name):
        for topic, moved in links(event.at).items():
            for late, parent, child, x in moved:
                message = transforms(made, event.received - 0.001, (parent, child, made.pose(T0, x).pose))
                made.add(topic, event.received + late, message)
    for event in made.events:
        event.topic = event.topic.replace("/left//", "/")


def test_transforms_that_arrive_late_are_composed_at_their_stamps(recording, rig):
    made = recording(seconds=2)
    chained(made, lambda t: {"/tf": [(0.3, "base", "lift", 0.3 + np.sin(t)), (0.0, "lift", "tool0", 0.2 - np.sin(t))]})
    issues, reader = rig(made, wrist={"frames": ["base", "tool0"]})
    assert not [issue for issue in issues.values() if issue.fatal] and reader.frames >= 17
    np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 0], 0.5, atol=1e-6)


def test_a_transform_that_falls_silent_is_a_hole(recording, rig):
    made = recording(seconds=4)
    moved = [(0.001, "lift", "tool0", 0.2)]
    chained(made, lambda t: {"/tf": moved if t > 2 else [(0.0, "base", "lift", 0.3 + t / 10), *moved]})
    issues, reader = rig(made, wrist={"frames": ["base", "tool0"]})
    assert reader.frames == pytest.approx(22, abs=1)
    assert "nothing within 100 ms until the end" in issues["hole"].text


@pytest.mark.parametrize("links, text", [
    ([("base", "tool0"), ("tracker", "tool0")], "frame tool0 has the parents base and tracker; expected one publisher"),
    ([("base", "link"), ("world", "tool0")],
     "base and tool0 are not connected; base is in the tree of base, link, x; tool0 is in the tree of tool0, world"),
], ids=["two parents", "two trees"])  # fmt: skip
def test_transforms_that_give_no_pose(recording, rig, links, text):
    made = recording(seconds=1)
    chained(made, lambda t: {"/tf": [(k / 1e3, *link, 0.3) for k, link in enumerate(links)], "/tf_static": [(0, "base", "x", 1)]})
    issues, reader = rig(made, wrist={"frames": ["base", "tool0"]})
    assert reader is None and text in issues["frames"].text and "missing topic" not in issues


def test_transforms_that_are_all_static_give_no_pose(recording, rig):
    made = recording(seconds=1)
    chained(made, lambda t: {"/tf": [(0, "base", "x", 1)], "/tf_static": [(0, "base", "tool0", 1)]})
    issues, reader = rig(made, wrist={"frames": ["base", "tool0"]})
    assert reader is None and issues["frames"].text.endswith("the transforms between them are all on /tf_static")


def test_single_transforms_have_stamps_and_one_child(recording, rig):
    """A topic with messages of one transform each: with its stamps, and for one frame that the mapping may choose."""
    made = recording(seconds=2)
    chained(made, lambda t: {"/tracked": [(0.35, "world", "hand", 0.3 + t / 10)]})
    issues, reader = rig(made, wrist="/tracked")
    assert "received 0.35 s after its stamps" in issues["clock"].text
    np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 0], 0.3 + np.arange(reader.frames) / 100, atol=2e-3)
    for event in [event for event in made.events if event.topic == "/tracked"]:
        cup = ("world", "cup", made.pose(T0, 0.4).pose)
        made.add("/tracked", event.received + 0.01, transforms(made, event.received - 0.351, cup))
        made.events[-1].topic = "/tracked"
    for kind in ("TFMessage", "TransformStamped"):
        if kind == "TransformStamped":
            for event in made.events:
                event.message = event.message.transforms[0] if event.topic == "/tracked" else event.message
        issues, reader = rig(made, wrist="/tracked")
        assert reader is None and "transforms of two frames, hand and cup; choose one of them" in issues["frames"].text
        assert "`{topic: /tracked, frames: [world, hand]}`" in issues["frames"].text
        issues, reader = rig(made, wrist={"topic": "/tracked", "frames": ["world", "hand"]})
        np.testing.assert_allclose(reader.columns(0)["observation.wrist"][:, 0], 0.3 + np.arange(reader.frames) / 100, atol=2e-3)


def transforms(made, at, *links):
    made_links = []
    for parent, child, pose in links:
        p = pose.position
        move = TYPES["geometry_msgs/msg/Transform"](
            translation=TYPES["geometry_msgs/msg/Vector3"](x=p.x, y=p.y, z=p.z), rotation=pose.orientation
        )
        head = made.joint_state(at, [], []).header
        head.frame_id = parent
        made_links.append(TYPES["geometry_msgs/msg/TransformStamped"](header=head, child_frame_id=child, transform=move))
    return TYPES["tf2_msgs/msg/TFMessage"](transforms=made_links)
