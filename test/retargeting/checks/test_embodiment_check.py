"""Check of embodiments: shipped files pass; wrong files give the field and the remedy; contacts and workspace."""

# ruff: noqa: E501 - the table of mistakes has one line for each

import dataclasses
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from latent_policy_ros.cli import app
from latent_policy_ros.cli.check_report import print_report
from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import list_embodiments, load_embodiment
from latent_policy_ros.embodiments.model.catalogue import shipped_folder
from latent_policy_ros.embodiments.model.schema import finger_by_hinge
from latent_policy_ros.retargeting.checks.contacts import ReferenceContacts
from latent_policy_ros.retargeting.checks.embodiment_check import check_embodiment
from latent_policy_ros.retargeting.checks.pinches import pinch_gaps, retarget_poses, shipped_pinches
from latent_policy_ros.retargeting.checks.self_collision import SelfCollision, segment_distance
from latent_policy_ros.retargeting.checks.workspace import finger_reaches, random_joints
from latent_policy_ros.retargeting.human_motion.reference_poses import reference_poses
from latent_policy_ros.retargeting.retargeter import Retargeter

ROBOTS = [name for name in list_embodiments() if load_embodiment(name).kind != "human"]


@pytest.mark.parametrize("name", [*ROBOTS, *(f"{name}_left" for name in ROBOTS)])
def test_shipped_embodiments_pass_on_both_sides(name):
    report = check_embodiment(load_embodiment(name))
    assert not report.diagnoses and not report.failed
    assert 0.0 < report.jacobian_error < 1e-8 and report.limit_excess == 0.0 and report.largest_step < 0.3
    assert all(joint.travel > 1e-3 for joint in report.joints)


@pytest.mark.parametrize("name", [name for name in ROBOTS if load_embodiment(name).kind == "gripper"])
def test_grippers_are_as_near_to_a_pinch_on_both_sides(name):
    right, left = (check_embodiment(load_embodiment(f"{name}{side}")).aperture for side in ("", "_left"))
    assert left.pinch_offset == pytest.approx(right.pinch_offset, abs=1e-9) and right.pinch_offset < 0.02
    assert left.pinch_angle == pytest.approx(right.pinch_angle, abs=1e-6)


def test_report_of_the_human_hand_is_empty():
    report = check_embodiment(load_embodiment("human_hand"))
    assert report.kind == "human" and not report.failed and not report.joints


def replaced(*pairs):
    def change(text):
        for old, new in pairs:
            assert text.count(old) == 1, f"{old!r} must be there once"
            text = text.replace(old, new)
        return text

    return change


def in_millimetres(text):
    numbers = lambda found: ", ".join(f"{1000 * float(value):.4g}" for value in found[1].split(","))  # noqa: E731
    return re.sub(r"point: \[([^\]]*)\]", lambda found: f"point: [{numbers(found)}]", text)


def swapped(a, b):
    """Swap the names of two fingers."""
    return lambda text: text.replace(f"  {a}:", "  x:").replace(f"  {b}:", f"  {a}:").replace("  x:", f"  {b}:")


LEAP, PANDA, INSPIRE = "leap_hand", "panda_gripper", "inspire_hand"
MISTAKES = {  # embodiment, change of its file, level, field, message
    "palm turned round": (LEAP, replaced(("palm: [-0.0058, 0.0, -1.0]", "palm: [0.0058, 0.0, 1.0]")), "failure", "hand_frame.palm", "the fingers bend 166 degrees away from it; try palm: [0, 0, -1]"),
    "palm to the side": (LEAP, replaced(("palm: [-0.0058, 0.0, -1.0]", "palm: [0.0, 1.0, 0.0]")), "failure", "hand_frame.palm", "try palm: [0, 0, -1]"),
    "fingers turned round": (LEAP, replaced(("fingers: [1.0, 0.0, -0.0058]", "fingers: [-1.0, 0.0, 0.0058]")), "failure", "hand_frame.fingers", "the straight fingers point 174 degrees away from it; try fingers: [1, 0, 0]"),
    "fingers along another axis": (LEAP, replaced(("fingers: [1.0, 0.0, -0.0058]", "fingers: [0.0, 1.0, 0.0]")), "failure", "hand_frame.fingers", "try fingers: [1, 0, 0]"),
    "origin at the fingertips": (LEAP, replaced(("origin: [-0.143,", "origin: [0.143,")), "warning", "hand_frame.origin", "expected near (0, 0, 0.09), as the origin stands for a person's wrist"),
    "all points in millimetres": (LEAP, in_millimetres, "failure", "fingertips.index.point", "is 50.3 m away from hinge 3: expected metres; are these millimetres?"),
    "one point in millimetres": (LEAP, replaced(("point: [0.0822, 0.0226, -0.0195]", "point: [82.2, 22.6, -19.5]")), "failure", "hinges.3.point", "are these millimetres?"),
    "points in kilometres": (LEAP, lambda text: re.sub(r"0\.(?=\d{2,4}[,\]])", "0.000", text), "failure", "fingertips.thumb.point", "from its first hinge to its tip; points must be in metres"),
    "degrees": (LEAP, replaced(("-0.0195], range: [-0.506, 1.885]}\n  \"3\":  {parent: \"2\", axis: [0.0, 1.0, 0.000006], point: [0.0822", "-0.0195], range: [-29, 108]}\n  \"3\":  {parent: \"2\", axis: [0.0, 1.0, 0.000006], point: [0.0822")), "warning", "hinges.2.range", "[-29, 108] is more than a full turn; are these degrees?"),
    "left for right": (LEAP, replaced(("side: right", "side: left")), "failure", "side", "the thumb is on the wrong side of a left hand: is it a right hand?"),
    "tip on the wrong hinge": (LEAP, replaced(('index:  {hinge: "3"', 'index:  {hinge: "2"')), "warning", "actuated.3", "moves no fingertip: are the parents right"),
    "axis turned round": (LEAP, replaced(('"2":  {parent: "0", axis: [0.0, 1.0', '"2":  {parent: "0", axis: [0.0, -1.0')), "warning", "hinges.2.axis", "bends the index 108 degrees to the back of the hand and 29 to the palm: are its sign and the range right"),
    "axis of a coupled hinge turned round": (INSPIRE, lambda text: re.sub(r"(index_intermediate_joint: +\{parent: \w+, axis: \[)([^\]]*)", lambda m: m[1] + ", ".join(str(-float(v)) for v in m[2].split(",")), text, count=1), "warning", "hinges.index_intermediate_joint.axis", "to the back of the hand"),
    "thumb's axis turned round": (LEAP, replaced(('"12": {parent: palm, axis: [-1.0', '"12": {parent: palm, axis: [1.0')), "warning", "fingertips.thumb", "at rest its tip is behind the palm"),
    "thumb bends to the wrist": (LEAP, replaced(('"14": {parent: "13", axis: [0.0, 0.0, -1.0]', '"14": {parent: "13", axis: [0.0, 0.0, 1.0]')), "warning", "fingertips.thumb", "nearer to the wrist than its first hinge"),
    "thumb cannot oppose": (INSPIRE, replaced(("{rest: 0.69, max_velocity: 2.5}", "{rest: 0.3, max_velocity: 2.5}"), ("range: [0.0, 1.308]", "range: [0.0, 0.4]")), "warning", "fingertips.thumb", "comes no nearer to the index than"),
    "fingers in reverse": (LEAP, swapped("index", "ring"), "warning", "fingertips", "are the names of the fingers reversed?"),
    "thumb and index swapped": (LEAP, swapped("thumb", "index"), "warning", "fingertips", "the index starts nearer to the wrist than the thumb: are their names swapped?"),
    "thumb and ring swapped": (LEAP, swapped("thumb", "ring"), "warning", "fingertips.thumb", "it is on the side of the ring: is that finger the thumb?"),
    "too thick": (LEAP, replaced(("link_radius: 0.011, tip_radius: 0.011", "link_radius: 0.03, tip_radius: 0.03")), "warning", "shape", "are the radii too large"),
    "closed is open": (PANDA, replaced(("closed: 0.0, open: 0.04", "closed: 0.04, open: 0.0")), "failure", "action", "the tips are 80 mm apart when closed and 0 mm when open: swap closed and open"),
    "jaws that cross": (PANDA, replaced(("thumb: {hinge: panda_finger_joint2, point: [0.0, 0.0,", "thumb: {hinge: panda_finger_joint2, point: [0.0, 0.03,")), "warning", "action", "come nearer again while the gripper opens"),
    "tips beside the pads": (PANDA, replaced(("thumb: {hinge: panda_finger_joint2, point: [0.0, 0.0,", "thumb: {hinge: panda_finger_joint2, point: [0.0, -0.02,")), "warning", "action.closed", "still 20 mm apart: are the fingertips on the pads?"),
    "jaws of half a metre": (PANDA, lambda text: text.replace("range: [0.0, 0.04]", "range: [0.0, 0.4]").replace("open: 0.04", "open: 0.4"), "warning", "fingertips", "open 800 mm; points must be in metres"),
    "jaws that open too little": (PANDA, replaced(("closed: 0.0, open: 0.04", "closed: 0.0, open: 0.02")), "warning", "fingertips", "it cannot grasp an object of 45 mm"),
    "a gripper's frame elsewhere": (PANDA, replaced(("origin: [-0.008, -0.0882,", "origin: [-0.008, 0.0882,")), "warning", "hand_frame.origin", "where a person's fingertips meet"),
    "a gripper's frame turned": (PANDA, replaced(("fingers: [0.0, 0.928, 0.371], palm: [0.0, -0.371, 0.928]", "fingers: [0.0, 0.0, 1.0], palm: [1.0, 0.0, 0.0]")), "warning", "hand_frame", "degrees away from a person's pinch"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_file_gives_field_and_remedy(tmp_path, mistake):
    name, change, level, field, message = MISTAKES[mistake]
    path = tmp_path / f"{name}.yaml"
    path.write_text(change((shipped_folder() / path.name).read_text()))
    report = check_embodiment(load_embodiment(path))
    told = [(diagnosis.level, diagnosis.field) for diagnosis in report.diagnoses if message in diagnosis.message]
    assert (level, field) in told, report.diagnoses
    assert (
        report.failed == any(diagnosis.level == "failure" for diagnosis in report.diagnoses) and report.diagnoses[0].level == level
    )


def test_implausible_fingers_are_refused_by_everything(tmp_path):
    """A finger of 313 mm when the file is loaded; points in millimetres when it is retargeted."""
    path = tmp_path / f"{LEAP}.yaml"
    text = (shipped_folder() / path.name).read_text()
    path.write_text(replaced(("point: [0.1302, 0.0076", "point: [0.2919, 0.0076"))(text))
    with pytest.raises(ConfigError, match=r"leap_hand.yaml: fingertips.index: the index is 313 mm long .* expected up to 250 mm"):
        load_embodiment(path)
    path.write_text(in_millimetres(text))
    with pytest.raises(ConfigError, match="are these millimetres"):
        Retargeter(load_embodiment(path))


def test_error_of_the_package_is_reported():
    """Limits that a coupled hinge cannot follow, as no loaded file has them."""
    e = load_embodiment(INSPIRE)
    hinges = tuple(dataclasses.replace(h, upper=0.1) if h.name == "index_intermediate_joint" else h for h in e.hinges)
    report = check_embodiment(dataclasses.replace(e, hinges=hinges, content_hash="another"))
    assert report.failed and report.diagnoses[0].field == "couplings" and report.limit_excess > 0.1


def test_pinches_are_compared_with_those_of_the_shipped_hands():
    """The kept values are those that retargeting gives today."""
    e, kept = load_embodiment("leap_hand_left"), shipped_pinches()
    assert set(kept) == set(ROBOTS)
    for name in ("dex3_hand", INSPIRE, PANDA):
        assert kept[name] == pytest.approx(pinch_gaps(load_embodiment(name), reference_poses()), abs=2e-4)
    gaps = pinch_gaps(e, reference_poses())
    assert set(gaps) == {"index", "middle", "ring"} and max(gaps.values()) < 0.004
    assert pinch_gaps(load_embodiment(INSPIRE), reference_poses())["pinky"] > 0.04


def test_finger_workspaces():
    """Inspire's thumb meets only the index; no tip is farther from its first hinge than the finger is long."""
    e = load_embodiment(INSPIRE)
    reaches = {reach.finger: reach for reach in finger_reaches(e, random_joints(e, 300))}
    assert reaches["index"].can_pinch and not reaches["pinky"].can_pinch and not reaches["thumb"].can_pinch
    assert all(0.02 < reach.farthest <= reach.length + 1e-9 for reach in reaches.values())


def test_segment_distance_equals_sampled_distance():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.normal(size=(4, 50, 3))
    d[:5], b[5:10] = c[:5], a[5:10]  # points
    d[10:15] = c[10:15] + 2.0 * (b - a)[10:15]  # parallel
    s = np.linspace(0.0, 1.0, 301)
    on_first, on_second = a[:, None] + s[:, None] * (b - a)[:, None], c[:, None] + s[:, None] * (d - c)[:, None]
    nearest = np.array([np.linalg.norm(p[:, None] - q[None], axis=-1).min() for p, q in zip(on_first, on_second, strict=True)])
    found = segment_distance(a, b, c, d)
    assert (found <= nearest + 1e-12).all() and np.abs(found - nearest).max() < 5e-3


def test_intended_contact_is_not_reported():
    e, poses = load_embodiment(LEAP), reference_poses()
    q = retarget_poses(e, poses)[:, -1]
    part, pose = finger_by_hinge(e), [pose.name for pose in poses].index("pinch index")
    depths = dict(zip(SelfCollision(e).pairs, SelfCollision(e).depths(q[pose : pose + 1])[0], strict=True))
    touching = [
        pair
        for pair, depth in depths.items()
        if {part[link] for link in pair if link in part} == {"thumb", "index"} and depth > 0.002
    ]
    assert touching, "the tips touch"
    found = ReferenceContacts(e, poses[pose : pose + 1], q[pose : pose + 1]).found()
    assert not {contact.links for contact in found} & set(touching)


def run(*arguments):
    return CliRunner().invoke(app, ["embodiments", *map(str, arguments)], env={"COLUMNS": "160", "MUJOCO_GL": "disable"})


def test_notes_are_printed():
    hand = dataclasses.replace(
        load_embodiment("dex3_hand"), notes=("left out: [the lid]", "tip of the thumb: better give its point")
    )
    report, screen = check_embodiment(hand), io.StringIO()
    print_report(report, Console(file=screen, width=80, markup=False))
    assert "\nnote: left out: [the lid]\nnote: tip of the thumb: better give its point\n" in screen.getvalue()
    assert report.to_json()["notes"] == hand.notes


def test_command_prints_the_report_and_exits_with_1_on_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("latent_policy_ros.cli.embodiments._draw", lambda image, path: None)  # drawing has its own tests
    right = run("check", LEAP, "--json", tmp_path / "report.json")
    assert right.exit_code == 0 and "no errors found" in right.output
    written = json.loads((tmp_path / "report.json").read_text())
    assert not written["failed"] and len(written["joints"]) == 16 and set(written["pinches"]) == set(ROBOTS)
    path = tmp_path / "mine.yaml"
    path.write_text(
        (shipped_folder() / f"{LEAP}.yaml").read_text().replace("name: leap_hand\n", "").replace("side: right", "side: left")
    )
    wrong = run("check", path)
    assert wrong.exit_code == 1 and "failure: side: the thumb is on the wrong side" in wrong.output
    path.write_text("kind: hand\n")
    unreadable = CliRunner().invoke(app, ["embodiments", "check", str(path)])
    assert unreadable.exit_code != 0 and "mine.yaml: side: missing" in str(unreadable.exception)
