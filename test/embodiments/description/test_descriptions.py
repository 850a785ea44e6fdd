"""Hands from URDF and MJCF files: kinematics as in pinocchio and MuJoCo, derived fields, and the errors of wrong files."""

# ruff: noqa: E501 - the table of mistakes has one line for each

import re
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import pytest

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import package_folder
from latent_policy_ros.embodiments import HandKinematics, load_embodiment

ROBOTS = package_folder("example-robot-data") / "robots"

# An arm with a two-fingered hand: fixed joints, no inertia, missing meshes, a mimic with an offset, a prismatic joint, a
# continuous joint, a joint that moves no fingertip.
URDF = """<?xml version="1.0"?>
<robot name="tiny" xmlns:xacro="http://www.ros.org/wiki/xacro">
  <link name="ground"/>
  <link name="forearm"><visual><geometry><mesh filename="package://nowhere/forearm.dae"/></geometry></visual></link>
  <joint name="elbow" type="continuous"><parent link="ground"/><child link="forearm"/><origin xyz="0.3 0.1 0.4" rpy="0.3 -1.1 0.7"/></joint>
  <link name="palm"/>
  <joint name="mount" type="fixed"><parent link="forearm"/><child link="palm"/><origin rpy="0.1 0.2 0.3"/></joint>
  <link name="index_1"/><link name="index_2"/><link name="index_3"/><link name="index_tip"/>
  <joint name="index_spread" type="revolute"><parent link="palm"/><child link="index_1"/><origin xyz="0 0.03 0.1" rpy="0.1 0 0"/>
    <axis xyz="-2 0 0"/><limit lower="-0.3" upper="0.3" velocity="3" effort="2"/></joint>
  <joint name="index_bend" type="revolute"><parent link="index_1"/><child link="index_2"/><origin xyz="0 0 0.01"/>
    <axis xyz="0 1 0"/><limit lower="-0.2" upper="1.6" velocity="4" effort="2"/></joint>
  <joint name="index_curl" type="revolute"><parent link="index_2"/><child link="index_3"/><origin xyz="0 0 0.05" rpy="0 0.1 0"/>
    <axis xyz="0 1 0"/><limit lower="0" upper="2"/><mimic joint="index_bend" multiplier="0.8" offset="0.25"/></joint>
  <joint name="index_end" type="fixed"><parent link="index_3"/><child link="index_tip"/><origin xyz="0.002 0 0.04"/></joint>
  <link name="thumb_1"/><link name="thumb_2"><inertial><origin xyz="0 0 0.02"/><mass value="1"/></inertial></link>
  <joint name="thumb_slide" type="prismatic"><parent link="palm"/><child link="thumb_1"/><origin xyz="0.01 0.05 0.03" rpy="-0.8 0.3 0"/>
    <axis xyz="0 0 1"/><limit lower="0" upper="0.02" velocity="0" effort="0"/></joint>
  <joint name="thumb_bend" type="revolute"><parent link="thumb_1"/><child link="thumb_2"/><origin xyz="0 0 0.04"/>
    <axis xyz="0 1 0.2"/><limit lower="-0.1" upper="1.2"/></joint>
  <link name="cover"/>
  <joint name="lid" type="revolute"><parent link="palm"/><child link="cover"/><limit lower="0" upper="1"/></joint>
</robot>
"""
SHORT = """
kind: hand
side: right
description: tiny.urdf
fingertips: {thumb: {link: thumb_2, point: [0.001, 0, 0.035]}, index: index_tip}
"""

# A similar hand in MJCF: included files, default classes, degrees, another order of Euler angles, unnamed bodies and joints, joints
# with a reference angle, couplings by equalities, missing meshes.
MJCF = """<mujoco model="tiny">
  <compiler angle="degree" eulerseq="zyx" meshdir="nowhere"/>
  <include file="parts/defaults.xml"/>
  <asset><mesh name="m" file="missing.stl"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <body name="arm" pos="0.2 -0.1 0.5" euler="10 20 30"><freejoint/>
      <geom type="mesh" mesh="m"/>
      <body name="palm" euler="90 0 40"><include file="parts/fingers.xml"/></body>
    </body>
  </worldbody>
  <equality><joint joint1="middle_2" joint2="middle_1" polycoef="0.1 0.9 0 0 0"/></equality>
  <sensor><jointpos joint="middle_1"/></sensor>
  <keyframe><key qpos="1 2 3"/></keyframe>
</mujoco>
"""
DEFAULTS = """<mujoco><default>
  <default class="finger"><joint type="hinge" axis="0 1 0" range="-10 95"/><geom type="mesh" mesh="m"/>
    <default class="spread"><joint axis="1 0 0" range="-20 20"/></default></default>
</default></mujoco>
"""
FINGERS = """<mujocoinclude>
  <body name="middle" childclass="finger" pos="0 0.02 0.1" euler="5 0 10">
    <joint name="middle_0" class="spread"/>
    <joint name="middle_1" ref="15" pos="0 0 0.005"/>
    <frame euler="0 12 0"><body pos="0.002 0 0.05"><joint name="middle_2" range="-5 100" ref="-8"/>
      <body pos="0 0 0.03" quat="0.9 0 0.1 0"><site name="middle_tip" pos="0 0.003 0.02"/></body></body></frame>
  </body>
  <body name="thumb" childclass="finger" pos="0.03 0.05 0.02" axisangle="1 0 0.3 -50"><joint range="-40 40" axis="1 2 0"/>
    <geom type="capsule" size="0.01" fromto="0 0 0 0 0 0.04"/><geom type="sphere" size="0.01" pos="0 0 0.03"/></body>
</mujocoinclude>
"""
SHORT_MJCF = """
kind: hand
side: right
description: $HANDS/tiny.xml
fingertips: {thumb: {link: thumb, point: [0, 0, 0.06]}, middle: middle_tip}
hand_frame: {origin: [0, 0, 0], fingers: [0, 0, 1], palm: [1, 0, 0]}
"""


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """Writes the files, with one piece of one of them replaced, and loads the YAML."""
    monkeypatch.setenv("HANDS", str(tmp_path))
    (tmp_path / "parts").mkdir()

    def load(yaml=SHORT, old="", new="", urdf=URDF, mjcf=MJCF, fingers=FINGERS):
        contents = {
            "tiny.urdf": urdf,
            "tiny.xml": mjcf,
            "parts/defaults.xml": DEFAULTS,
            "parts/fingers.xml": fingers,
            "short.yaml": yaml,
        }
        for name, text in contents.items():
            if old and old in text:
                text = text.replace(old, new, 1)
            (tmp_path / name).write_text(text)
        assert not old or any(old in text for text in contents.values()), f"{old!r} is nowhere"
        return load_embodiment(tmp_path / "short.yaml")

    return load


def base_tips(embodiment, q):
    """Fingertips (B, F, 3) in the base frame."""
    in_hand = HandKinematics(embodiment).fingertips(q)
    return in_hand @ embodiment.T_base_hand[:3, :3].T + embodiment.T_base_hand[:3, 3]


def random_q(embodiment, count, seed=0):
    return np.random.default_rng(seed).uniform(embodiment.lower, embodiment.upper, (count, len(embodiment.joint_names)))


def pinocchio_tips(urdf, base, points, angles):
    """Places (B, F, 3) of points on links in the frame of ``base`` by pinocchio; angles (B,) by joint name."""
    model = pinocchio.buildModelFromXML(urdf)
    data, count = model.createData(), len(next(iter(angles.values())))
    places = np.empty((count, len(points), 3))
    for b in range(count):
        q = pinocchio.neutral(model)
        for name, values in angles.items():
            q[model.joints[model.getJointId(name)].idx_q] = values[b]
        pinocchio.framesForwardKinematics(model, data, q)
        T_base = data.oMf[model.getFrameId(base)]
        for f, (link, point) in enumerate(points):
            places[b, f] = T_base.actInv(data.oMf[model.getFrameId(link)].act(np.asarray(point, dtype=float)))
    return places


def test_urdf_moves_as_in_pinocchio(hand):
    e = hand()
    assert e.joint_names == ("index_spread", "index_bend", "thumb_slide", "thumb_bend")  # no elbow, no lid, no follower
    assert e.name == "short" and [h.kind for h in e.hinges].count("prismatic") == 1
    q = random_q(e, 50)
    angles = dict(zip(e.joint_names, q.T, strict=True))
    angles["index_curl"] = 0.8 * angles["index_bend"] + 0.25
    strict = re.sub("<inertial>.*?</inertial>", "", URDF)  # pinocchio requires what is optional here
    strict = re.sub('upper="([^"]*)"/>', r'upper="\1" effort="1" velocity="1"/>', strict)
    expected = pinocchio_tips(strict, "palm", (("thumb_2", (0.001, 0, 0.035)), ("index_tip", (0, 0, 0))), angles)
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(base_tips(e, q), expected, atol=1e-12)


def test_limits_are_narrowed_by_the_range_of_a_mimic_joint(hand):
    e = hand()
    bend = e.joint_names.index("index_bend")
    assert e.lower[bend] == pytest.approx(-0.2)  # 0.8 * -0.2 + 0.25 = 0.09
    narrow = hand(old='<limit lower="0" upper="2"/><mimic', new='<limit lower="0.25" upper="1.05"/><mimic')
    assert (narrow.lower[bend], narrow.upper[bend]) == pytest.approx((0.0, 1.0))


def test_mjcf_moves_as_in_mujoco(hand):
    e = hand(SHORT_MJCF)
    assert e.joint_names == ("middle_0", "middle_1", "thumb_joint") and len(e.hinges) == 4
    whole = MJCF.replace('<include file="parts/defaults.xml"/>', DEFAULTS.replace("<mujoco>", "").replace("</mujoco>", ""))
    whole = whole.replace(
        '<include file="parts/fingers.xml"/>', FINGERS.replace("<mujocoinclude>", "").replace("</mujocoinclude>", "")
    )
    whole = whole.replace('type="mesh" mesh="m"', 'type="sphere" size="0.01"').replace('<mesh name="m" file="missing.stl"/>', "")
    whole = whole.replace('<key qpos="1 2 3"/>', "").replace(
        '<joint range="-40 40" axis="1 2 0"/>', '<joint name="thumb_joint" range="-40 40" axis="1 2 0"/>'
    )
    whole = whole.replace("<compiler ", '<compiler boundmass="1e-3" boundinertia="1e-6" ')
    model = mujoco.MjModel.from_xml_string(whole)
    data, q = mujoco.MjData(model), random_q(e, 50)
    angles = dict(zip(e.joint_names, q.T, strict=True))
    ref = {name: float(model.qpos0[model.joint(name).qposadr[0]]) for name in ("middle_1", "middle_2")}
    angles["middle_2"] = ref["middle_2"] + 0.1 + 0.9 * (angles["middle_1"] - ref["middle_1"])
    expected = np.empty((len(q), 2, 3))
    for b in range(len(q)):
        for name, values in angles.items():
            data.qpos[model.joint(name).qposadr[0]] = values[b]
        mujoco.mj_kinematics(model, data)
        palm, thumb = data.body("palm"), data.body("thumb")
        places = (thumb.xpos + thumb.xmat.reshape(3, 3) @ [0, 0, 0.06], data.site("middle_tip").xpos)
        expected[b] = [palm.xmat.reshape(3, 3).T @ (place - palm.xpos) for place in places]
    assert np.ptp(expected, axis=0).max() > 0.02
    np.testing.assert_allclose(base_tips(e, q), expected, atol=1e-9)
    ends = [(np.radians(end) - 0.1 - ref["middle_2"]) / 0.9 + ref["middle_1"] for end in (-5, 100)]
    assert np.allclose(e.lower[:2], [np.radians(-20), ends[0]]) and np.isclose(e.upper[1], min(ends[1], np.radians(95)))


def test_partial_mjcf_loads_as_inside_the_whole(hand):
    part = '<mujoco><body name="palm"><body name="a" pos="0 0 0.1" euler="0 0.5 0"><joint name="a" axis="0 1 0" range="0 1.2"/><inertial pos="0 0 0.02" mass="1"/>'
    part += '</body><body name="t" pos="0.02 0.04 0.05"><joint name="t" axis="0 1 0" range="-0.5 1"/></body></body></mujoco>'
    e = hand(SHORT_MJCF.replace("middle: middle_tip", "index: a").replace("link: thumb", "link: t"), mjcf=part)
    assert e.upper[0] == 1.2 and any("radians" in note for note in e.notes)
    assert np.allclose(e.fingertips["index"].point, [0.04 * np.sin(0.5), 0, 0.1 + 0.04 * np.cos(0.5)])  # twice the centre of mass
    degrees = hand(
        SHORT_MJCF.replace("middle: middle_tip", "index: a").replace("link: thumb", "link: t"), mjcf=part, old="0 1.2", new="0 60"
    )
    assert degrees.upper[0] == pytest.approx(np.radians(60)) and not any("radians" in note for note in degrees.notes)


def test_mujocoinclude_file_is_read(hand):
    """Its bodies stand at the top, or under a <worldbody>."""
    top = '<mujocoinclude><compiler angle="degree" eulerseq="zyx"/><include file="parts/defaults.xml"/><body name="palm">'
    inside = FINGERS.replace("<mujocoinclude>", top)
    e = hand(SHORT_MJCF, mjcf=inside.replace("</mujocoinclude>", "</body></mujocoinclude>"), fingers="<mujocoinclude/>")
    assert e.joint_names == ("middle_0", "middle_1", "middle_2", "thumb_joint")
    assert e.hinge("middle_1").lower == pytest.approx(np.radians(-10))


def test_omitted_fields_are_derived(hand):
    e = hand()
    T = e.T_base_hand
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3)) and np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    assert T[2, 2] > 0.95 and T[0, 0] > 0.95  # fingers along z, bending to x
    assert (e.lower < e.rest).all() and (e.rest < e.upper).all()
    velocity = dict(zip(e.joint_names, e.max_velocity, strict=True))
    assert velocity == {"index_spread": 3.0, "index_bend": 4.0, "thumb_slide": 0.1, "thumb_bend": 6.0}
    assert 0.004 < e.shape.tip_radius < 0.02 and e.servo.max_effort == 2.0
    assert any("left out" in note and "lid" in note for note in e.notes)


def test_fingertip_is_found_from_links_and_centre_of_mass(hand):
    centre = hand(SHORT.replace("{link: thumb_2, point: [0.001, 0, 0.035]}", "thumb_2"))
    exact = hand(SHORT.replace("point: [0.001, 0, 0.035]", "point: [0, 0, 0.04]"))
    np.testing.assert_allclose(centre.fingertips["thumb"].point, exact.fingertips["thumb"].point)
    assert any("centre of mass of thumb_2" in note for note in centre.notes)
    on_axis = hand(SHORT.replace("index_tip", "index_3"))
    np.testing.assert_allclose(on_axis.fingertips["index"].point, hand().fingertips["index"].point)


def test_site_marks_the_fingertip_of_its_link(hand):
    """A site of the link's own name, or any site of a link whose end is unknown."""
    plain = hand(SHORT_MJCF)
    named = FINGERS.replace('quat="0.9 0 0.1 0">', 'quat="0.9 0 0.1 0" name="middle_tip">')
    same = hand(SHORT_MJCF, fingers=named)
    np.testing.assert_allclose(same.fingertips["middle"].point, plain.fingertips["middle"].point)
    inside = named.replace('name="middle_tip" pos="0 0.003 0.02"', 'name="middle_tip"')
    origin = hand(SHORT_MJCF, fingers=inside)  # the site adds nothing to the link
    assert np.linalg.norm(origin.fingertips["middle"].point - plain.fingertips["middle"].point) == pytest.approx(0.0202, abs=1e-3)
    bare = '<joint range="-40 40" axis="1 2 0"/><site name="nail" pos="0 0 0.06"/><site name="root" pos="0 0 0.01"/>\n</body>'
    thumb = FINGERS[: FINGERS.index("<joint range")] + bare + "</mujocoinclude>"
    end = hand(SHORT_MJCF.replace("{link: thumb, point: [0, 0, 0.06]}", "thumb"), fingers=thumb)
    np.testing.assert_allclose(end.fingertips["thumb"].point, plain.fingertips["thumb"].point)
    assert any("tip of the thumb: the site nail" in note for note in end.notes)


def test_slides_of_a_default_class_do_not_decide_the_unit_of_angles(tmp_path):
    """Their ranges are in metres; the file's angles stay in degrees."""
    jaw = '<body name="{n}" pos="0 {y} 0.1" euler="90 0 0"><joint name="{n}" class="jaw" axis="0 0 {s}"/><site name="{n}" pos="0 0.03 0"/></body>'
    default = '<default><default class="jaw"><joint type="slide" range="0 0.04"/></default></default>'
    bodies = jaw.format(n="l", y=0.01, s=-1) + jaw.format(n="r", y=-0.01, s=1)
    equality = '<equality><joint joint1="r" joint2="l"/></equality>'
    explicit = default.replace(' range="0 0.04"', ""), bodies.replace('class="jaw"', 'class="jaw" range="0 0.04"')
    for defaults, world in ((default, bodies), explicit):
        model = f'<mujoco>{defaults}<worldbody><body name="base">{world}</body></worldbody>{equality}</mujoco>'
        (tmp_path / "jaws.xml").write_text(model)
        (tmp_path / "jaws.yaml").write_text("kind: gripper\nside: right\ndescription: jaws.xml\nfingertips: {thumb: r, index: l}\n")
        e = load_embodiment(tmp_path / "jaws.yaml")
        assert not e.notes
        tips = base_tips(e, e.to_joints(np.array([[0.0], [1.0]])))
        np.testing.assert_allclose(np.diff(tips, axis=1)[:, 0], [[0, 0.02, 0], [0, 0.1, 0]], atol=1e-9)


def test_actuating_the_follower_inverts_the_coupling(hand):
    e, plain = hand(SHORT + "actuated: [index_spread, index_curl, thumb_slide, thumb_bend]\n"), hand()
    q = random_q(e, 20)
    bend = q.copy()
    bend[:, 1] = (q[:, 1] - 0.25) / 0.8
    np.testing.assert_allclose(base_tips(e, q), base_tips(plain, bend), atol=1e-12)


def test_fixed_joints_couplings_and_ranges_of_the_yaml_are_used(hand):
    plain = hand()
    e = hand(
        SHORT
        + "fixed: {index_spread: 0.2}\ncouplings: {thumb_slide: {follows: thumb_bend, ratio: 0.01}}\nranges: {index_bend: [0, 1]}\n"
    )
    assert e.joint_names == ("index_bend", "thumb_bend") and e.upper[0] == 1.0
    q = random_q(e, 20)
    full = np.column_stack((np.full(20, 0.2), q[:, 0], 0.01 * q[:, 1], q[:, 1]))
    np.testing.assert_allclose(base_tips(e, q), base_tips(plain, full), atol=1e-12)


def test_base_above_other_joints_includes_them(hand):
    e = hand(SHORT + "base: ground\nactuated: [elbow, index_spread, index_bend, thumb_slide, thumb_bend]\n")
    assert e.joint_names[0] == "elbow" and e.upper[0] == pytest.approx(np.pi)
    assert all(h.parent == "elbow" for h in e.hinges if h.name in ("index_spread", "thumb_slide"))


GRIPPER = (
    SHORT.replace("kind: hand", "kind: gripper")
    .replace("point: [0.001, 0, 0.035]", "point: [0.04, 0.03, 0.2]")
    .replace("thumb_2", "palm")
)


def test_gripper_with_a_fixed_jaw(hand):
    e = hand(GRIPPER + "fixed: [index_spread]\n")
    assert e.kind == "gripper" and e.joint_names == ("index_bend",) and e.action_names == ("opening",)
    tips = base_tips(e, e.to_joints(np.array([[0.0], [1.0]])))
    assert np.allclose(tips[:, 0], [0.04, 0.03, 0.2])
    gap = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=1)
    assert gap[0] < gap[1] and (e.rest == e.action_open).all()


def test_crossing_jaws_are_closed_where_they_meet(tmp_path):
    slide = '<link name="{n}"/><joint name="{n}" type="prismatic"><parent link="base"/><child link="{n}"/><origin xyz="0 {y} 0.1"/>'
    slide += '<axis xyz="0 {s} 0"/><limit lower="-0.03" upper="0.04"/>{m}</joint>'
    jaws = slide.format(n="a", y=0.01, s=1, m="") + slide.format(n="b", y=-0.01, s=-1, m='<mimic joint="a"/>')
    (tmp_path / "jaws.urdf").write_text(f'<robot name="jaws"><link name="base"/>{jaws}</robot>')
    tips = "{thumb: {link: b, point: [0, 0, 0.02]}, index: {link: a, point: [0, 0, 0.02]}}"
    (tmp_path / "jaws.yaml").write_text(f"kind: gripper\nside: right\ndescription: jaws.urdf\nfingertips: {tips}\n")
    e = load_embodiment(tmp_path / "jaws.yaml")
    assert e.action_closed == pytest.approx(-0.01, abs=1e-4) and e.action_open == 0.04


def test_changed_description_is_reloaded(hand):
    assert hand().upper[0] == 0.3
    assert hand(old='upper="0.3"', new='upper="0.35"').upper[0] == 0.35


MISTAKES = {
    "no such file": (SHORT, "tiny.urdf\n", "teeny.urdf\n", "description", "no such file"),
    "a web address": (SHORT, "description: tiny.urdf", "description: http://x/tiny.urdf", "description", "expected a path or package://NAME/PATH, got 'http://x/tiny.urdf'"),
    "no package": (SHORT, "description: tiny.urdf", "description: package://nobodys/tiny.urdf", "description", "no package 'nobodys'"),
    "an unset variable": (SHORT, "description: tiny.urdf", "description: $NOWHERE_AT_ALL/tiny.urdf", "description", "this variable is not set"),
    "not XML": (SHORT, "</robot>", "</robt>", "", "is not valid XML"),
    "another language": (SHORT, 'robot name="tiny" xmlns', 'sdf name="tiny" xmlns', "", "is not valid XML"),
    "xacro": (SHORT, '<link name="ground"/>', '<link name="ground"/><xacro:arm/>', "", "contains <xacro:arm>: run xacro first"),
    "unknown link": (SHORT, "index: index_tip", "index: index_top", "fingertips.index", "got 'index_top'; available: cover, forearm"),
    "unknown finger": (SHORT, "index: index_tip", "toe: index_tip", "fingertips.toe", "unknown finger; available: index"),
    "unknown base": (SHORT, "side: right", "side: right\nbase: hand", "base", "got 'hand'; available: cover"),
    "tip not beyond the base": (SHORT, "side: right", "side: right\nbase: index_1", "fingertips.thumb", "thumb_2 is not beyond the base index_1; its parents: thumb_2 -> thumb_1 -> palm"),
    "unknown actuated": (SHORT, "side: right", "side: right\nactuated: [index_band]", "actuated.index_band", "no moving joint of tiny.urdf; available: elbow, index_bend"),
    "actuated too little": (SHORT, "side: right", "side: right\nactuated: [index_bend, thumb_bend]", "actuated", "index_spread moves a fingertip too: list it, couple it, or write fixed: [index_spread, thumb_slide]"),
    "unknown fixed": (SHORT, "side: right", "side: right\nfixed: [elbw]", "fixed.elbw", "available: elbow"),
    "unknown range": (SHORT, "side: right", "side: right\nranges: {elbw: [0, 1]}", "ranges.elbw", "available: elbow"),
    "range reversed": (SHORT, "side: right", "side: right\nranges: {index_bend: [1, 0]}", "ranges.index_bend", "expected lower < upper, got [1, 0]"),
    "unknown coupled": (SHORT, "side: right", "side: right\ncouplings: {x: {follows: index_bend, ratio: 1}}", "couplings.x", "is not a moving joint; available"),
    "joint without limits": (SHORT, '<limit lower="-0.1" upper="1.2"/>', "", "ranges", "joint thumb_bend has no limits, or a lower limit above the upper one, in tiny.urdf; write ranges: {thumb_bend: [lower, upper]}"),
    "limits exchanged": (SHORT, '<limit lower="-0.1" upper="1.2"/>', '<limit lower="1.2" upper="-0.1"/>', "ranges", "joint thumb_bend has no limits, or a lower limit above the upper one, in tiny.urdf"),
    "one tip for two fingers": (SHORT, "index: index_tip", "index: index_tip, middle: index_tip", "fingertips.middle", "got 'index_tip', which is the tip of the index too; expected a place of its own"),
    "only a thumb": (SHORT, ", index: index_tip", "", "fingertips", "expected the thumb and at least one other finger, got thumb; available: cover, forearm"),
    "tips that are fixed to each other": (SHORT, "thumb: {link: thumb_2, point: [0.001, 0, 0.035]}, index: index_tip", "thumb: index_3, index: index_tip", "fingertips", "the fingertips do not move relative to the base index_3: all joints between them are fixed in tiny.urdf"),
    "a class of another file": (SHORT_MJCF, 'class="spread"/>', 'class="bend"/>', "", "has no <default class> of the name bend: this file is included by another one that defines them; give that one"),
    "a class of a geom in another file": (SHORT_MJCF, '<geom type="capsule"', '<geom class="skin" type="capsule"', "", "has no <default class> of the name skin"),
    "a xacro expression as a name": (SHORT, '<child link="thumb_2"/>', '<child link="${side}thumb_2"/>', "joint thumb_bend", "<child link='${side}thumb_2'>: no such link; the name is a xacro expression: run xacro first"),
    "mimic of nothing": (SHORT, 'mimic joint="index_bend"', 'mimic joint="bend_index"', "couplings.index_curl", "it follows 'bend_index', which is no joint; write index_curl: {follows"),
    "unknown type": (SHORT, '"thumb_bend" type="revolute"', '"thumb_bend" type="ball"', "joint thumb_bend", "got the type 'ball'; available: continuous, fixed"),
    "joint to nowhere": (SHORT, '<child link="thumb_2"/>', '<child link="thumb_3"/>', "joint thumb_bend", "<child link='thumb_3'>: no such link; available: cover"),
    "not a number": (SHORT, 'xyz="0 0 0.04"/>\n    <axis', 'xyz="0 0 x"/>\n    <axis', "joint thumb_bend", "expected 3 numbers"),
    "planar": (SHORT, '"thumb_bend" type="revolute"', '"thumb_bend" type="planar"', "base", "joint thumb_bend is of the kind planar"),
    "wrong side": (SHORT, "side: right", "side: left", "hand_frame", "the tip of the thumb is on the side of a right hand; write side: right"),
    "unknown field": (SHORT, "side: right", "side: right\ncolour: red", "colour", "unknown field; available: action, actuated, base"),
    "jaw without a place": (GRIPPER + "fixed: [index_spread]\n", "{link: palm, point: [0.04, 0.03, 0.2]}", "palm", "fingertips.thumb", "the origin of palm does not move; give the fingertip: {link: palm"),
    "gripper with many joints": (SHORT, "kind: hand", "kind: gripper", "actuated", "a gripper has one actuated joint, got 4: index_spread"),
    "no mechanism": (SHORT_MJCF, "<worldbody>", "<world>", "", "is not valid XML"),
    "include of nothing": (SHORT_MJCF, "parts/fingers.xml", "parts/toes.xml", "", "<include file='parts/toes.xml'>: no such file"),
    "a free body in the hand": (SHORT_MJCF, "side: right", "side: right\nbase: world", "base", "joint arm_joint is of the kind free; expected only revolute and prismatic joints beyond the base: write base: arm"),
    "error of MuJoCo": (SHORT_MJCF, 'axisangle="1 0 0.3 -50"', 'axisangle="1 0"', "", "MuJoCo cannot read it"),
    "mjcf without limits": (SHORT_MJCF, 'joint range="-40 40"', "joint limited=\"false\"", "ranges", "write ranges: {thumb_joint: [lower, upper]}"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_error_names_file_field_and_remedy(hand, tmp_path, mistake):
    yaml, old, new, field, message = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        hand(yaml, old, new)
    assert message in str(caught.value), str(caught.value)
    assert caught.value.path == field
    assert str(tmp_path) in caught.value.file


ALLEGRO = """
kind: hand
side: {side}
description: {folder}/allegro_{side}_hand.urdf
fingertips: {{thumb: link_15.0_tip, index: link_{index}.0_tip, middle: link_7.0_tip, ring: link_{ring}.0_tip}}
"""


@pytest.fixture(params=["right", "left"])
def allegro(request, tmp_path):
    """(side, embodiment, text of the URDF) of a published Allegro hand by four lines of YAML."""
    folder, side = ROBOTS / "allegro_hand_description" / "urdf", request.param
    path = tmp_path / f"published_{side}.yaml"
    path.write_text(ALLEGRO.format(side=side, folder=folder, index=3, ring=11))
    return side, load_embodiment(path), (folder / f"allegro_{side}_hand.urdf").read_text()


def test_published_allegro_hands_move_as_in_pinocchio(allegro):
    _, e, urdf = allegro
    q = random_q(e, 50)
    links = [(name, (0, 0, 0)) for name in ("link_15.0_tip", "link_3.0_tip", "link_7.0_tip", "link_11.0_tip")]
    expected = pinocchio_tips(urdf, "palm_link", links, dict(zip(e.joint_names, q.T, strict=True)))
    np.testing.assert_allclose(base_tips(e, q), expected, atol=1e-12)
    assert np.ptp(expected, axis=0).min() > 0.01


def test_shipped_allegro_hand_and_its_mirror_image_equal_the_published_ones(allegro):
    side, published, _ = allegro
    shipped = load_embodiment(f"allegro_hand_{side}")
    q = random_q(shipped, 50)
    # The knuckles of the published left hand have the axes of the right one, so that mirrored angles have the opposite sign.
    spreads = [shipped.joint_names.index(f"joint_{i}.0") for i in (0, 4, 8)] if side == "left" else []
    theirs = q.copy()
    theirs[:, spreads] *= -1.0
    theirs = theirs[:, [shipped.joint_names.index(name) for name in published.joint_names]]
    np.testing.assert_allclose(base_tips(shipped, q), base_tips(published, theirs), atol=2e-6)
    np.testing.assert_allclose(published.T_base_hand[:3, :3], shipped.T_base_hand[:3, :3], atol=1e-6)
    assert np.linalg.norm(published.T_base_hand[:3, 3] - shipped.T_base_hand[:3, 3]) < 0.002


def bent_finger(name, y):
    """A finger of three hinges that is bent by 1.2 rad at each of them at the zero pose; the last two follow the first."""
    joint = '<joint name="{n}_{i}" axis="0 -1 0" range="0 1.2"/>'
    inner = f'<site name="{name}_tip" pos="0 0 0.025"/>'
    for i, length in ((3, 0.03), (2, 0.045), (1, 0.0)):
        place = f"0 0 {length}" if i > 1 else f"0 {y} 0.09"
        inner = f'<body pos="{place}" euler="0 1.2 0">{joint.format(n=name, i=i)}{inner}</body>'
    return inner, "".join(f'<joint joint1="{name}_{i}" joint2="{name}_1" />' for i in (2, 3))


def test_finger_of_one_motor_that_is_bent_at_the_zero_pose_gives_the_hand_frame(tmp_path):
    """Fingers are straight at the other end of their range, although the motor's first hinge is at the knuckle."""
    fingers, equalities = zip(*(bent_finger(name, y) for name, y in (("index", 0.03), ("middle", 0.01), ("ring", -0.01))))
    thumb = '<body pos="0.01 0.05 0.03" euler="-0.8 0 0"><joint name="t" axis="0 1 0" range="0 1"/><site name="t" pos="0 0 0.06"/></body>'
    model = f'<compiler angle="radian"/><worldbody><body name="palm">{"".join(fingers)}{thumb}</body></worldbody>'
    (tmp_path / "bent.xml").write_text(f"<mujoco>{model}<equality>{''.join(equalities)}</equality></mujoco>")
    tips = "{thumb: t, index: index_tip, middle: middle_tip, ring: ring_tip}"
    (tmp_path / "bent.yaml").write_text(f"kind: hand\nside: right\ndescription: bent.xml\nfingertips: {tips}\n")
    e = load_embodiment(tmp_path / "bent.yaml")
    assert len(e.joint_names) == 4
    np.testing.assert_allclose(e.T_base_hand[:3, [2, 0]].T, [[0, 0, 1], [1, 0, 0]], atol=0.15)


@pytest.mark.parametrize("fingers", ["index: link_3.0_tip", "index: link_3.0_tip, middle: link_7.0_tip"])
def test_side_follows_from_the_tip_of_the_thumb(tmp_path, fingers):
    """The thumb of the Allegro hand starts on the other side of its first two fingers."""
    folder = ROBOTS / "allegro_hand_description" / "urdf"
    path = tmp_path / "two_fingers.yaml"
    content = (
        "kind: hand\nside: {side}\ndescription: {folder}/allegro_right_hand.urdf\nfingertips: {{thumb: link_15.0_tip, {fingers}}}\n"
    )
    path.write_text(content.format(side="right", folder=folder, fingers=fingers))
    assert load_embodiment(path).side == "right"
    path.write_text(content.format(side="left", folder=folder, fingers=fingers))
    with pytest.raises(ConfigError, match="the tip of the thumb is on the side of a right hand; write side: right"):
        load_embodiment(path)


def test_index_is_on_the_side_of_a_thumb_in_the_middle(tmp_path):
    """The thumb of the G1's hand stands opposite both fingers."""
    urdf = ROBOTS / "g1_description" / "urdf" / "g1_29dof_with_hand_rev_1_0.urdf"
    tips = ", ".join(f"{finger}: left_hand_{finger}_{last}_link" for finger, last in (("thumb", 2), ("index", 1), ("middle", 1)))
    path = tmp_path / "g1.yaml"
    path.write_text(f"kind: hand\nside: right\ndescription: {urdf}\nfingertips: {{{tips}}}\n")
    with pytest.raises(ConfigError, match="is on the side of a left hand; write side: left"):
        load_embodiment(path)


def test_published_so101_arm_gives_the_shipped_gripper(tmp_path):
    path = tmp_path / "so101.yaml"
    urdf = ROBOTS / "so_arm_description" / "urdf" / "so101.urdf"
    tips = "{thumb: gripper_frame_link, index: {link: moving_jaw_so101_v1_link, point: [-0.0123, -0.0747, 0.0188]}}"
    path.write_text(f"kind: gripper\nside: right\ndescription: {urdf}\nfingertips: {tips}\n")
    published, shipped = load_embodiment(path), load_embodiment("so101_gripper")
    q = random_q(shipped, 20)
    np.testing.assert_allclose(base_tips(published, q), base_tips(shipped, q), atol=2e-6)
    assert published.action_closed < published.action_open
    np.testing.assert_allclose(published.T_base_hand, shipped.T_base_hand, atol=1e-4)


def test_example_of_the_documentation_loads(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "HANDS.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "g1_hand.yaml"
    path.write_text(example)
    e, shipped = load_embodiment(path), load_embodiment("dex3_hand_left")
    assert len(example.splitlines()) <= 40 and e.side == "left" and len(e.joint_names) == len(shipped.joint_names) == 7
    assert load_embodiment(tmp_path / "g1_hand_right.yaml").side == "right"
    apart = [np.diff(HandKinematics(hand).fingertips(np.zeros((1, 7)))[0, 1:], axis=0) for hand in (e, shipped)]
    np.testing.assert_allclose(*apart, atol=0.003)  # middle beside index, in the hand frame


def test_changed_included_file_is_reloaded(hand, tmp_path):
    before = hand(SHORT_MJCF).hinge("middle_0")
    (tmp_path / "parts" / "fingers.xml").write_text(FINGERS.replace('class="spread"/>', 'class="spread" range="-10 10"/>'))
    after = load_embodiment(tmp_path / "short.yaml").hinge("middle_0")
    assert (before.upper, after.upper) == pytest.approx(np.radians([20, 10]))


SLIDES = """<mujoco><worldbody><body name="base">
  <body pos="0 0 0.1"><joint name="left" type="slide" axis="0 1 0" range="0 0.04"/><site name="left_tip" pos="0 0 0.05"/></body>
  <body pos="0 0 0.1" euler="0 0 180"><joint name="right" type="slide" axis="0 1 0" range="0 0.04"/><site name="right_tip" pos="0 0 0.05"/>
  </body></body></worldbody>
  <tendon><fixed name="cable"><joint joint="left" coef="1"/></fixed></tendon>
  <equality><joint joint1="right" joint2="left" polycoef="0 1 0 0 0"/></equality></mujoco>"""


def slides(folder, text=SLIDES):
    (folder / "jaws.xml").write_text(text)
    (folder / "jaws.yaml").write_text(
        "kind: gripper\nside: right\ndescription: jaws.xml\nfingertips: {thumb: left_tip, index: right_tip}\n"
    )
    return load_embodiment(folder / "jaws.yaml")


def test_unit_of_angles_defaults_to_degrees_without_hinges(tmp_path):
    e = slides(tmp_path)
    tips = HandKinematics(e).fingertips(e.upper[None])[0]
    assert np.linalg.norm(tips[0] - tips[1]) == pytest.approx(0.08, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('coef="1"', 'coef="x"', "jaws.xml: cable: <joint coef='x'>: expected 1 numbers"),
        ('<body pos="0 0 0.1">', '<body name="jaw"><geom pos="0 a 0"/>', "jaws.xml: jaw: <geom pos='0 a 0'>: expected 3 numbers"),
        (
            '<body name="base">',
            '<body name="base"><joint name="turn" range="0 x"/>',
            "jaws.xml: turn: <joint range='0 x'>: expected 2 numbers",
        ),
    ],
)
def test_malformed_number_is_named(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        slides(tmp_path, SLIDES.replace(old, new, 1))
