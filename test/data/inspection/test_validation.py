"""Validation, plots and summaries of episodes in bags and in data sets."""

import dataclasses
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from rich.console import Console

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.data.inspection.episode_plots import RerunFile, write_sheet
from latent_policy_ros.data.inspection.episode_view import episode_views
from latent_policy_ros.data.inspection.summary import summary_tables
from latent_policy_ros.data.inspection.validation import validate

T0 = 1_700_000_000.0


def textured(made, camera, frozen=(), black=()):
    """Replace the images of a camera by a moving texture, with frozen or black intervals."""
    rng = np.random.default_rng(5)
    scene = cv2.resize(rng.integers(0, 255, (20, 40, 3), dtype=np.uint8), (240, 120), interpolation=cv2.INTER_CUBIC)
    for event in made.on(f"{camera}/image_raw"):
        k = round((event.at - 0.01) * 10)
        shift = int(frozen[0]) if frozen and frozen[0] <= k <= frozen[1] else k
        rgb = scene[shift : shift + 48, 2 * shift : 2 * shift + 64].copy()
        if black and black[0] <= k <= black[1]:
            rgb[:] = 2
        event.message = made.image(T0 + k / 10, rgb)


@pytest.fixture
def found(tmp_path, recording, converted):
    """Validates a recording as a bag and as a data set, checks that both give the same issues, and returns them by kind."""

    def run(spoil=lambda made: None, **options):
        made = recording(seconds=3, **options)
        for event in made.on("joint_states"):  # a motion within the limits
            event.message.position = 0.5 * made.embodiment.upper + 0.4 * event.message.position
        for event in made.on("hand_command"):
            event.message.points[0].positions = 0.5 * made.embodiment.upper + 0.4 * event.message.points[0].positions + 0.005
        for camera in ("front", "wrist"):
            textured(made, camera)
        spoil(made)
        bag = made.write(tmp_path / "bag")
        report, out = converted(bag)
        (of_bag,) = [validate(view) for view in episode_views(bag)]
        (of_dataset,) = [validate(view) for view in episode_views(out / "faive_hand")] if report.written else [of_bag]
        assert {f.kind for f in of_bag} == {f.kind for f in of_dataset}
        for one, other in zip(of_bag, of_dataset):
            assert one.time == pytest.approx(other.time, abs=0.5) if one.time is not None else other.time is None
        return {issue.kind: issue for issue in of_bag}

    return run


def test_valid_episode_has_no_issues(found):
    assert found() == {}


def test_frozen_camera(found):
    issue = found(lambda made: textured(made, "front", frozen=(8, 25)))["frozen camera"]
    assert issue.topic == "/left/front/image_raw" and issue.time == pytest.approx(0.8, abs=0.15) and "1.7 s" in issue.text


def test_static_images_are_valid_while_the_robot_rests(found):
    def rest(made):
        textured(made, "front", frozen=(0, 30))
        for name in ("joint_states", "hand_command"):
            for event in made.on(name):
                where = event.message if name == "joint_states" else event.message.points[0]
                where.position = where.positions = 0.5 * made.embodiment.upper + (name == "hand_command") * 0.01

    assert found(rest) == {}


def test_black_camera(found):
    issue = found(lambda made: textured(made, "wrist", black=(10, 20)))["black camera"]
    assert issue.topic == "/left/wrist/image_raw" and issue.time == pytest.approx(1.0, abs=0.15)


def degrees(made):
    for event in made.on("joint_states"):
        event.message.position = np.rad2deg(event.message.position)


def jump(made):
    for event in made.on("joint_states"):
        low, high = made.embodiment.lower[4], made.embodiment.upper[4]
        event.message.position[4] = high - 0.02 if event.at > 1.45 else low + 0.02


def clipped(made):
    for event in made.on("hand_command"):
        if event.at > 0.5:
            event.message.points[0].positions[4] = made.embodiment.upper[4]


def outside(made):
    for event in made.on("joint_states"):
        event.message.position[4] = 1.1 * made.embodiment.upper[4] + 0.1


@pytest.mark.parametrize(
    ("spoil", "kind", "topic", "word"),
    [
        (degrees, "units", "/left/joint_states", "degrees"),
        (jump, "jump", "/left/joint_states", "rad/s"),
        (clipped, "clipped", "/left/hand_command", "at a limit"),
        (outside, "outside limits", "/left/joint_states", "its limits are"),
    ],
)
def test_implausible_joints(found, spoil, kind, topic, word):
    issue = found(spoil)[kind]
    assert issue.topic == topic and word in issue.text


def test_state_equal_to_command(recording, tmp_path):
    made = recording()
    made.drop("hand_command")
    for event in made.on("joint_states"):
        q = 0.5 * made.embodiment.upper + 0.1 * np.sin(event.at)
        event.message.position = q
        made.add("hand_command", event.received + 0.0005, made.trajectory(event.received, made.joints, q))
    (view,) = episode_views(made.write(tmp_path / "bag"))
    assert "state equals command" in {issue.kind for issue in validate(view)}


def test_mismatched_embodiment_hash(recording, converted, tmp_path):
    _, out = converted(recording().write(tmp_path / "bag"))
    manifest = out / "faive_hand/meta/latent_policy.json"
    manifest.write_text(manifest.read_text().replace(json.loads(manifest.read_text())["embodiment_hash"], "d" * 64))
    (view,) = episode_views(out)
    issues = {issue.kind: issue for issue in validate(view)}
    assert "dddddddddddd" in issues["mismatched ids"].text


def test_holes_and_truncated_bags_are_reported(recording, tmp_path):
    made = recording()
    made.drop("front/image_raw", keep=lambda event: not 1 < event.at < 2)
    made.write(tmp_path / "bags" / "hole")
    bag = recording().write(tmp_path / "bags" / "short")
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:5000])
    told = {issue.kind for view in episode_views(tmp_path / "bags") for issue in validate(view)}
    assert {"hole", "truncated"} <= told


def test_view_of_a_bag_reports_the_hole_that_conversion_reports(recording, converted, tmp_path):
    """A gap of three images of a 20 Hz camera is a hole although the data set has 10 frames per second; it is bridged."""
    made = recording()
    for camera in ("front", "wrist"):
        made.drop(f"{camera}/image_raw")
        for k in range(61):
            if camera == "wrist" or k not in (30, 31, 32):
                made.add_image(camera, T0 + k * 0.05)
    bag = made.write(tmp_path / "bag")
    told = {issue.kind: issue.text for view in episode_views(bag) for issue in validate(view)}
    report, _ = converted(bag)
    assert report.written == 1
    assert told["bridged"] == next(issue.text for issue in report.warnings if issue.kind == "bridged")


def test_sheet_shows_images_and_joints(recording, converted, tmp_path):
    made = recording()
    _, out = converted(made.write(tmp_path / "bag"))
    for source in (out, tmp_path / "bag"):
        (view,) = episode_views(source, image_height=48, max_images=5)
        assert view.images["front"].shape[1:] == (48, 64, 3) and 4 <= len(view.image_frames) <= 7
        assert np.abs(view.images["front"][:, 40, 30, 1].astype(int) - view.image_frames).max() <= 1
        write_sheet(view, tmp_path / "view" / "sheet.png")
        sheet = cv2.imread(str(tmp_path / "view" / "sheet.png"))
        assert sheet.shape[1] == 1280 and (np.abs(sheet.astype(int) - (0, 0, 200)).max(axis=-1) < 30).sum() > 2000


def test_summary_of_bags_and_data_sets(recording, converted, tmp_path):
    made = recording(seconds=1)
    _, out = converted(made.write(tmp_path / "bag"))
    console = Console(width=200, record=True, file=io.StringIO())
    for path in (tmp_path / "bag", out):
        for table in summary_tables(path):
            console.print(table)
    told = console.export_text()
    words = " ".join(told.split())
    assert "robots: left, task: put the cube in the box, outcome: success" in words and "sensor_msgs/msg/Image" in words
    assert "1 episodes, 11 frames at 10 Hz" in words
    (row,) = [line for line in told.splitlines() if "joint_states" in line and "limit" not in line and "msg" not in line]
    assert [cell.strip() for cell in row.split("│")[1:5]] == ["joint_states", "0.0", "0.0", "100.0"]


def test_missing_rerun_package_is_named(recording, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(LatentPolicyError, match="pip install rerun-sdk"):
        RerunFile(tmp_path / "x.rrd")


@pytest.mark.parametrize("size", [(64, 48), (24, 32)])
def test_change_of_image_size_is_reported_as_in_conversion(recording, converted, tmp_path, size):
    made = recording()
    for event in made.on("wrist/image_raw")[12:]:
        event.message = made.image(event.received - 0.01, np.full((*size, 3), 99, np.uint8))
    bag = made.write(tmp_path / "bags" / "a_odd")
    recording().write(tmp_path / "bags" / "b_good")
    odd, good = episode_views(tmp_path / "bags")
    (issue,) = [issue for issue in validate(odd) if issue.kind == "image"]
    report, _ = converted(bag)
    ((_, (refused,)),) = report.left_out
    assert refused.time == pytest.approx(1.2, abs=0.03) and f"{size[1]}x{size[0]}" in refused.text
    assert issue == dataclasses.replace(refused, text=f"{refused.text} (and 18 more)")
    assert len(odd.images["wrist"]) == 12 and len(good.images["wrist"]) == 31


def test_folders_left_by_a_killed_run_are_skipped(recording, converted, tmp_path):
    _, out = converted(recording(seconds=1).write(tmp_path / "bag"))
    shutil.copytree(out / "faive_hand", out / ".faive_hand.new")
    assert [view.name for view in episode_views(out)] == ["faive_hand_0000"]
