"""Hand recordings in all formats, invalid files, and playback."""

# ruff: noqa: E501 - messages with all their fields

import numpy as np
import pytest
import zarr

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.hand_recordings import HandPlayer, HandRecording, read_hand_recording
from latent_policy_ros.embodiments.human.handedness import mirrored_keypoints
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused
from latent_policy_ros.retargeting import generate_motion

POINTS = generate_motion(3, 2.0).keypoints
TIMES = 100.0 + np.arange(len(POINTS)) / 30


def write_bag(folder, topics, stamped=True, storage="MCAP", empty=()):
    """Write a bag of PoseArrays."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    T = store.types
    Pose, Point, Quaternion = (T[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion"))
    Header, Time = T["std_msgs/msg/Header"], T["builtin_interfaces/msg/Time"]
    turn = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    with Writer(folder, version=9, storage_plugin=StoragePlugin[storage]) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, "geometry_msgs/msg/PoseArray", typestore=store)
            for i, (time, frame) in enumerate(zip(TIMES, POINTS)):
                stamp = Time(sec=int(time), nanosec=round(time % 1 * 1e9)) if stamped else Time(sec=0, nanosec=0)
                poses = [] if i in empty else [Pose(position=Point(*map(float, p)), orientation=turn) for p in frame]
                message = T["geometry_msgs/msg/PoseArray"](header=Header(stamp=stamp, frame_id="glove"), poses=poses)
                writer.write(connection, int(time * 1e9), store.serialize_cdr(message, connection.msgtype))
    return folder


def write_csv(file, table, header=None):
    file.write_text((header + "\n" if header else "") + "\n".join(",".join(map(repr, map(float, row))) for row in table))
    return file


def with_rotation(points):
    """Poses (..., 7) as MANUS gives them: position, then a quaternion."""
    turn = np.random.default_rng(0).normal(size=(*points.shape[:-1], 4))
    return np.concatenate((points, turn), axis=-1)


def as_matrices(points):
    """Poses (..., 4, 4) as visionOS gives them."""
    matrices = np.tile(np.eye(4), (*points.shape[:-1], 1, 1))
    matrices[..., :3, :3] += 0.1
    matrices[..., :3, 3] = points
    return matrices


def write_zarr(folder, arrays):
    group = zarr.open_group(str(folder), mode="w")
    for name, array in arrays.items():
        group[name] = array


HEADER = ",".join(f"{axis}{i}" for i in range(21) for axis in "xyz")


def all_kinds(folder):
    flat = POINTS.reshape(len(POINTS), -1)
    np.savez(folder / "a.npz", keypoints=POINTS, timestamps=TIMES, quaternions=np.zeros((len(POINTS), 21, 4)))
    np.savez(folder / "b.npz", hand=POINTS, t=TIMES)
    np.savez(folder / "j.npz", raw=with_rotation(POINTS), time=TIMES)
    np.savez(folder / "k.npz", raw=as_matrices(POINTS), time=TIMES)
    write_zarr(
        folder / "l.zarr", {"data/hand": as_matrices(POINTS), "data/timestamps": TIMES, "data/images": np.zeros((60, 8, 8, 3))}
    )
    np.save(folder / "c.npy", POINTS)
    np.save(folder / "d.npy", flat)
    write_csv(folder / "e.csv", flat)
    write_csv(folder / "f.csv", np.c_[TIMES, flat])
    write_csv(folder / "g.csv", np.c_[flat, TIMES], HEADER + ",timestamp")
    write_bag(folder / "h", ["/keypoints"])
    write_bag(folder / "i", ["/keypoints"], stamped=False, storage="SQLITE3")
    return sorted(folder.iterdir())


def test_all_formats_give_the_same_recording(tmp_path):
    for file in all_kinds(tmp_path):
        recording = read_hand_recording(file, fps=30.0)
        assert np.allclose(recording.points, POINTS, atol=1e-9), file
        assert np.allclose(np.diff(recording.timestamps), 1 / 30, atol=1e-6), file
        if file.name[0] not in "cde":
            assert np.allclose(recording.timestamps, TIMES, atol=1e-6), file


def test_single_bag_file_and_frames_without_a_hand(tmp_path):
    bag = write_bag(tmp_path / "bag", ["/keypoints"], empty=(3, 4))
    recording = read_hand_recording(next(bag.glob("*.mcap")))
    assert np.isnan(recording.points[3:5]).all() and np.allclose(recording.points[5:], POINTS[5:])


def test_entry_selects_one_of_several_arrays_or_topics(tmp_path):
    np.savez(tmp_path / "two.npz", left=POINTS, right=POINTS[::-1])
    with pytest.raises(ArtifactError, match=r"expected one of a hand, or one named keypoints; select one with --entry; got left"):
        read_hand_recording(tmp_path / "two.npz")
    assert np.array_equal(read_hand_recording(tmp_path / "two.npz", "right").points, POINTS[::-1])
    with pytest.raises(ArtifactError, match="no array 'middle'; available: left, right"):
        read_hand_recording(tmp_path / "two.npz", "middle")
    bag = write_bag(tmp_path / "bag", ["/a/keypoints", "/b/keypoints"])
    with pytest.raises(ArtifactError, match="select a topic; available: /a/keypoints, /b/keypoints"):
        read_hand_recording(bag)
    assert np.allclose(read_hand_recording(bag, "/b/keypoints").points, POINTS)


def test_hands_of_an_array_of_two_are_selected(tmp_path):
    both = np.stack((POINTS, POINTS[::-1]), axis=1)
    np.save(tmp_path / "both.npy", both)
    np.savez(tmp_path / "both.npz", hands=with_rotation(both), head=np.zeros((60, 4, 4)))
    np.savez(tmp_path / "more.npz", raw=as_matrices(both), keys=both)
    for file, left, right in (("both.npy", "left", "1"), ("both.npz", "0", "right"), ("more.npz", "raw:left", "keys:right")):
        assert np.allclose(read_hand_recording(tmp_path / file, left).points, POINTS), file
        assert np.allclose(read_hand_recording(tmp_path / file, right).points, POINTS[::-1]), file
    with pytest.raises(ArtifactError, match=r"two hands, shape \(60, 2, 21, 7\): select one with --entry left or right"):
        read_hand_recording(tmp_path / "both.npz")
    with pytest.raises(ArtifactError, match="select one with --entry; got keys"):
        read_hand_recording(tmp_path / "more.npz")


def test_frozen_points_and_gaps_are_reported(tmp_path):
    points, times = POINTS.copy(), TIMES.copy()
    assert read_hand_recording(all_kinds(tmp_path)[0]).warnings == ()
    points[10:50] = points[10]
    times[50:] += 3.0
    np.savez(tmp_path / "stuck.npz", keypoints=points, t=times)
    gap, frozen = read_hand_recording(tmp_path / "stuck.npz").warnings
    assert gap == "1 gaps of more than 0.5 s, the longest 3.0 s after 1.6 s"
    assert frozen == "frozen 1 times: the points are constant for more than 1 s, the longest 1.3 s from 0.3 s"


def test_time_without_a_hand_is_a_gap(tmp_path):
    points = POINTS.copy()
    points[10:40], points[50, 3] = np.nan, np.nan
    np.savez(tmp_path / "lost.npz", keypoints=points, t=TIMES)
    assert read_hand_recording(tmp_path / "lost.npz").warnings == ("1 gaps of more than 0.5 s, the longest 1.0 s after 0.3 s",)
    points[:30] = np.nan
    np.savez(tmp_path / "late.npz", keypoints=points, t=TIMES)
    assert read_hand_recording(tmp_path / "late.npz").warnings == ("1 gaps of more than 0.5 s, the longest 1.3 s after 0.0 s",)


def test_assumed_times_are_reported(tmp_path):
    np.savez(tmp_path / "none.npz", keypoints=POINTS, clock=TIMES)
    (warning,) = read_hand_recording(tmp_path / "none.npz", fps=60.0).warnings
    assert warning.startswith("the file has no times: 60 frames per second are assumed; add an array or column timestamps [s]")
    for name in ("time_s", "stamps", "timestamp"):
        np.savez(tmp_path / "given.npz", keypoints=POINTS, **{name: TIMES})
        given = read_hand_recording(tmp_path / "given.npz")
        assert given.warnings == () and np.array_equal(given.timestamps, TIMES), name


def test_times_of_the_selected_hand_are_used(tmp_path):
    """Each hand has a clock of its own, in its group or by its name."""
    later, short = TIMES + 7.0, POINTS[:40]
    write_zarr(tmp_path / "a.zarr", {"left/hand": POINTS, "left/time": TIMES, "right/hand": short, "right/time": later[:40]})
    np.savez(tmp_path / "b.npz", left=POINTS, left_timestamps=TIMES, right=POINTS, right_timestamps=later, timestamps=TIMES + 1.0)
    write_zarr(tmp_path / "c.zarr", {"left/hand": POINTS, "right/hand": short, "time": TIMES, "short/time": later[:40]})
    for file, left, right in (
        ("a.zarr", "left/hand", "right/hand"),
        ("b.npz", "left", "right"),
        ("c.zarr", "left/hand", "right/hand"),
    ):
        assert np.array_equal(read_hand_recording(tmp_path / file, left).timestamps, TIMES), file
        times = read_hand_recording(tmp_path / file, right).timestamps
        assert np.array_equal(times, later[: len(times)]), file
    write_zarr(tmp_path / "d.zarr", {"hand": short, "left/time": TIMES[:40], "right/time": later[:40]})
    with pytest.raises(ArtifactError, match=r"one array of times beside hand \(40, 21, 3\), .*; got left/time \(40,\), right/time"):
        read_hand_recording(tmp_path / "d.zarr")
    np.savez(tmp_path / "e.npz", **{"left/hand": POINTS, "right/time": later[:40]})
    with pytest.raises(ArtifactError, match=r"beside left/hand \(60, 21, 3\), .*; got right/time \(40,\)"):
        read_hand_recording(tmp_path / "e.npz")


def test_hand_of_another_side_than_the_entry_gives_a_warning(tmp_path):
    both = np.stack((POINTS, mirrored_keypoints(POINTS)), axis=1)  # the right hand first
    np.savez(tmp_path / "both.npz", keypoints=both, t=TIMES)
    exchanged = read_hand_recording(tmp_path / "both.npz", "left")
    assert "the entry is left, but the fingers bend as those of a right hand" in exchanged.hands().side_warning
    assert not exchanged.hands(side="right").side_warning  # the side is given
    np.savez(tmp_path / "both.npz", keypoints=both[:, ::-1], t=TIMES)
    for entry in ("left", "keypoints:right", "0"):
        assert not read_hand_recording(tmp_path / "both.npz", entry).hands().side_warning, entry


def test_refused_hands_name_the_file(tmp_path):
    np.savez(tmp_path / "mm.npz", keypoints=1e3 * POINTS, t=TIMES)
    with pytest.raises(KeypointsRefused, match="mm.npz: expected 0.03 to 0.2 m from wrist to middle knuckle"):
        read_hand_recording(tmp_path / "mm.npz").hands()
    assert read_hand_recording(tmp_path / "mm.npz").hands(units="mm").valid.all()


def glove_bag(folder, kind, definitions, make, **more):
    """A bag with one topic of a type that ROS does not ship."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in definitions.items():
        store.register(get_types_from_msg(text, name))
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/hand", kind, typestore=store)
        for time, frame in zip(TIMES, POINTS):
            writer.write(connection, int(time * 1e9), store.serialize_cdr(make(store.types, frame), kind))
    return folder


RAW_NODE = "int32 node_id\nint32 parent_node_id\nstring joint_type\nstring chain_type\ngeometry_msgs/Pose pose"
GLOVE = "int32 glove_id\nstring side\nint32 raw_node_count\nManusRawNode[] raw_nodes"


def test_bag_of_a_manus_glove(tmp_path):
    """The nodes come in any order; their numbers give the order of the keypoints."""

    def make(T, frame):
        Point, turn = T["geometry_msgs/msg/Point"], T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
        nodes = [
            T["manus_ros2_msgs/msg/ManusRawNode"](node_id=i, parent_node_id=0, joint_type="", chain_type="",
                pose=T["geometry_msgs/msg/Pose"](position=Point(*map(float, p)), orientation=turn))
            for i, p in enumerate(frame)
        ]  # fmt: skip
        return T["manus_ros2_msgs/msg/ManusGlove"](glove_id=1, side="Right", raw_node_count=21, raw_nodes=nodes[::-1])

    definitions = {"manus_ros2_msgs/msg/ManusRawNode": RAW_NODE, "manus_ros2_msgs/msg/ManusGlove": GLOVE}
    recording = read_hand_recording(glove_bag(tmp_path / "glove", "manus_ros2_msgs/msg/ManusGlove", definitions, make))
    assert np.allclose(recording.points, POINTS) and np.allclose(recording.timestamps, TIMES, atol=1e-6)


@pytest.mark.parametrize("form", [lambda p: p, with_rotation, as_matrices])
def test_bag_of_number_arrays_is_read_if_the_topic_is_named(tmp_path, form):
    """Streams of visionOS and Quest: positions, poses or matrices of all joints in one array."""

    def make(T, frame):
        layout = T["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        return T["std_msgs/msg/Float64MultiArray"](layout=layout, data=form(frame).ravel())

    bag = glove_bag(tmp_path / "quest", "std_msgs/msg/Float64MultiArray", {}, make)
    assert np.allclose(read_hand_recording(bag, "/hand").points, POINTS)
    with pytest.raises(ArtifactError, match="select a topic; available: /hand"):
        read_hand_recording(bag)


def test_bag_of_markers(tmp_path):
    def make(T, frame):
        Point = T["geometry_msgs/msg/Point"]
        turn, zero = T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0), Point(x=0.0, y=0.0, z=0.0)
        time = T["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
        marker = T["visualization_msgs/msg/Marker"](
            header=T["std_msgs/msg/Header"](stamp=time, frame_id="quest"), ns="hand", id=0, type=7, action=0,
            pose=T["geometry_msgs/msg/Pose"](position=zero, orientation=turn), scale=T["geometry_msgs/msg/Vector3"](x=1.0, y=1.0, z=1.0),
            color=T["std_msgs/msg/ColorRGBA"](r=1.0, g=1.0, b=1.0, a=1.0),
            lifetime=T["builtin_interfaces/msg/Duration"](sec=0, nanosec=0), frame_locked=False,
            points=[Point(*map(float, p)) for p in frame], colors=[], texture_resource="",
            texture=T["sensor_msgs/msg/CompressedImage"](
                header=T["std_msgs/msg/Header"](stamp=time, frame_id=""), format="", data=np.zeros(0, np.uint8)
            ),
            uv_coordinates=[], text="", mesh_resource="",
            mesh_file=T["visualization_msgs/msg/MeshFile"](filename="", data=np.zeros(0, np.uint8)), mesh_use_embedded_materials=False,
        )  # fmt: skip
        return T["visualization_msgs/msg/MarkerArray"](markers=[marker])

    recording = read_hand_recording(glove_bag(tmp_path / "quest", "visualization_msgs/msg/MarkerArray", {}, make))
    assert np.allclose(recording.points, POINTS)


class FailsWhenUnpickled:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def wrong_files(folder):
    """(file, pattern of the error)"""
    np.save(folder / "pickle.npy", np.array([FailsWhenUnpickled()], dtype=object), allow_pickle=True)
    yield "pickle.npy", "cannot be read"
    np.savez(folder / "pickle.npz", keypoints=np.array([FailsWhenUnpickled()], dtype=object))
    yield "pickle.npz", "cannot be read"
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    yield "cut.npz", "cannot be read"
    (folder / "empty.npy").write_bytes(b"")
    yield "empty.npy", "cannot be read"
    np.savez(folder / "none.npz", images=np.zeros((4, 5)))
    yield "none.npz", r"expected an array of shape \(frames, points, 3\); got images \(4, 5\)"
    np.save(folder / "twenty.npy", POINTS[:, :20])
    yield "twenty.npy", "frames of 21 or 25 or 26 points"
    np.save(folder / "nobody.npy", POINTS[:0])
    yield "nobody.npy", "got shape"
    np.save(folder / "text.npy", np.full((5, 21, 3), "a"))
    yield "text.npy", "expected numbers"
    np.savez(folder / "back.npz", keypoints=POINTS, timestamps=TIMES[::-1])
    yield "back.npz", "times must not decrease, but do after frame 0"
    np.savez(folder / "ms.npz", keypoints=POINTS, timestamps=TIMES * 1e3)
    yield "ms.npz", "must be in seconds, but the median step is 33.3333"
    np.savez(folder / "few.npz", keypoints=POINTS, timestamps=TIMES[:-1])
    yield "few.npz", "a finite time for each of 60 frames"
    write_csv(folder / "turned.csv", POINTS.reshape(60, -1), ",".join(f"{a}{i}" for a in "xyz" for i in range(21)))
    yield "turned.csv", "columns of each point as x, y, z"
    (folder / "words.csv").write_text("1,2,3\n4,five,6\n")
    yield "words.csv", "not a number: .*five"
    (folder / "ragged.csv").write_text("1,2,3\n4,5\n")
    yield "ragged.csv", "rows of one length"
    (folder / "blank.csv").write_text("")
    yield "blank.csv", "rows of one length"
    (folder / "hand.pkl").write_bytes(b"")
    yield "hand.pkl", r"expected .npz.*got .pkl"
    (folder / "broken.mcap").write_bytes(b"nothing of a bag")
    yield "broken.mcap", "not a bag"
    (folder / "folder").mkdir()
    yield "folder", "not a bag"


def test_invalid_file_is_refused(tmp_path):
    for name, words in wrong_files(tmp_path):
        with pytest.raises(ArtifactError, match=words) as error:
            read_hand_recording(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        read_hand_recording(tmp_path / "nowhere.npz")


def play(player, until, step=0.01):
    return [(t, f) for t in np.arange(0.0, until, step) if (f := player.frame(t)) is not None]


def test_player_returns_each_frame_once_at_its_time():
    recording = HandRecording(None, TIMES, POINTS)
    shown = play(HandPlayer(recording), 3.0)
    assert np.array_equal([f for _, f in shown], POINTS)
    assert max(t - (due - TIMES[0]) for (t, _), due in zip(shown, TIMES)) < 0.011
    fast = HandPlayer(recording, speed=4.0)
    shown = play(fast, 3.0)
    assert shown[-1][0] < 0.52 and np.array_equal(shown[-1][1], POINTS[-1]) and fast.finished(0.6)
    assert not HandPlayer(recording).finished(1.9)


def test_looping_player_repeats():
    looping = HandPlayer(HandRecording(None, TIMES, POINTS), loop=True)
    shown = play(looping, 6.0)
    assert abs(len(shown) - 180) <= 1 and np.array_equal(shown[60][1], POINTS[0]) and not looping.finished(100.0)
    alone = HandPlayer(HandRecording(None, TIMES[:1], POINTS[:1]), loop=True)
    assert len(play(alone, 1.0)) == 1
