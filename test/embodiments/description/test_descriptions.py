"""Hands from URDF and MJCF files: kinematics as in pinocchio and MuJoCo, and derived fields."""

# ruff: noqa: E501 - a joint has one line

import re

import mujoco
import numpy as np
import pytest
from tiny_hands import DEFAULTS, FINGERS, GRIPPER, MJCF, SHORT, SHORT_MJCF, URDF, base_tips, pinocchio_tips, random_q

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import HandKinematics, load_embodiment


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


def test_changed_included_file_is_reloaded(hand, tmp_path):
    before = hand(SHORT_MJCF).hinge("middle_0")
    (tmp_path / "parts" / "fingers.xml").write_text(FINGERS.replace('class="spread"/>', 'class="spread" range="-10 10"/>'))
    after = load_embodiment(tmp_path / "short.yaml").hinge("middle_0")
    assert (before.upper, after.upper) == pytest.approx(np.radians([20, 10]))


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
