"""Hand images: agreement with forward kinematics, scale, and layout of sheets."""

import cv2
import numpy as np
import pytest

from latent_policy_ros.common.errors import ConfigError
from latent_policy_ros.embodiments import HandKinematics, list_embodiments, load_embodiment
from latent_policy_ros.retargeting.human_motion.reference_poses import reference_poses
from latent_policy_ros.sim.hand_images.drawing import BACKGROUND, COLOURS, View, bounds, draw_hand
from latent_policy_ros.sim.hand_images.gallery import (
    GAP,
    POSES,
    Subject,
    check_sheet,
    gallery,
    heading,
    human_subject,
    robot_subject,
    save,
    sheet,
)
from latent_policy_ros.sim.hand_images.solids import Solid, hand_solids, human_solids

PAPER = np.round(255 * np.array(BACKGROUND))


def drawn(image):
    """Where anything is drawn (height, width)."""
    return np.abs(image.astype(float) - PAPER).max(axis=-1) > 12


def coloured(image, part):
    """Where the hue is that of a part's colour (height, width)."""
    hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(int)
    wanted = cv2.cvtColor(np.round(255 * np.array([[COLOURS[part]]])).astype(np.uint8), cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    apart = np.abs(hue[..., 0] - wanted[0])
    return (np.minimum(apart, 180 - apart) < 8) & (hue[..., 1] > 60)


def test_sphere_is_drawn_at_its_position_and_size():
    middle = np.array([0.02, -0.03, 0.10])
    view = View((0.0, 0.1), 200, 240, 1000.0)
    image = draw_hand([Solid(middle, middle, 0.02, "index", True)], view)
    assert image.shape == (240, 200, 3) and image.dtype == np.uint8
    rows, columns = np.nonzero(coloured(image, "index"))
    assert np.abs([columns.mean() + 0.5, rows.mean() + 0.5] - view.project(middle)).max() < 2
    assert np.abs([np.ptp(columns) + 1, np.ptp(rows) + 1] - np.array([40, 40])).max() <= 3


@pytest.mark.parametrize("name", ("shadow_hand", "shadow_hand_left", "inspire_hand"))
def test_fingertips_agree_with_kinematics(name):
    e = load_embodiment(name)
    solids, kinematics = hand_solids(e, e.rest), HandKinematics(e)
    tips = {solid.part: solid.start for solid in solids if solid.is_tip}
    for finger, place in zip(kinematics.fingers, kinematics.fingertips(e.rest[None])[0], strict=True):
        np.testing.assert_allclose(tips[finger], place, atol=1e-12)
    assert {solid.part for solid in solids} == {*kinematics.fingers, "palm"}
    left_hand = e.side == "left"
    (low, high), size = bounds(solids, left_hand), 160
    view = View(tuple((low + high) / 2), size, size, size / max(high - low), left_hand)
    image = draw_hand(solids, view)
    rows, columns = np.nonzero(drawn(image))
    assert min(rows.min(), columns.min()) >= 0 and max(np.ptp(rows), np.ptp(columns)) > 0.95 * size  # it fills its frame
    for finger in ("thumb", "index"):
        column, row = view.project(tips[finger])
        assert coloured(image, finger)[max(int(row) - 8, 0) : int(row) + 8, max(int(column) - 8, 0) : int(column) + 8].any()


def test_left_hand_is_the_mirror_image_of_a_right_hand():
    right, left = (hand_solids(load_embodiment(name), load_embodiment(name).rest) for name in ("orca_hand", "orca_hand_left"))
    (low, high), image = bounds(right), bounds(left, True)
    np.testing.assert_allclose(image, [[-high[0], low[1]], [-low[0], high[1]]], atol=1e-9)


@pytest.mark.parametrize("name", [name for name in list_embodiments() if load_embodiment(name).kind == "gripper"])
def test_grippers_are_upright_and_their_pads_meet(name):
    e = load_embodiment(name)
    for opening in (0.0, 1.0):
        solids = hand_solids(e, e.to_joints(np.array([opening])))
        thumb, index = (next(s.start for s in solids if s.is_tip and s.part == part) for part in ("thumb", "index"))
        assert thumb[1] > index[1] and abs(thumb[0] - index[0]) < 1e-3  # across, the thumb's jaw on the thumb's side
        assert min(thumb[2], index[2]) > max(s.end[2] for s in solids if s.part == "palm")
        gap = np.linalg.norm(np.subtract(*HandKinematics(e).fingertips(e.to_joints(np.array([[opening]])))[0, :2]))
        assert np.linalg.norm(thumb - index) == pytest.approx(gap + 2 * e.shape.tip_radius, abs=1e-3)


def test_human_fingertips_are_its_keypoints():
    keypoints = reference_poses()[0].keypoints
    tips = [solid.start for solid in human_solids(keypoints) if solid.is_tip]
    np.testing.assert_allclose(tips, keypoints[[4, 8, 12, 16, 20]])


def test_gallery_has_every_hand_in_every_pose():
    names = ("leap_hand", "panda_gripper")
    image = gallery([load_embodiment(name) for name in names], width=500)
    assert image.shape[1] <= 500 and image.dtype == np.uint8
    ink = drawn(image)
    occupied = ink[:, 110:].any(axis=1)  # beside the names of the poses
    bands = np.flatnonzero(np.diff(occupied.astype(int)) == 1)
    assert len(bands) >= len(POSES)
    poses = reference_poses()
    people = human_subject(poses)
    assert len(people.poses) == len(poses) and len(robot_subject(load_embodiment("panda_gripper"), poses).poses) == len(poses)


def test_left_hand_is_drawn_beside_a_human_left_hand(monkeypatch):
    poses = reference_poses()
    right, left = human_subject(poses), human_subject(poses, left_hand=True)
    assert left.left_hand and not right.left_hand
    for one, other in zip(right.poses, left.poses):
        (low, high), image = bounds(one), bounds(other, True)
        np.testing.assert_allclose(image, [[-high[0], low[1]], [-low[0], high[1]]], atol=1e-9)
    drawn = []
    monkeypatch.setattr(
        "latent_policy_ros.sim.hand_images.gallery.sheet", lambda subjects, *_, **__: drawn.append(subjects[0].left_hand)
    )
    for name in ("orca_hand", "orca_hand_left"):
        check_sheet(load_embodiment(name))
        gallery([load_embodiment(name)])
    assert drawn == [False, False, True, True]


def test_headings_fit_their_columns():
    assert heading("panda_gripper", 60) == "panda_\ngripper" and heading("panda_gripper", 200) == "panda_gripper"
    assert heading("pinch middle", 60) == "pinch\nmiddle" and heading("gripper", 10) == "gripper"
    names = ("orca_hand", "panda_gripper", "robotiq_2f85", "xarm_gripper", "so101_gripper")
    image = gallery([load_embodiment(name) for name in names], width=600)
    ink = drawn(image)[: 44 + GAP // 2 - 1, 90:].any(axis=0)
    gaps = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], ink.astype(int), [0])))))[1::2]
    assert (gaps >= 6).sum() >= len(names)  # between the person's and each other's heading


def test_sheet_that_is_too_narrow_is_refused_with_the_required_width():
    ball = Solid(np.zeros(3), np.zeros(3), 0.1, "palm")
    with pytest.raises(ConfigError, match=r"300 pixels are too few for 9 columns; expected 4\d\d or more"):
        sheet([Subject(f"ball {i}", ([ball],)) for i in range(9)], ["only"], 300)


def test_check_sheet_is_saved_as_png(tmp_path):
    image = check_sheet(load_embodiment("dex3_hand_left"), width=900)
    save(image, tmp_path / "new folder" / "dex3.png")
    assert (cv2.imread(str(tmp_path / "new folder" / "dex3.png"))[..., ::-1] == image).all()
