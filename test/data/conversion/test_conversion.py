"""Conversion of bags in all storage forms, with mappings, interruption, and repeated conversion."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError, ConfigError
from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.bags.metadata import update_custom
from latent_policy_ros.data.bags.reader import find_bags
from latent_policy_ros.data.bags.repair import files_of_bag
from latent_policy_ros.data.conversion import conversion
from latent_policy_ros.data.conversion.mapping import TopicMapping, conventional
from latent_policy_ros.data.conversion.mapping_file import load_mapping
from latent_policy_ros.data.conversion.sources import JointSource
from latent_policy_ros.data.inspection.episode_view import episode_views
from latent_policy_ros.data.inspection.summary import summary_tables
from latent_policy_ros.data.lerobot.collection import SETTINGS, find_datasets
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.embodiments import load_embodiment

T0 = 1_700_000_000.0
TYPES = message_types().types


def expected(made, count=31, fps=10):
    return np.array([made.state(T0 + k / fps) for k in range(count)])


def test_all_storage_forms_give_all_frames(tmp_path, recording, converted, form):
    made = recording()
    report, out = converted(made.write(tmp_path / "bag", **form))
    assert (report.written, report.left_out, report.warnings) == (1, [], [])
    reader = LeRobotReader(out / "faive_hand")
    columns = reader.columns(0)
    truth = expected(made)
    np.testing.assert_allclose(columns["observation.state"], truth, atol=1e-6)
    before = np.array([made.state(T0 + k / 10 - 0.02) for k in range(31)]) + 0.01
    np.testing.assert_allclose(columns["action"], before, atol=1e-6)  # in force: the next comes 2 ms after each frame's time
    np.testing.assert_allclose(columns["observation.wrist"][:, 0], 0.3, atol=1e-6)
    np.testing.assert_allclose(columns["action.wrist"][:, 0], 0.31, atol=1e-6)
    pose = [f"wrist.{name}" for name in ("x", "y", "z", "qx", "qy", "qz", "qw")]
    assert reader.features["observation.state"]["names"] == [*made.joints, *pose] == reader.features["action"]["names"]
    images = np.array([image[40, 30, 1] for image in reader.images(0, "front")], int)
    assert np.abs(images - np.arange(31)).max() <= 1


def test_mapping_of_compressed_images_names_units_and_arrays(tmp_path, recording, converted):
    made = recording(robot="rig", compressed=True)
    theirs = [f"m{i}" for i in range(11)]
    for event in made.on("joint_states"):
        event.message.name, event.message.position = theirs[::-1], np.rad2deg(event.message.position)[::-1].copy()
    for event in made.on("hand_command"):
        event.message = made.array(np.rad2deg(event.message.points[0].positions))
    file = tmp_path / "rig.yaml"
    file.write_text(f"""
task: stack
robots:
  rig:
    embodiment: faive_hand
    cameras: {{top: /rig/front/image_raw/compressed}}
    state: {{topic: /rig/joint_states, units: deg}}
    command: {{topic: /rig/hand_command, units: deg, order: [{", ".join(theirs)}]}}
    rename: {{{", ".join(f"{a}: {b}" for a, b in zip(theirs, made.joints))}}}
""")
    report, out = converted(made.write(tmp_path / "bag", custom={}), mapping=load_mapping(file))
    assert report.written == 1 and [issue.kind for issue in report.warnings] == ["outcome unknown"]
    assert not LeRobotReader(out / "faive_hand").columns(0)["next.success"].any()
    reader = LeRobotReader(out / "faive_hand")
    np.testing.assert_allclose(reader.columns(0)["observation.state"], expected(made), atol=1e-6)
    np.testing.assert_allclose(reader.columns(0)["action"][0], made.state(T0 - 0.02) + 0.01, atol=1e-6)
    assert reader.cameras == ("top",) and reader.tasks == ["stack"] and reader.fps == 10
    assert "observation.wrist" not in reader.features


def test_units_apply_to_joints_of_their_kind(tmp_path, recording, converted):
    made = recording(embodiment="panda_gripper", seconds=1)
    (finger,) = made.joints
    for event in made.on("joint_states"):
        event.message.name, event.message.position = ["arm", finger, "other"], np.array([0.7, 1e3 * event.message.position[0], 9.0])
    for event in made.on("gripper_command") + made.on("hand_command"):
        event.message = made.joint_state(T0, [finger, "arm"], [1e3 * event.message.points[0].positions[0], np.rad2deg(0.8)])
    file = tmp_path / "rig.yaml"
    file.write_text("""
robots:
  left:
    embodiment: panda_gripper
    cameras: {front: /left/front/image_raw}
    state: {topic: /left/joint_states, units: mm, more_units: rad}
    command: {topic: /left/hand_command, units: mm, more_units: deg}
    more_joints: [arm]
""")
    _, out = converted(made.write(tmp_path / "bag", custom={}), mapping=load_mapping(file))
    columns = LeRobotReader(out / "panda_gripper").columns(0)
    np.testing.assert_allclose(columns["observation.state"], [[made.state(T0 + k / 10)[0], 0.7] for k in range(11)], atol=1e-6)
    np.testing.assert_allclose(columns["action"][:, 1], 0.8, atol=1e-6)
    np.testing.assert_allclose(columns["action"][:, 0], [made.state(T0 + k / 10 - 0.02)[0] + 0.01 for k in range(11)], atol=1e-6)


def test_trajectory_points_in_sequence_and_hold_without_points(tmp_path, recording, converted):
    made = recording()
    ahead = [made.state(T0 + k / 10) for k in range(40)]
    made.drop("hand_command")
    for k in range(0, 20, 2):
        made.add("hand_command", T0 + k / 10 - 0.001, made.trajectory(T0, made.joints, *ahead[k : k + 4]))
    made.add("hand_command", T0 + 2.0, made.trajectory(T0, made.joints))
    made.drop("wrist_command")
    made.drop("wrist_pose")
    report, out = converted(made.write(tmp_path / "bag"))
    assert report.written == 1
    action = LeRobotReader(out / "faive_hand").columns(0)["action"]
    assert len(action) == 31  # a hand that holds is commanded, however long nothing is said
    np.testing.assert_allclose(action[:20], ahead[:20], atol=1e-6)
    assert (action[20:] == action[20]).all() and np.abs(action[20] - made.state(T0 + 2)).max() < 0.03


def test_trajectory_of_many_seconds(tmp_path, recording, converted):
    made = recording(seconds=6)
    made.drop("hand_command")
    made.drop("wrist_command")
    ahead = [made.state(T0 + k / 10) for k in range(61)]
    made.add("hand_command", T0 - 0.001, made.trajectory(T0, made.joints, *ahead[:40]))
    other = made.trajectory(T0, made.joints, ahead[50], ahead[60])  # replaces the rest; two far points, each with its time to reach
    for point, sec in zip(other.points, (1, 3)):
        point.time_from_start = TYPES["builtin_interfaces/msg/Duration"](sec=sec, nanosec=0)
    made.add("hand_command", T0 + 2.999, other)
    report, out = converted(made.write(tmp_path / "bag"))
    assert (report.written, report.left_out) == (1, [])
    action = LeRobotReader(out / "faive_hand").columns(0)["action"]
    np.testing.assert_allclose(action, [*ahead[:30], *[ahead[50]] * 10, *[ahead[60]] * 21], atol=1e-6)
    del other.points[0]
    other.points += made.trajectory(T0, made.joints, ahead[0]).points
    report, _ = converted(made.write(tmp_path / "odd"), out=tmp_path / "other")
    (refused,) = (issue for issue in report.warnings if issue.kind == "refused")
    assert "command has a point at 0.1 s after one at 3 s" in refused.text and report.frames == 43  # the first one and 0.3 s


def test_interrupted_conversion_continues_and_leaves_no_partial_data_set(tmp_path, recording, converted):
    bags = [recording(seconds=1 + k / 10).write(tmp_path / f"bag{k}") for k in range(3)]
    out, seen = tmp_path / "out", []

    def stop(bag, done, total):
        seen.append(bag)
        if len(set(seen)) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversion.convert(bags, out, conversion.Options(), stop)
    assert not (out / "faive_hand").exists() and not (out / "mixture.yaml").exists()
    report, _ = converted(*bags, out=out)
    assert (report.written, report.kept) == (1, 2)
    reader = LeRobotReader(out / "faive_hand")
    assert [row["length"] for row in reader.episodes] == [11, 12, 13]
    _, whole = converted(*bags, out=tmp_path / "whole")
    assert files(out / "faive_hand") == files(whole / "faive_hand")
    again, _ = converted(*bags, recording(seconds=2).write(tmp_path / "bag9"), out=out)
    assert (again.written, again.kept) == (1, 3)
    grown = LeRobotReader(out / "faive_hand")
    assert [row["length"] for row in grown.episodes] == [11, 12, 13, 21]
    for episode in range(4):
        length = grown.episodes[episode]["length"]
        images = np.array([p[40, 30, 1] for p in grown.images(episode, "wrist")], int)
        assert np.abs(images - np.arange(length)).max() <= 1
        np.testing.assert_allclose(grown.columns(episode)["observation.state"], expected(recording(), length), atol=1e-6)
    assert grown.columns(3)["index"][0] == 36


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


MEASURE = """
import gc, json, sys, tracemalloc
from pathlib import Path
from latent_policy_ros.data.conversion import conversion

held = {}

def measure(bag, *_):
    if bag not in held:
        gc.collect()
        held[bag] = tracemalloc.get_traced_memory()[0]

tracemalloc.start()
out, *bags = map(Path, sys.argv[1:])
conversion.convert(bags, out, conversion.Options(), measure)
print(json.dumps(list(held.values())))
"""


def test_memory_does_not_grow_with_the_number_of_bags(tmp_path, recording):
    """In a process of its own: in one of many tests, the interpreter's table of strings may grow by 8 MB at any time."""
    bags = [recording(seconds=0.5 + k / 100).write(tmp_path / f"bag{k:02d}") for k in range(24)]
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "out"), *map(str, bags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    sizes = np.array(json.loads(done.stdout))
    growth = (sizes[-4:].mean() - sizes[4:8].mean()) / 16  # bytes a bag: what the report says about it
    assert len(sizes) == 24 and growth < 20e3, np.diff(sizes)


def test_other_settings_in_the_same_folder_are_refused(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag)
    with pytest.raises(ConfigError, match=r"fps: expected 10, as in the data sets of this folder, got 5"):
        converted(bag, out=out, mapping=TopicMapping((), fps=5))


def test_stored_settings_without_a_frame_rate_are_refused(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag)
    (out / SETTINGS).write_text("{}")
    with pytest.raises(ConfigError, match="fps: expected a frame rate, got None"):
        converted(bag, out=out)


def test_recorded_ids_of_policy_and_latent_space_are_kept_as_provenance(tmp_path, recording, converted):
    made = recording(seconds=1)
    bag = made.write(tmp_path / "bag", custom=made.custom(policy_id="ab" * 32, latent_id="cd" * 32))
    _, out = converted(bag)
    (about,) = LeRobotReader(out / "faive_hand").episode_metadata
    assert (about["policy_id"], about["latent_id"]) == ("ab" * 32, "cd" * 32)


def mapped(made, **changes):
    """A mapping of the test robot with some fields changed."""
    robot = conventional("left", made.embodiment, ("front", "wrist"))
    return TopicMapping((dataclasses.replace(robot, **changes),), fps=10)


def halved(made):
    return JointSource(("/left/joint_states",), scale=dict.fromkeys(made.joints, (0.5, 0.0)))


def test_changed_mapping_is_reported(tmp_path, recording, converted):
    made = recording(seconds=1)
    bag, other = made.write(tmp_path / "bag"), recording(seconds=1).write(tmp_path / "other")
    _, out = converted(bag, mapping=mapped(made))
    before = (out / "faive_hand/meta/latent_policy.json").read_bytes()
    mended = mapped(made, state=(halved(made),))
    report, _ = converted(bag, out=out, mapping=mended)
    ((_, (issue,)),) = report.left_out
    first, more = made.joints[0], len(made.joints) - 3
    assert f"was converted with other settings: state.0.scale.{first} was None, is [0.5, 0.0]; state.0.scale." in issue.text
    assert f"(and {more} more); convert to another folder" in issue.text
    assert (report.written, report.kept) == (0, 0) and (out / "faive_hand/meta/latent_policy.json").read_bytes() == before
    gripper = mapped(made, embodiment=load_embodiment("panda_gripper"))  # has a data set of its own
    report, _ = converted(bag, out=out, mapping=gripper)
    assert "embodiment was 'faive_hand', is 'panda_gripper'" in report.left_out[0][1][0].text
    report, _ = converted(bag, out=out, mapping=mapped(made))
    assert (report.written, report.kept) == (0, 1)
    report, _ = converted(other, out=out, mapping=mended)  # of another rig, say: mappings may differ from bag to bag
    assert (report.written, report.kept) == (1, 0)


def test_settings_that_no_longer_exist_do_not_change_an_episode(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag)
    file = out / "faive_hand/meta/latent_policy.json"
    manifest = json.loads(file.read_text())
    manifest["latent_id"] = ""
    for episode in manifest["episodes"]:
        episode["settings"] |= {"plans": "/left/latent_action", "latent_id": ""}
    file.write_text(json.dumps(manifest))
    report, _ = converted(bag, out=out)
    assert (report.written, report.kept, report.left_out) == (0, 1, [])


def test_outcome_changed_after_conversion_is_reported(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag)
    update_custom(bag, {"outcome": "failure", "note": "dropped it"})
    report, _ = converted(bag, out=out)
    assert "success was True, is False" in report.left_out[0][1][0].text


def test_moved_bag_is_recognised(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag)
    moved = bag.rename(tmp_path / "archive")
    shutil.copytree(moved, tmp_path / "copy")
    report, _ = converted(moved, tmp_path / "copy", out=out)
    assert (report.written, report.kept) == (0, 2)
    report, _ = converted(recording(seconds=1).write(bag), out=out)
    assert "changed since it was converted" in report.left_out[0][1][0].text


def test_bags_of_data_sets_of_earlier_versions_are_recognised(tmp_path, recording, converted):
    bags = [recording(seconds=1).write(tmp_path / name) for name in ("one", "two")]
    _, out = converted(*bags)
    file = out / "faive_hand/meta/latent_policy.json"
    manifest = json.loads(file.read_text())
    for episode in manifest["episodes"]:
        episode["key"] = episode.pop("place")
        del episode["settings"]
    file.write_text(json.dumps(manifest))
    moved = bags[0].rename(tmp_path / "moved")
    next(bags[1].glob("*.mcap")).touch()
    report, _ = converted(moved, bags[1], recording(seconds=1).write(tmp_path / "three"), out=out)
    assert (report.written, report.kept) == (1, 1)
    assert "changed since it was converted" in report.left_out[0][1][0].text


def test_staged_episodes_wait_for_a_conversion_of_their_bag(tmp_path, recording, converted):
    made = recording(seconds=1)
    bags = [recording(seconds=1 + k / 10).write(tmp_path / f"bag{k}") for k in range(3)]

    def stop(bag, done, total):
        if bag == bags[2]:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(bags, out, conversion.Options(mapping=mapped(made)), stop)
    report, _ = converted(bags[0], out=out, mapping=mapped(made, more_joints=("none",)))
    assert [issue.kind for issue in report.left_out[0][1]] == ["not commanded", "missing joints"]
    assert (report.written, report.kept) == (0, 0) and not (out / "faive_hand").exists()
    mended = mapped(made, state=(halved(made),))
    report, _ = converted(bags[0], out=out, mapping=mended)
    assert (report.written, report.kept) == (1, 0)  # staged with another mapping: made anew
    reader = LeRobotReader(out / "faive_hand")
    assert [row["length"] for row in reader.episodes] == [11]
    np.testing.assert_allclose(reader.columns(0)["observation.state"], 0.5 * expected(made, 11), atol=1e-6)
    report, _ = converted(*bags[1:], out=out, mapping=mapped(made))
    assert (report.written, report.kept) == (1, 1) and not (out / ".staging").exists()


def test_find_bags(tmp_path, recording):
    one = recording(seconds=1).write(tmp_path / "day" / "one")
    two = recording(seconds=1).write(tmp_path / "day" / "two", split=2)
    assert find_bags([tmp_path]) == [one, two] == find_bags([one, two, one])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no bag"):
        find_bags([tmp_path / "empty"])
    with pytest.raises(ArtifactError, match="no such bag"):
        find_bags([tmp_path / "none"])


def test_single_files_are_bags_and_split_bags_need_metadata(tmp_path, recording, converted):
    folder = tmp_path / "bags"
    for name in ("one", "two"):
        bag = recording(seconds=1).write(folder / "below" / name)
        shutil.copy(next(bag.glob("*.mcap")), folder / f"{name}.mcap")
    pieces = recording(seconds=1).write(folder / "split", split=2)
    (pieces / "metadata.yaml").unlink()
    for k, file in enumerate(sorted(pieces.glob("*.mcap"))):
        file.rename(pieces / f"split_{k}.mcap")
    assert [str(bag.relative_to(folder)) for bag in find_bags([folder])] == [
        "one.mcap", "two.mcap", "below/one", "below/two", "split"
    ]  # fmt: skip
    mapping = TopicMapping((conventional("left", recording().embodiment, ("front", "wrist")),))  # the files alone tell of no robot
    report, _ = converted(*find_bags([folder]), mapping=mapping)
    packed = folder / "packed.mcap.zstd"
    packed.write_bytes(b"whatever")
    other, _ = converted(folder / "one.mcap", packed, out=tmp_path / "other", mapping=mapping)
    assert other.written == 1 and "unpack it" in other.left_out[0][1][0].text
    text = report.left_out[0][1][0].text
    assert report.written == 4 and "no metadata.yaml, and 2 files" in text
    assert text.endswith(f"; pass separate recordings one by one: {pieces / '*.mcap'}")
    for k, file in enumerate(sorted(pieces.glob("*.mcap"))):
        file.rename(pieces / f"episode_{k:03d}.mcap")  # as people number theirs
    assert find_bags([pieces]) == [pieces / "episode_000.mcap", pieces / "episode_001.mcap"] and not files_of_bag(pieces)
    separate, _ = converted(*find_bags(pieces.glob("*.mcap")), out=tmp_path / "separate", mapping=mapping)
    assert all("metadata.yaml" not in issue.text for _, issues in separate.left_out for issue in issues)


def test_files_missing_in_metadata_are_reported(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    shutil.copy(next(bag.glob("*.mcap")), bag / "bag_1.mcap")
    report, _ = converted(bag)
    assert report.written == 1 and "bag_1.mcap: not listed in metadata.yaml" in report.warnings[0].text


def test_reason_for_an_unknown_frame_rate(tmp_path, recording, converted):
    file = tmp_path / "not.mcap"
    file.write_bytes(b"not a bag")
    with pytest.raises(ArtifactError, match=r"none of 1 bags .*not\.mcap") as damaged:
        converted(file)
    made = recording(seconds=1)
    for camera in ("front", "wrist"):
        made.drop(f"{camera}/image_raw")
    with pytest.raises(ArtifactError, match="none of /left/front/image_raw.*available: /left/hand_command") as missing:
        converted(made.write(tmp_path / "bag"))
    with pytest.raises(ArtifactError, match="name them in a mapping, or give the fleet"):
        converted(made.write(tmp_path / "without_metadata", custom={}))
    assert "give" not in f"{damaged.value} {missing.value}"  # what would not help is not advised


def test_inspection_after_a_conversion_without_episodes(tmp_path, recording, converted):
    made = recording(seconds=1)
    made.drop("joint_states")
    report, out = converted(made.write(tmp_path / "bag"))
    assert report.written == 0
    for look_at in (summary_tables, episode_views):
        with pytest.raises(ArtifactError, match="out: holds no data set or bag .*report.json says what was left out"):
            next(look_at(out))


def test_other_output_files_are_ignored(tmp_path, recording, converted):
    _, out = converted(recording(seconds=1).write(tmp_path / "bag"))
    assert {file.name for file in out.iterdir()} == {"conversion.json", "faive_hand", "mixture.yaml", "report.json"}
    assert find_datasets(out.iterdir()) == [(out / "faive_hand", 1.0)]
    (out / "notes.txt").touch()
    for folders in ([*out.iterdir()], [out / "mixture.yaml"]):
        with pytest.raises(ArtifactError, match=r"(notes.txt|mixture.yaml): is a file, expected a folder of data sets"):
            find_datasets(folders)


def test_joint_state_commands_in_any_order(tmp_path, recording, converted):
    made = recording()
    for event in made.on("hand_command"):
        event.message = made.joint_state(event.at + T0, made.joints[::-1], event.message.points[0].positions[::-1])
    report, out = converted(made.write(tmp_path / "bag"))
    assert (report.written, report.warnings) == (1, [])
    before = np.array([made.state(T0 + k / 10 - 0.02) for k in range(31)]) + 0.01
    np.testing.assert_allclose(LeRobotReader(out / "faive_hand").columns(0)["action"], before, atol=1e-6)


def test_arm_joints_on_the_same_topic_are_ignored(tmp_path, recording, converted):
    made = recording()
    for k in range(30):
        at = T0 + k / 10 + 0.0501  # late, and between the hand's
        made.add("joint_states", at, made.joint_state(at - 0.03, ["panda_joint1", "panda_joint2"], [9.0, 9.0]))
    report, out = converted(made.write(tmp_path / "bag"))
    assert (report.written, report.warnings) == (1, [])
    np.testing.assert_allclose(LeRobotReader(out / "faive_hand").columns(0)["observation.state"], expected(made), atol=1e-6)


def test_selected_cameras(tmp_path, recording, converted):
    bag = recording(seconds=1).write(tmp_path / "bag")
    _, out = converted(bag, cameras=("wrist",))
    assert LeRobotReader(out / "faive_hand").cameras == ("wrist",)
    report, _ = converted(recording(seconds=1).write(tmp_path / "other"), cameras=("rear",), out=tmp_path / "out")
    assert "available: front, wrist" in report.left_out[0][1][0].text
