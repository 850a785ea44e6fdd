"""Loading of embodiments: by name and file, the user's folders, sides, content hashes, and the errors of wrong YAML files."""

# ruff: noqa: E501 - the table of mistakes has one line for each

import dataclasses
import os

import numpy as np
import pytest
import yaml

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import HandKinematics, list_embodiments, load_embodiment
from latent_policy_ros.embodiments.kinematics.capsules import capsules
from latent_policy_ros.embodiments.model.catalogue import FOLDERS_VARIABLE
from latent_policy_ros.embodiments.model.content_hash import EmbodimentKey, content_hash

TINY = """
name: tiny_hand
kind: hand
side: right
hand_frame: {origin: [0, 0, 0], fingers: [0, 0, 2.0], palm: [1, 0, 0.2]}
actuated:
  a: {rest: 0.1, max_velocity: 2}
  t: {rest: 0.1, max_velocity: 2}
hinges:
  a: {parent: palm, axis: [0, 2, 0], point: [0, 0, 0.1], range: [0, 1.0]}
  b: {parent: a, axis: [0, 1, 0], point: [0, 0, 0.15], range: [0, 0.6]}
  t: {parent: palm, axis: [0, 1, 0], point: [0.01, 0.02, 0.05], range: [-0.5, 1.0]}
couplings:
  b: {follows: a, ratio: 0.75}
fingertips:
  thumb: {hinge: t, point: [0.01, 0.02, 0.1]}
  index: {hinge: b, point: [0, 0, 0.2]}
shape: {link_radius: 0.01, tip_radius: 0.01, palm_radius: 0.01}
servo: {kp: 1, damping: 0.1, max_effort: 1, armature: 0.001}
"""


@pytest.fixture
def tiny(tmp_path):
    """Writes the tiny hand, with one piece of its text replaced, and loads it."""

    def load(old="", new=""):
        assert TINY.count(old) == 1 or not old, f"{old!r} must be there once"
        path = tmp_path / "tiny_hand.yaml"
        path.write_text(TINY.replace(old, new) if old else TINY + new)
        return load_embodiment(path)

    return load


def test_sizes_of_four_shipped_embodiments():
    expected = {"faive_hand": (11, 30, 11), "mimic_hand": (16, 20, 16), "panda_gripper": (1, 2, 1), "human_hand": (0, 0, 189)}
    assert set(expected) <= set(list_embodiments())
    for name, sizes in expected.items():
        e = load_embodiment(name)
        assert (len(e.joint_names), len(e.hinges), e.action_dim) == sizes
        assert e.name == name and len(e.content_hash) == 64
        assert (e.lower < e.upper).all() and (e.lower <= e.rest).all() and (e.rest <= e.upper).all()
        assert len(e.action_names) == len(e.action_lower) == len(e.action_upper) == e.action_dim


@pytest.mark.parametrize("name", ("faive_hand", "mimic_hand", "panda_gripper"))
def test_hinges_stay_in_range_within_the_limits_of_q(name):
    e = load_embodiment(name)
    for q in (e.lower, e.upper, e.rest):
        for hinge, angle in zip(e.hinges, e.coupling @ q, strict=True):
            assert hinge.lower - 1e-12 <= angle <= hinge.upper + 1e-12, hinge.name


def test_limits_are_narrowed_by_coupled_hinges():
    faive = load_embodiment("faive_hand")
    index = faive.joint_names.index("index_pp2mp_virt")
    assert faive.upper[index] == pytest.approx(0.68 / 0.71)  # its own range ends at 0.96


def test_action_of_a_gripper_is_its_opening():
    gripper = load_embodiment("panda_gripper")
    x = np.array([[0.0], [0.25], [1.0]])
    assert np.allclose(gripper.to_joints(x), [[0.0], [0.01], [0.04]])
    assert np.allclose(gripper.to_action(gripper.to_joints(x)), x)
    assert (gripper.action_lower, gripper.action_upper, gripper.action_names) == ([0.0], [1.0], ("opening",))


def test_action_of_a_hand_is_its_joints():
    hand = load_embodiment("mimic_hand")
    q = np.random.default_rng(0).uniform(hand.lower, hand.upper, (3, 5, 16))
    assert (hand.to_action(q) == q).all() and (hand.to_joints(q) == q).all()
    with pytest.raises(ValueError, match=r"mimic_hand: joints must have shape \(\.\.\., 16\), got \(3, 15\)"):
        hand.to_action(np.zeros((3, 15)))


def test_human_hand_has_no_joints():
    with pytest.raises(ValueError, match="human_hand has no joints"):
        load_embodiment("human_hand").to_joints(np.zeros(189))


def test_embodiment_is_immutable():
    hand = load_embodiment("mimic_hand")
    with pytest.raises(ValueError, match="read-only"):
        hand.lower[0] = -10.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        hand.name = "other"
    with pytest.raises(TypeError):
        hand.fingertips["thumb"] = None


def test_tiny_hand(tiny):
    e = tiny()
    assert e.joint_names == ("a", "t") and np.allclose(e.coupling, [[1, 0], [0.75, 0], [0, 1]])
    assert np.allclose(e.upper, [0.8, 1.0])  # 0.6 / 0.75
    assert np.allclose(e.T_base_hand, np.eye(4)) and np.allclose(e.hinge("a").axis, [0, 1, 0])
    assert [shape.finger for shape in capsules(e) if shape.finger] == ["thumb", "index"]


def test_acceleration_is_that_of_the_file_or_full_speed_in_a_fifth_of_a_second(tiny):
    e = tiny("t: {rest: 0.1, max_velocity: 2}", "t: {rest: 0.1, max_velocity: 2, max_acceleration: 3}")
    assert e.max_acceleration.tolist() == [10.0, 3.0] and e.content_hash == tiny().content_hash


def test_order_of_hinges_in_the_file_does_not_matter(tiny):
    lines = TINY.strip().splitlines()
    a, b = (next(i for i, line in enumerate(lines) if line.startswith(f"  {name}: {{parent")) for name in "ab")
    e = tiny(lines[a] + "\n" + lines[b], lines[b] + "\n" + lines[a])
    assert e.hinge_names.index("a") < e.hinge_names.index("b")


def test_hash_ignores_rounding_errors():
    hand = load_embodiment("mimic_hand")
    changed = {shift: dataclasses.replace(hand, T_base_hand=hand.T_base_hand + shift) for shift in (1e-14, -1e-14, 1e-6)}
    hashes = {shift: content_hash(embodiment) for shift, embodiment in changed.items()}
    assert hashes[1e-14] == hashes[-1e-14] == hand.content_hash != hashes[1e-6]


def test_hash_depends_on_meaning_not_on_text(tiny):
    plain = tiny().content_hash
    assert tiny("kp: 1,", "kp: 2,  # stiffer\n ").content_hash == plain
    assert tiny("axis: [0, 2, 0]", "axis: [0.0, 1.0, 0]").content_hash == plain
    assert tiny("ratio: 0.75", "ratio: 0.7").content_hash != plain
    assert tiny("range: [-0.5, 1.0]", "range: [-0.4, 1.0]").content_hash != plain
    assert tiny("point: [0, 0, 0.2]", "point: [0, 0, 0.21]").content_hash != plain


def test_correspondence_is_that_of_the_fingers_unless_the_file_says_the_hand(tiny):
    plain, whole = tiny(), tiny("", "correspondence: hand\n")
    assert (plain.correspondence, whole.correspondence) == ("fingers", "hand")
    assert whole.content_hash == plain.content_hash  # the meaning of joints does not depend on it
    assert EmbodimentKey.of(whole) != EmbodimentKey.of(plain)
    assert load_embodiment("allegro_hand_left").correspondence == "hand"
    others = [name for name in list_embodiments() if name != "allegro_hand"]
    assert {load_embodiment(name).correspondence for name in others} == {"fingers"}


MISTAKES = {
    "unknown field": ("side: right", "side: right\ncolour: red", "colour", "unknown field; available: action, actuated"),
    "unknown field of a hinge": ("range: [0, 1.0]", "range: [0, 1.0], rnage: 1", "hinges.a.rnage", "unknown field"),
    "missing field": ("side: right\n", "", "side", "missing: expected one of left, right; got only the fields name, kind"),
    "missing field of a hinge": (", range: [0, 0.6]", "", "hinges.b.range", "missing: expected 2 numbers"),
    "wrong type": ("point: [0, 0, 0.15]", "point: 3", "hinges.b.point", "expected 3 numbers, got 3 (a number)"),
    "number as text": ("ratio: 0.75", "ratio: '0.75'", "couplings.b.ratio", "expected a number, got '0.75' (a string)"),
    "boolean as number": ("ratio: 0.75", "ratio: yes", "couplings.b.ratio", "expected a number, got True (a boolean)"),
    "wrong length": ("axis: [0, 2, 0]", "axis: [0, 1]", "hinges.a.axis", "expected 3 numbers, got [0, 1] (a list of 2)"),
    "text in a vector": ("axis: [0, 2, 0]", "axis: [0, y, 0]", "hinges.a.axis[1]", "expected a number, got 'y'"),
    "section of the wrong type": ("  b: {follows: a, ratio: 0.75}", "  b: a", "couplings.b", "expected a mapping, got 'a'"),
    "not a number": ("range: [0, 0.6]", "range: [.nan, 0.6]", "hinges.b.range[0]", "expected a finite number, got nan"),
    "infinity": ("range: [0, 0.6]", "range: [0, .inf]", "hinges.b.range[1]", "expected a finite number, got inf"),
    "unknown kind": ("kind: hand", "kind: foot", "kind", "got 'foot'; available: gripper, hand, human"),
    "unknown side": ("side: right", "side: middle", "side", "got 'middle'; available: left, right"),
    "unknown kind of hinge": ("b: {parent: a,", "b: {kind: ball, parent: a,", "hinges.b.kind", "available: fixed, prismatic, revolute"),
    "unknown parent": ("parent: a,", "parent: c,", "hinges.b.parent", "got 'c'; available: a, b, palm, t"),
    "cycle of parents": ("a: {parent: palm", "a: {parent: b", "hinges.a.parent", "cycle: a -> b -> a; expected parents that end at palm"),
    "hinge named palm": ("  t: {parent: palm,", "  palm: {parent: palm,", "hinges.palm", "is the base"),
    "zero axis": ("axis: [0, 2, 0]", "axis: [0, 0, 0]", "hinges.a.axis", "expected a direction, got a vector of length 0"),
    "limits reversed": ("range: [0, 1.0]", "range: [1.0, 0]", "hinges.a.range", "expected lower < upper, got [1, 0]"),
    "unknown actuated": ("  t: {rest", "  u: {rest", "actuated.u", "is not a hinge; available: a, b, t"),
    "unknown coupled": ("  b: {follows", "  c: {follows", "couplings.c", "is not a hinge; available: a, b, t"),
    "follows the unknown": ("follows: a", "follows: z", "couplings.b.follows", "got 'z'; available: a, b, t"),
    "follows itself": ("follows: a", "follows: b", "couplings.b.follows", "cycle: b -> b"),
    "actuated and coupled": ("  b: {follows: a,", "  t: {follows: a,", "couplings.t", "is actuated"),
    "neither actuated nor coupled": ("  b: {follows: a, ratio: 0.75}", "  {}", "hinges.b", "neither actuated nor coupled"),
    "ratio of zero": ("ratio: 0.75", "ratio: 0", "couplings.b.ratio", "other than 0"),
    "no motion left": ("range: [0, 0.6]", "range: [1.5, 2]", "couplings.b", "leaves no motion to a"),
    "rest outside": ("a: {rest: 0.1", "a: {rest: 0.9", "actuated.a.rest", "expected a number in [0, 0.8], got 0.9"),
    "velocity": ("t: {rest: 0.1, max_velocity: 2}", "t: {rest: 0.1, max_velocity: 0}", "actuated.t.max_velocity", "greater than 0"),
    "unknown finger": ("  index: {hinge", "  toe: {hinge", "fingertips.toe", "unknown finger; available: index, middle"),
    "tip on the unknown": ("hinge: b", "hinge: c", "fingertips.index.hinge", "got 'c'; available: a, b, t"),
    "no thumb": ("  thumb: {hinge", "  ring: {hinge", "fingertips", "expected the thumb and at least one other finger"),
    "palm along fingers": ("palm: [1, 0, 0.2]", "palm: [0, 0, 1]", "hand_frame.palm", "expected a direction that is not parallel to fingers"),
    "radius": ("tip_radius: 0.01", "tip_radius: -0.01", "shape.tip_radius", "greater than 0, got -0.01"),
    "duplicate": ("side: right", "side: right\nside: right", "", "duplicate key 'side', first given in line 4"),
    "duplicate hinge": ("  b: {parent", "  a: {parent", "", "duplicate key 'a', first given in line 10"),
    "not YAML": ("side: right", "side: [right", "", "is not valid YAML"),
    "action of a hand": ("side: right", "side: right\naction: {name: grip, closed: 0, open: 1}", "action", "only a gripper has one"),
    "unknown correspondence": ("side: right", "side: right\ncorrespondence: palm", "correspondence", "available: fingers, hand"),
    "correspondence of a gripper": ("kind: hand", "kind: gripper\ncorrespondence: hand", "correspondence", "only a hand has one, got kind gripper"),
    "axis of a fixed hinge": ("b: {parent: a,", "b: {kind: fixed, parent: a,", "hinges.b.axis", "a fixed hinge has none"),
    "gripper with two joints": ("kind: hand", "kind: gripper", "actuated", "a gripper has one actuated joint, got 2: a, t"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_error_names_file_field_got_and_expected(tiny, tmp_path, mistake):
    old, new, field, message = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        tiny(old, new)
    assert caught.value.path == field
    assert message in str(caught.value)
    assert str(tmp_path / "tiny_hand.yaml") in str(caught.value)


def test_empty_file_and_list_are_errors(tmp_path):
    for text, got in (("", "nothing"), ("[1, 2]", "[1, 2] (a list of 2)")):
        path = tmp_path / "empty.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match="expected a mapping") as caught:
            load_embodiment(path)
        assert got in str(caught.value)


def test_error_of_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no embodiment 'foot'; available: .*faive_hand, human_hand, .*mimic_hand"):
        load_embodiment("foot")


def test_gripper_with_two_actuated_joints_is_an_error(tmp_path):
    content = yaml.safe_load(load_embodiment("panda_gripper").file.read_text())
    content["actuated"]["panda_finger_joint2"] = {"rest": 0.0, "max_velocity": 0.1}
    content["couplings"] = {}
    path = tmp_path / "gripper.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="actuated: a gripper has one actuated joint, got 2") as error:
        load_embodiment(path)
    remedy = yaml.safe_load(str(error.value).split("`")[1])
    assert remedy == {"couplings": {"panda_finger_joint2": {"follows": "panda_finger_joint1", "ratio": 1}}}
    del content["actuated"]["panda_finger_joint2"]
    path.write_text(yaml.safe_dump({**content, **remedy}))
    assert load_embodiment(path).coupling.tolist() == [[1.0], [1.0]]


def test_changed_file_is_reloaded(tiny):
    assert tiny().upper[1] == 1.0
    assert tiny("range: [-0.5, 1.0]", "range: [-0.5, 1.1]").upper[1] == 1.1


def test_offset_of_a_coupling_becomes_part_of_the_zero_pose(tiny):
    """b = 0.75 a + 0.1: the same as a finger that is bent by 0.1 at b when a is at zero."""
    e, plain = tiny("ratio: 0.75", "ratio: 0.75, offset: 0.1"), tiny()
    assert np.allclose(e.coupling, plain.coupling) and e.upper[0] == pytest.approx((0.6 - 0.1) / 0.75)
    tip = HandKinematics(e).fingertips(np.array([[0.3, 0.0]]))[0, 1]
    a, b = 0.3, 0.75 * 0.3 + 0.1
    assert np.allclose(tip, [0.05 * np.sin(a) + 0.05 * np.sin(a + b), 0, 0.1 + 0.05 * np.cos(a) + 0.05 * np.cos(a + b)])


def test_omitted_fields_are_derived(tmp_path):
    left_out = ("hand_frame", "actuated", "  a: {rest", "  t: {rest", "shape", "servo", "name")
    lines = [line for line in TINY.splitlines() if not line.startswith(left_out)]
    path = tmp_path / "short_hand.yaml"
    path.write_text("\n".join(lines))
    e = load_embodiment(path)
    assert e.name == "short_hand" and e.joint_names == ("a", "t") and e.servo.kp > 0
    assert np.allclose(e.T_base_hand[:3, :3], np.eye(3)) and e.T_base_hand[2, 3] < 0.1
    assert (e.lower <= e.rest).all() and (e.rest <= e.upper).all()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Two folders of the user's in the environment variable; writes the tiny hand there under a name."""
    folders = [tmp_path / "mine", tmp_path / "ours"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv(FOLDERS_VARIABLE, os.pathsep.join(map(str, folders)))

    def write(name, folder=0, side="right", content_name=None):
        path = folders[folder] / f"{name}.yaml"
        text = TINY.replace("tiny_hand", content_name or name).replace("side: right", f"side: {side}")
        path.write_text(text)
        return path

    return write


def test_folders_of_the_user_are_searched(own):
    path = own("claw", folder=1)
    assert "claw" in list_embodiments() and "mimic_hand" in list_embodiments()
    e = load_embodiment("claw")
    assert e.file == path and load_embodiment(e.reference).content_hash == e.content_hash


def test_reference_of_a_file_with_another_name_than_its_hand(own):
    """Also its mirror image, and one whose own name ends in a side."""
    path = own("claw", content_name="paw")
    for text in (path, path.with_stem("claw_left"), own("hook", side="left", content_name="paw_left")):
        e = load_embodiment(text)
        again = load_embodiment(e.reference)
        assert again.content_hash == e.content_hash and (e.side == "left") == (text != path)


def test_two_files_of_one_name_are_an_error(own):
    own("claw")
    for name, what in (("mimic_hand", "mimic_hand.yaml"), ("allegro_hand_left", "allegro_hand.yaml and its mirror image")):
        path = own(name, folder=1)
        with pytest.raises(ConfigError, match=f"the name {name} is taken by .*{what}; rename one"):
            list_embodiments()
        path.unlink()
    own("claw", folder=1)
    with pytest.raises(ConfigError, match="the name claw is taken by .*mine/claw.yaml"):
        load_embodiment("claw")


def test_missing_folder_of_the_user_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=f"nowhere: no such folder, but {FOLDERS_VARIABLE} names it"):
        list_embodiments()


def test_name_must_equal_the_file_name_in_a_searched_folder(own):
    own("claw", content_name="paw")
    with pytest.raises(ConfigError, match="name: expected 'claw', the name of the file; got 'paw'"):
        load_embodiment("claw")


def test_left_and_right_by_name(own):
    right, left = load_embodiment("mimic_hand"), load_embodiment("mimic_hand_left")
    assert load_embodiment("mimic_hand_right") is right
    assert (left.name, left.side, left.joint_names) == ("mimic_hand_left", "left", right.joint_names)
    assert left.content_hash != right.content_hash and left.reference == "mimic_hand_left"
    path = own("paw", side="left")  # the other way round
    assert load_embodiment("paw").side == "left" and load_embodiment("paw_left") is load_embodiment("paw")
    image = load_embodiment("paw_right")
    assert (image.name, image.side) == ("paw_right", "right")
    assert load_embodiment(image.reference).content_hash == image.content_hash
    assert load_embodiment(path.with_stem("paw_right")).content_hash == image.content_hash
    human = load_embodiment("human_hand_left")
    assert (human.side, human.action_dim) == ("left", 189)


def test_side_must_match_the_suffix_of_the_name(own):
    words = "side: got 'right', but the name {} ends in _left; expected 'left', or another name"
    own("claw_left")
    for asked in ("claw_left", "claw_right"):
        with pytest.raises(ConfigError, match=words.format("claw_left")):
            load_embodiment(asked)
    with pytest.raises(ConfigError, match=words.format("paw_left")):
        load_embodiment(own("hook", content_name="paw_left"))


def test_mirror_image_of_a_left_hand_equals_the_right_hand(own):
    own("paw_left", side="left")
    own("claw")
    paw, claw = load_embodiment("paw_right"), load_embodiment("claw")
    assert (paw.name, paw.side) == ("paw_right", "right")
    q = np.random.default_rng(0).uniform(claw.lower, claw.upper, (10, 2))
    flip = np.array([1, -1, 1])
    assert np.allclose(HandKinematics(paw).fingertips(q), flip * HandKinematics(claw).fingertips(q))


def test_command_line_reads_folders_and_reports_wrong_files(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from latent_policy_ros.cli import app

    monkeypatch.setenv(FOLDERS_VARIABLE, "")
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "claw.yaml").write_text(TINY.replace("tiny_hand", "claw"))
    run = CliRunner().invoke(app, ["embodiments", "--embodiments-dir", str(tmp_path), "show", "claw_left"])
    assert run.exit_code == 0 and "claw_left (left hand)" in run.output and "coupled: b = 0.75 * a" in run.output
    (tmp_path / "paw.yaml").write_text(TINY.replace("tiny_hand", "paw").replace("ratio: 0.75", "ratio: 0"))
    run = CliRunner().invoke(app, ["embodiments", "--embodiments-dir", str(tmp_path), "list"])
    assert run.exit_code == 2 and "paw.yaml: couplings.b.ratio" in run.output
    assert all(name in run.output for name in ("claw", "allegro_hand", "panda_gripper"))
