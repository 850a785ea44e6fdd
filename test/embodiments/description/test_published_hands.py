"""Hands from published URDF files equal the shipped ones, and the example of the documentation loads."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_hands import base_tips, pinocchio_tips, random_q

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.common.paths import package_folder
from latent_policy_ros.embodiments import HandKinematics, load_embodiment

ROBOTS = package_folder("example-robot-data") / "robots"

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
