"""`latent-policy dataset`: output and exit status."""

import errno
import shutil

import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from typer.testing import CliRunner

from latent_policy_ros.cli.dataset import app
from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.bags import storage
from latent_policy_ros.data.conversion import conversion
from latent_policy_ros.sim.demonstrations import generation


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_left_out_bags_are_listed_with_the_reason(tmp_path, recording):
    made = recording(seconds=1)
    made.drop("joint_states")
    made.write(tmp_path / "bags" / "bad")
    recording(seconds=1).write(tmp_path / "bags" / "good")
    done = run("from-bags", tmp_path / "bags", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "missing topic" in done.output
    assert "1 episodes written (11 frames), 0 kept, 1 left out" in done.output


def test_view_of_an_invalid_file_fails(tmp_path, recording):
    file = tmp_path / "notes.txt"
    file.write_text("no bag")
    done = run("view", file, "-o", tmp_path / "view")
    assert done.exit_code == 1 and "no bag" in done.output
    assert run("view", recording(seconds=1).write(tmp_path / "bag"), "-o", tmp_path / "view").exit_code == 0


def test_view_writes_one_sheet_per_bag(tmp_path, recording):
    for run_ in ("run1", "run2"):
        recording(seconds=1).write(tmp_path / run_ / "rec")
    file = next((tmp_path / "run1" / "rec").glob("*.mcap"))
    shutil.copytree(file.parent, tmp_path / "one" / "rec" / "rec")
    shutil.copy(file, tmp_path / "one" / "rec")  # a bag without metadata, beside a folder of its name
    (tmp_path / "rig.yaml").write_text("""
robots:
  left:
    embodiment: faive_hand
    cameras: {front: /left/front/image_raw}
    state: {topic: /left/joint_states}
    command: {topic: /left/hand_command}
""")
    cases = (".", "run1/rec_left run2/rec_left"), ("run1/rec", "rec_left"), ("one/rec", "rec_left rec/rec_left")
    for path, sheets in ((path, names.split()) for path, names in cases):
        out = tmp_path / "view" / path
        done = run("view", tmp_path / path, "-o", out, "--mapping", tmp_path / "rig.yaml")
        assert done.exit_code == 0 and all(f"{out / sheet}.png" in done.output.splitlines() for sheet in sheets), done.output
        assert {out / f"{sheet}.png" for sheet in sheets} <= set(out.rglob("*.png"))


@pytest.mark.parametrize(
    ("report", "status"), [(generation.Report(0, 0, (7,)), 1), (generation.Report(1, 0, (7,)), 0), (generation.Report(0, 1, ()), 0)]
)
def test_from_sim_fails_if_all_demonstrations_fail(tmp_path, monkeypatch, report, status):
    monkeypatch.setattr(generation, "generate_episodes", lambda *_, **__: report)
    done = run("from-sim", "-o", tmp_path)
    assert done.exit_code == status and str(report) in done.output


def test_interrupted_from_sim_says_what_is_kept(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(generation, "generate_episodes", stop)
    done = run("from-sim", "-o", tmp_path)
    assert done.exit_code == 130
    assert f"interrupted; finished episodes are kept in {tmp_path}; run the same command to resume" in done.output


def commands_after_the_images(made):
    gone = made.drop("hand_command")
    made.add("hand_command", gone[-1].received + 0.2, gone[-1].message)


def nameless_wrists(made):
    for event in made.on("wrist_command"):
        event.message.pose.orientation.w = 0.0


@pytest.mark.parametrize(
    ("spoil", "custom", "reason"),
    [
        (commands_after_the_images, {}, "too short: no image at a time at which all other topics are known"),
        (nameless_wrists, {}, "wrist command has a quaternion of norm 0, expected 1"),
        (lambda made: None, {"success": "false", "outcome": ""}, "marked as a failure"),
    ],
)
def test_invalid_bag_does_not_stop_the_others(tmp_path, recording, spoil, custom, reason):
    made = recording(seconds=1)
    spoil(made)
    bag = made.write(tmp_path / "bags" / "b_odd", custom=made.custom(**custom))
    if custom:  # as rosbag2's writer of YAML has it: without quotes
        told = bag / "metadata.yaml"
        told.write_text(told.read_text().replace("success: 'false'", "success: false"))
    for name in ("a_good", "c_good"):
        recording(seconds=1).write(tmp_path / "bags" / name)
    done = run("from-bags", tmp_path / "bags", "-o", tmp_path / "out")
    assert done.exit_code == 0 and reason in done.output, done.output
    assert "2 episodes written" in done.output and "1 left out" in done.output


def test_unexpected_errors_are_reported_and_a_full_disk_ends_the_conversion(tmp_path, recording, monkeypatch):
    convert = conversion._convert_bag

    def fails(path, *rest):
        if path.name == "b_odd":
            raise raised
        convert(path, *rest)

    monkeypatch.setattr(conversion, "_convert_bag", fails)
    for name in ("a_good", "b_odd"):
        recording(seconds=1).write(tmp_path / "bags" / name)
    raised = ZeroDivisionError("by zero")
    done = run("from-bags", tmp_path / "bags", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "unusable: ZeroDivisionError: by zero" in done.output and "1 left out" in done.output
    raised = OSError(errno.ENOSPC, "No space left on device")
    assert run("from-bags", tmp_path / "bags", "-o", tmp_path / "out2").exception is raised


def test_invalid_seed_is_ignored(tmp_path, recording):
    made = recording(seconds=1)
    made.write(tmp_path / "bag", custom=made.custom(seed="random"))
    done = run("from-bags", tmp_path / "bag", "-o", tmp_path / "out")
    assert done.exit_code == 0 and "1 episodes written" in done.output


def test_frame_rate_cannot_be_determined_from_equal_times(tmp_path, recording):
    made = recording(seconds=1)
    for event in made.events:
        event.received = made.events[0].received + 1.0
    for event in made.on("front/image_raw") + made.on("wrist/image_raw"):  # stamps would give the rate
        event.message.header = made.joint_state(0.0, [], []).header
    made.write(tmp_path / "bag")
    done = run("from-bags", tmp_path / "bag", "-o", tmp_path / "out")
    assert isinstance(done.exception, ArtifactError) and "to determine the frame rate (give --fps)" in str(done.exception)


def test_sqlite_journal_with_messages_is_reported(tmp_path, recording):
    bag = recording(seconds=1).write(tmp_path / "bag", storage=StoragePlugin.SQLITE3)
    next(bag.glob("*.db3")).with_name(f"{next(bag.glob('*.db3')).name}-wal").write_bytes(b"x" * 100)
    done = run("from-bags", bag, "-o", tmp_path / "out", "--fps", "10")
    assert done.exit_code == 1 and "db3-wal holds messages that are not in" in done.output and "wal_checkpoint" in done.output


def test_full_disk_while_unpacking_ends_the_conversion(tmp_path, recording, monkeypatch):
    for name in ("a", "b"):
        recording(seconds=1).write(tmp_path / "bags" / name, compression=CompressionMode.FILE)
    opened = []

    def full(source, *_):
        opened.append(source)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "unpack_file", full)
    for fps in ((), ("--fps", "10")):
        done = run("from-bags", tmp_path / "bags", "-o", tmp_path / "out", *fps)
        assert isinstance(done.exception, OSError) and done.exception.errno == errno.ENOSPC and "damaged" not in done.output
    assert len(opened) == 2 and f"no disk space to unpack {tmp_path / 'bags' / 'a'}" in str(done.exception)


def test_new_settings_are_accepted_while_a_folder_holds_no_episode(tmp_path, recording):
    made = recording(seconds=1)
    made.write(tmp_path / "failed", custom=made.custom(outcome="failure"))
    bag, out = made.write(tmp_path / "bag"), tmp_path / "out"
    done = run("from-bags", tmp_path / "failed", "-o", out, "--fps", "5")
    assert done.exit_code == 1 and "(--keep-failed converts it)" in done.output
    done = run("from-bags", bag, "-o", out, "--fps", "10")
    assert done.exit_code == 0 and "1 episodes written" in done.output, done.output
    done = run("from-bags", bag, "-o", out, "--fps", "5")
    assert "fps: expected 10, as in the data sets of this folder, got 5" in str(done.exception)
