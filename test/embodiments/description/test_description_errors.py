"""Errors of wrong descriptions: each names file, field and remedy."""

# ruff: noqa: E501 - the table of mistakes has one line for each

import pytest
from tiny_hands import GRIPPER, SHORT, SHORT_MJCF

from latent_policy_ros.common.errors import ConfigError

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
