"""Couplings, actuators and loops of MJCF files: what moves, what follows, what is held, and what is refused."""

# ruff: noqa: E501 - a line for each body and for each case

import mujoco
import numpy as np
import pytest

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import HandKinematics, load_embodiment

# A thumb of one joint and a finger of four. {more} has tendons, equalities and actuators.
FINGER = """<mujoco><compiler angle="radian"/>
  <default><joint type="hinge" axis="0 1 0" range="0 1.5"/>
    <default class="held"><tendon limited="true" range="-0.001 0.001"/></default></default>
  <worldbody><body name="palm">
    <body name="thumb" pos="0.03 0.05 0.02"><joint name="t" axis="0.3 1 0.4" range="-0.6 0.8"/><site name="thumb_tip" pos="0 0 0.06"/></body>
    <body name="index_1" pos="0 0.02 0.1"><joint name="a"{a}/><site name="low"/>
      <body name="index_2" pos="0 0 0.04"><joint name="b"{b}/>
        <body name="index_3" pos="0 0 0.03"><joint name="c"/>
          <body name="index_4" pos="0 0 0.02"><joint name="d"/><site name="index_tip" pos="0 0 0.02"/><site name="high"/></body>
    </body></body></body>
    <body name="crank" pos="0 0.02 0.08"><joint name="motor"/><body name="rod" pos="0.01 0 0"><joint name="rod"/></body></body>
  </body></worldbody>
  {more}
</mujoco>"""
YAML = """kind: hand
side: right
description: finger.xml
fingertips: {thumb: thumb_tip, index: index_tip}
hand_frame: {origin: [0, 0, 0], fingers: [0, 0, 1], palm: [1, 0, 0]}
"""


@pytest.fixture
def finger(tmp_path):
    """Loads the hand with more elements in its MJCF, and more lines in its YAML."""

    def load(more="", yaml="", a="", b=""):
        (tmp_path / "finger.xml").write_text(FINGER.format(more=more, a=a, b=b))
        (tmp_path / "finger.yaml").write_text(YAML + yaml)
        return load_embodiment(tmp_path / "finger.yaml")

    return load


def motors(*targets):
    return (
        "<actuator>" + "".join(f'<position {target.split("=")[0]}="{target.split("=")[1]}"/>' for target in targets) + "</actuator>"
    )


def fixed(name, attributes="", **coefficients):
    parts = "".join(f'<joint joint="{joint}" coef="{coef}"/>' for joint, coef in coefficients.items())
    return f'<fixed name="{name}" {attributes}>{parts}</fixed>'


def ratios(e):
    """Position of every hinge in terms of the actuated joint that moves it."""
    return {h.name: {n: round(float(r), 6) for n, r in zip(e.joint_names, row) if r} for h, row in zip(e.hinges, e.coupling)}


def test_without_actuators_all_joints_are_actuated(finger):
    assert finger().joint_names == ("t", "a", "b", "c", "d")


def test_joints_that_no_actuator_drives_are_held_at_zero(finger):
    e = finger(motors("joint=t", "joint=a", "jointinparent=b", "joint=motor"))
    assert e.joint_names == ("t", "a", "b") and len(e.hinges) == 3
    (note,) = [note for note in e.notes if "no actuator" in note]
    assert "c at 0, d at 0" in note
    assert finger(motors("joint=motor")).joint_names == ("t", "a", "b", "c", "d")  # of another part of the robot
    assert finger(motors("joint=t", "joint=a"), "actuated: [t, a, b]\nfixed: [c, d]\n").joint_names == ("t", "a", "b")
    assert "a" not in finger('<actuator><damper joint="a"/><motor joint="t"/><motor joint="b"/></actuator>').joint_names


def test_rolling_joints_held_by_the_limits_of_tendons_move_as_one(finger):
    """The second of each pair has the actuator, as in the MJCF of the Faive hand."""
    tendons = fixed("ab", 'class="held"', a=1, b=-1) + fixed("bc", 'class="held"', b=0.71, c=-1)
    tendons += fixed("cd", 'limited="true" range="-0.002 0.002"', c=1, d=-1)
    e = finger(f"<tendon>{tendons}</tendon>" + motors("joint=t", "joint=b"))
    assert e.joint_names == ("t", "b")
    assert ratios(e) == {"t": {"t": 1}, "a": {"b": 1}, "b": {"b": 1}, "c": {"b": 0.71}, "d": {"b": 0.71}}
    loose = fixed("ab", 'limited="true" range="-1 1"', a=1, b=-1)
    wide = finger(f"<tendon>{loose}</tendon>" + motors("joint=t", "joint=a", "joint=b"))
    assert wide.joint_names == ("t", "a", "b")


def test_actuated_tendon_moves_its_joints_together(finger):
    """Two joints of one tendon are one action, as in Shadow's hand."""
    pulled = motors("joint=t", "joint=a", "joint=b", "tendon=cd")
    e = finger(f"<tendon>{fixed('cd', c=1, d=0.5)}</tendon>" + pulled)
    assert e.joint_names == ("t", "a", "b", "c") and ratios(e)["d"] == {"c": 0.5}
    soft = finger(
        f"<tendon>{fixed('ab', a=1, b=1)}</tendon>" + motors("joint=t", "tendon=ab"), a=' stiffness="2"', b=' stiffness="1"'
    )
    assert soft.joint_names == ("t", "a") and ratios(soft)["b"] == {"a": 2}
    flexor_and_extensor = fixed("flexor", c=0.01, d=0.02) + fixed("extensor", c=-0.01, d=-0.02)
    both = finger(
        f"<tendon>{flexor_and_extensor}</tendon>" + motors("joint=t", "joint=a", "joint=b", "tendon=flexor", "tendon=extensor")
    )
    assert both.joint_names == ("t", "a", "b", "c") and ratios(both)["d"] == {"c": 2}


def test_two_tendons_over_two_joints_move_both(finger):
    tendons = fixed("sum", c=1, d=1) + fixed("difference", c=1, d=-1)
    e = finger(f"<tendon>{tendons}</tendon>" + motors("joint=t", "joint=a", "joint=b", "tendon=sum", "tendon=difference"))
    assert e.joint_names == ("t", "a", "b", "c", "d")


def test_equality_between_driven_joints_leaves_one(finger):
    """A gripper whose two fingers hang on one tendon and on each other (Robotiq)."""
    more = f'<tendon>{fixed("split", a=0.5, b=0.5)}</tendon><equality><joint joint1="a" joint2="b"/></equality>'
    e = finger(more + motors("joint=t", "tendon=split", "joint=c", "joint=d"))
    assert len(e.joint_names) == 4 and ratios(e)["a"] == ratios(e)["b"]


def test_tendon_that_an_equality_holds_couples_its_joints(finger):
    """The length is measured from the model's own pose, as MuJoCo does it."""
    more = f'<tendon>{fixed("cd", c=0.5, d=-1)}</tendon><equality><tendon tendon1="cd" polycoef="-0.1 1 0 0 0"/></equality>'
    e = finger(more)
    assert e.joint_names == ("t", "a", "b", "c")
    model = mujoco.MjModel.from_xml_string(
        FINGER.format(more="", a="", b="").replace("<compiler ", '<compiler boundmass="1" boundinertia="1" ')
    )
    data, q = mujoco.MjData(model), np.array([0.1, 0.2, 0.3, 0.6])
    for name, value in zip(("t", "a", "b", "c", "d"), (*q, 0.5 * 0.6 + 0.1)):
        data.qpos[model.joint(name).qposadr[0]] = value
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(HandKinematics(e).fingertips(q[None])[0, 1], data.site("index_tip").xpos, atol=1e-9)
    far = finger(more.replace("-0.1 1", "90 1"))
    assert far.joint_names == ("t", "a", "b", "c", "d") and any("tendon1=cd> is not used" in note for note in far.notes)
    assert finger(more.replace("<tendon tendon1", '<tendon active="false" tendon1')).joint_names == ("t", "a", "b", "c", "d")


SPATIAL = '<tendon><spatial name="wire"><site site="low"/><site site="high"/></spatial></tendon>'
ROD = '<equality><connect body1="rod" body2="index_2" anchor="0 0 0"/></equality>'
REFUSED = {
    "a closed loop without actuators": (ROD, "", "<connect body1=rod body2=index_2> closes a loop with a, b"),
    "a closed loop whose crank is driven": (ROD + motors("joint=t", "joint=motor", "joint=c", "joint=d"), "", "closes a loop with a, b"),
    "three joints on one tendon of constant length": (
        f'<tendon>{fixed("sum", a=1, b=1, c=1)}</tendon><equality><tendon tendon1="sum"/></equality>', "", "<tendon tendon1=sum> moves a, b, c"),
    "a wire over three joints": (SPATIAL + motors("joint=t", "joint=a", "tendon=wire"), "", "on tendons over 3 joints moves b, c, d"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_coupling_expresses_is_refused_with_the_remedy(finger, case):
    more, yaml, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        finger(more, yaml)
    assert caught.value.path == "couplings" and message in str(caught.value), str(caught.value)
    assert "write couplings: {" in str(caught.value) and "or actuated with all joints" in str(caught.value)
    follows = "couplings: {b: {follows: a, ratio: 1}, c: {follows: a, ratio: 1}, d: {follows: a, ratio: 1}}\n"
    assert finger(more, follows + "actuated: [t, a]\n").joint_names == ("t", "a")


def test_all_constraints_that_no_coupling_expresses_are_listed(finger):
    tendon = f"<tendon>{fixed('sum', b=1, c=1, d=1)}</tendon>"
    equalities = '<connect body1="thumb" body2="palm" anchor="0 0 0.01"/><tendon tendon1="sum"/><tendon tendon1="sum"/>'
    with pytest.raises(ConfigError) as caught:
        finger(f"{tendon}<equality>{equalities}</equality>")
    messages = [finding.message.partition(",")[0] for finding in caught.value.findings]
    assert messages == ["<connect body1=thumb body2=palm> closes a loop with t", "<tendon tendon1=sum> moves b"]


def test_wires_as_many_as_joints_drive_them(finger):
    """Muscles: the moment arms vary, but each joint can be moved."""
    spatial = "".join(f'<spatial name="w{i}"><site site="low"/><site site="high"/></spatial>' for i in range(3))
    drives = motors("joint=t", "joint=a", "tendon=w0", "tendon=w1", "tendon=w2")
    assert finger(f"<tendon>{spatial}</tendon>" + drives).joint_names == ("t", "a", "b", "c", "d")


def test_ball_joint_is_refused_unless_it_is_fixed(finger):
    ball = '/><joint name="ball" type="ball" range="0 1"'
    with pytest.raises(ConfigError, match=r"joint ball is of the kind ball; .* or fixed: \[ball\], or replace it by hinges"):
        finger(b=ball)
    assert finger(b=ball, yaml="fixed: [ball]\n").joint_names == ("t", "a", "b", "c", "d")


def test_joints_with_an_empty_range_are_fixed(finger):
    e = finger(a=' range="0.2 0.2"', b=' range="-0.001 0.001"')
    assert e.joint_names == ("t", "c", "d")
    assert any("fixed, because their range is empty: a, b; write ranges" in note for note in e.notes)
    bent = finger(yaml="fixed: {a: 0.2, b: 0}\n")
    q = np.array([[0.1, 0.5, 0.5]])
    np.testing.assert_allclose(HandKinematics(e).fingertips(q), HandKinematics(bent).fingertips(q), atol=1e-8)
    assert finger(a=' range="0.2 0.2"', yaml="ranges: {a: [0, 1]}\n").joint_names == ("t", "a", "b", "c", "d")
    with pytest.raises(
        ConfigError, match=r"ranges: joint a has an empty range in finger.xml .* write ranges: \{a: \[lower, upper\]\}"
    ):
        finger(a=' range="0.2 0.2"', yaml="actuated: [t, a, b, c, d]\n")


def test_all_mistakes_are_listed_together(finger):
    more = SPATIAL + motors("joint=t", "joint=a", "tendon=wire")
    with pytest.raises(ConfigError) as caught:
        finger(more, "ranges: {x: [0, 1]}\nfixed: [y]\n", a=' limited="false"')
    assert [finding.path for finding in caught.value.findings] == ["fixed.y", "ranges.x"]
    with pytest.raises(ConfigError) as caught:
        finger(more, "base: index_2\n", a=' limited="false"')
    assert [finding.path for finding in caught.value.findings] == ["fingertips.thumb"]
    with pytest.raises(ConfigError) as caught:
        finger(more.replace("thumb_tip", "low"), "", a=' limited="false"')
    assert [finding.path for finding in caught.value.findings] == ["couplings", "ranges"]
