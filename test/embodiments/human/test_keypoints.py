"""Hand input from any device: layouts, axes, handedness, units, hand size, and rejected frames."""

from pathlib import Path

import numpy as np
import pytest

from latent_policy_ros.embodiments.human.hand_input import HandInput, canonical_hands
from latent_policy_ros.embodiments.human.hand_size import HandMeasure, HandSize
from latent_policy_ros.embodiments.human.handedness import Handedness, evidence, mirrored_keypoints
from latent_policy_ros.embodiments.human.human_hand import HumanHand
from latent_policy_ros.embodiments.human.keypoint_layouts import LAYOUTS, refuse_unknown_order, to_21
from latent_policy_ros.embodiments.human.keypoints import KeypointsRefused, to_hand_frame
from latent_policy_ros.retargeting import generate_motion
from latent_policy_ros.retargeting.human_motion.generator import random_hand

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "data" / "human_hand"
FILES = sorted(RECORDINGS.glob("*.npz")) if RECORDINGS.is_dir() else []

MOTION = generate_motion(5, 12.0).keypoints
FLAT = np.zeros((30, 21))


def rotation(rng, mirror=False):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q)) * (-1.0 if mirror else 1.0)


def in_layout(keypoints, name, rng):
    """Points as a device of that layout gives them; the extra points lie between a knuckle and the wrist."""
    size, order = LAYOUTS[name]
    points = np.full((*keypoints.shape[:-2], size, 3), np.nan)
    points[..., order, :] = keypoints
    spare = sorted(set(range(size)) - set(order))
    knuckles = [5, 9, 13, 17] if size > 21 else []
    if size == 26:  # the palm: half way to the middle knuckle
        points[..., spare.pop(0), :] = (keypoints[..., 0, :] + keypoints[..., 9, :]) / 2
    for at, knuckle in zip(spare, knuckles, strict=True):
        points[..., at, :] = 0.7 * keypoints[..., 0, :] + 0.3 * keypoints[..., knuckle, :]
    return points


def recorded():
    """Generated motion, and real recordings if the files exist."""
    yield "generated", MOTION
    for file in FILES:
        yield file.stem, np.load(file)["keypoints"].astype(float)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_detected_or_given(name):
    rng = np.random.default_rng(0)
    for frame in in_layout(MOTION, name, rng)[::7]:
        assert to_21(frame)[1] == name  # one frame is enough, in any pose: fists too
    points = in_layout(MOTION, name, rng)
    for layout in ("auto", name):
        found, detected = to_21(points, layout)
        assert detected == name and np.array_equal(found, MOTION)


TIPS_FIRST = [finger + joint for finger in (1, 5, 9, 13, 17) for joint in (3, 2, 1, 0)]
FARTHER_THUMB = "the first joint of the thumb is .* times as far from the wrist as the nearest knuckle, expected at most 0.75"
UNKNOWN_ORDERS = {  # indices among the 21 keypoints, and what is found
    "fingertips first, wrist last": ([*TIPS_FIRST, 0], "the first bones are 1.% of the length of the four fingers"),
    "wrist, then each finger from its tip": ([0, *TIPS_FIRST], FARTHER_THUMB),
    "thumb last": ([0, *range(5, 21), 1, 2, 3, 4], FARTHER_THUMB),
    "pinky first": ([0, *(4 * finger + joint for finger in (4, 3, 2, 1, 0) for joint in (1, 2, 3, 4))], FARTHER_THUMB),
    "wrist last": ([*range(1, 21), 0], "the first bones are 1.% of the length of the four fingers, expected at least 25%"),
}


@pytest.mark.parametrize("name", UNKNOWN_ORDERS)
def test_points_in_an_unknown_order_are_refused(name):
    order, found = UNKNOWN_ORDERS[name]
    with pytest.raises(KeypointsRefused, match=f"points are not in the order of layout .*{found}.*; order them as wrist; thumb"):
        canonical_hands(MOTION[:, order], side="right")


def test_unknown_order_is_refused_in_a_stream_too():
    with pytest.raises(KeypointsRefused, match="not in the order of layout mediapipe"):
        HandInput(side="right").push(MOTION[0, UNKNOWN_ORDERS["thumb last"][0]], 0.0)
    one_finger = HumanHand().keypoints(FLAT)[:, [*range(17), 20, 19, 18, 17]]  # the pinky from its tip
    with pytest.raises(KeypointsRefused, match="the farthest knuckle is .* times as far from the wrist as the nearest one"):
        HandInput(side="right").push(one_finger[0], 0.0)


def test_hands_of_all_proportions_are_in_a_known_order():
    """Also noisy single frames, as a stream has them."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        frame = random_hand(rng).keypoints(np.zeros((1, 21)))
        refuse_unknown_order(frame + rng.normal(0.0, 0.003, frame.shape), "mediapipe")


def test_wrong_layout_is_rejected_with_a_hint():
    rng = np.random.default_rng(0)
    with pytest.raises(KeypointsRefused, match="not in layout manus.*layout webxr"):
        to_21(in_layout(MOTION, "webxr", rng), "manus")
    with pytest.raises(KeypointsRefused, match="not in layout mediapipe.*layout mano"):
        to_21(in_layout(MOTION, "mano", rng), "openpose")
    with pytest.raises(KeypointsRefused, match="layout manus has 25 points, got 21; layout auto accepts 21, 25 or 26 points"):
        to_21(MOTION, "manus")
    with pytest.raises(KeypointsRefused, match="no layout has 23 points; expected 21, 25 or 26 points"):
        to_21(np.zeros((23, 3)))
    with pytest.raises(KeypointsRefused, match="no layout 'manos'; available: .*mano.*mediapipe"):
        HandInput(layout="manos")


@pytest.mark.parametrize("units, factor", [("mm", 1e3), ("cm", 1e2), ("m", 1.0)])
def test_units_are_converted_if_given_else_rejected_with_a_hint(units, factor):
    expected = canonical_hands(MOTION).keypoints
    assert np.allclose(canonical_hands(MOTION * factor, units=units).keypoints, expected)
    if units != "m":
        with pytest.raises(KeypointsRefused, match=f"set units: {units} .command line: --units {units}"):
            canonical_hands(MOTION * factor)
        with pytest.raises(KeypointsRefused, match=f"set units: {units} .command line: --units {units}"):
            HandInput().push(MOTION[0] * factor, 1.0)
    with pytest.raises(KeypointsRefused, match="no units 'inch'; available: cm, m, mm"):
        HandInput(units="inch")


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("source, keypoints", recorded())
def test_recording_in_any_axes_gives_the_same_right_hand(source, keypoints, mirror):
    rng = np.random.default_rng(1)
    upright = canonical_hands(keypoints)
    assert upright.side == "right" and upright.valid.all()
    assert np.allclose(upright.keypoints, to_hand_frame(keypoints))
    for _ in range(3):
        moved = keypoints @ rotation(rng, mirror).T + rng.normal(size=3)
        found = canonical_hands(moved)
        assert found.side == ("left" if mirror else "right")
        assert np.allclose(found.keypoints, upright.keypoints, atol=1e-9)
        side = "left" if mirror else "right"
        assert np.allclose(canonical_hands(moved, side=side).keypoints, upright.keypoints, atol=1e-9)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("source, keypoints", recorded())
def test_stream_detects_its_side_from_any_start_and_keeps_it(source, keypoints, mirror):
    rng = np.random.default_rng(2)
    dt = 1 / 115 if "manus" in source else 1 / 30
    expected = to_hand_frame(keypoints)
    moved = keypoints @ rotation(rng, mirror).T + np.array([1.0, 2.0, 3.0])
    for first in np.linspace(0, len(moved) - 3 / dt, 12).astype(int):
        hand, waited = HandInput(), 0
        for t in range(first, first + int(3 / dt)):
            try:
                assert np.allclose(hand.push(moved[t], 50.0 + t * dt), expected[t], atol=1e-9)
            except KeypointsRefused as refused:
                assert "left or right is not detected" in str(refused)
                waited += 1
        assert hand.side == ("left" if mirror else "right") and waited * dt < 2.0


def test_noise_and_single_wrong_frames_do_not_change_the_side():
    rng = np.random.default_rng(3)
    hand = HandInput()
    for t, frame in enumerate(MOTION):
        wrong = 40 < t < 60 and t % 2  # 10 frames that look like the other hand, between good ones
        points = (mirrored_keypoints(frame) if wrong else frame) + rng.normal(0.0, 0.002, (21, 3))
        if t > 10:
            hand.push(points, t / 30)
            assert hand.side == "right"
        else:
            try:
                hand.push(points, t / 30)
            except KeypointsRefused:
                assert hand.side is None


def test_side_changes_when_the_other_hand_is_shown():
    hand = HandInput()
    sides = []
    for t, frame in enumerate(np.concatenate((MOTION[:150], mirrored_keypoints(MOTION[150:])))):
        try:
            hand.push(frame, t / 30)
        except KeypointsRefused:
            continue
        sides.append(hand.side)
    assert sides[0] == "right" and sides[-1] == "left" and np.sum(np.array(sides[1:]) != np.array(sides[:-1])) == 1


def test_given_side_is_used_and_contrary_evidence_gives_a_warning():
    given = HandInput(side="right")
    for t, frame in enumerate(mirrored_keypoints(MOTION[:60])):
        given.push(frame, t / 30)
    assert given.side == "right" and "bend as those of a left hand" in given.side_warning
    assert "side is left, but the fingers bend as those of a right hand" in canonical_hands(MOTION, side="left").side_warning
    assert canonical_hands(MOTION, side="right").side_warning == canonical_hands(MOTION).side_warning == ""
    right = HandInput(side="right")
    for t, frame in enumerate(MOTION[:60]):
        assert np.allclose(right.push(frame, t / 30), to_hand_frame(frame))
    assert right.side_warning == ""
    with pytest.raises(KeypointsRefused, match="no side 'both'; available: auto, left, right"):
        HandInput(side="both")


def test_side_of_a_flat_hand_cannot_be_detected():
    flat = HumanHand().keypoints(FLAT)
    flat[..., 0] = 0.0  # all in one plane, the thumb as well
    assert np.abs(evidence(to_hand_frame(flat))).max() < 0.1
    with pytest.raises(KeypointsRefused, match="set the side"):
        canonical_hands(flat)
    hand = HandInput()
    for t, frame in enumerate(flat[:20]):
        with pytest.raises(KeypointsRefused, match="bend the fingers, or set the side"):
            hand.push(frame, t / 30)
    assert canonical_hands(flat, side="left").side == "left" and not canonical_hands(flat, side="left").side_warning
    assert Handedness().add(0.0, 1.0) is None


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
def test_hand_size_is_measured_despite_noise_and_dropouts(scale):
    person = HumanHand(scale, np.array([[1.0], [1.05], [0.95], [1.0], [1.1]]))
    keypoints = generate_motion(9, 10.0, hand=person).keypoints
    straight = person.keypoints(np.zeros((1, 21)))[0]
    fingers = [np.linalg.norm(np.diff(straight[f : f + 4], axis=0), axis=1).sum() for f in (1, 5, 9, 13, 17)]
    noisy = keypoints + np.random.default_rng(0).normal(0.0, 1e-3, keypoints.shape)
    noisy[::9] = np.nan
    size = HandSize.of(noisy)
    assert np.allclose(size.fingers, fingers, rtol=0.02) and abs(size.palm - np.linalg.norm(straight[9])) < 1e-3
    assert abs(size.scale - scale) < 0.04 and "palm" in size.text() and "pinky" in size.text()
    measure = HandMeasure(frames=50)
    for frame in noisy[np.isfinite(noisy).all(axis=(1, 2))]:
        measure.add(frame)
    assert measure.settled and measure.size.frames == 50 and np.allclose(measure.size.fingers, fingers, rtol=0.02)


def test_frames_of_another_size_are_rejected_until_the_measurement_restarts():
    measure = HandMeasure(frames=20)
    for frame in MOTION[:20]:
        measure.add(frame)
    before = measure.size
    for frame in MOTION[:5]:
        with pytest.raises(KeypointsRefused, match="not the hand measured before: the palm is 1.70"):
            measure.add(1.7 * frame)
    measure.add(MOTION[30])
    assert measure.size == before
    for frame in MOTION[:19]:
        with pytest.raises(KeypointsRefused):
            measure.add(1.7 * frame)
    for frame in MOTION[:20]:
        measure.add(1.7 * frame)
    assert measure.settled and abs(measure.size.palm / before.palm - 1.7) < 0.02


BAD = {
    "dropout": (lambda k: k * np.nan, "no hand in view"),
    "half a hand": (lambda k: np.where(np.arange(21)[:, None] > 12, np.nan, k), "no hand in view"),
    "infinite": (lambda k: k + np.array([0, 0, np.inf]), "no hand in view"),
    "no points": (lambda k: k[:0], "no hand in view"),
    "too few points": (lambda k: k[:20], "has 21 points, got 20"),
    "all the same": (lambda k: k * 0, "wrist to middle knuckle"),
    "one number": (lambda k: k[0, 0], "shape"),
    "a giant": (lambda k: 3 * k, "wrist to middle knuckle"),
    "a line": (lambda k: k * np.array([0, 0, 1.0]), "no plane"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frame_is_rejected_with_a_reason_and_the_stream_continues(case):
    spoil, reason = BAD[case]
    hand, expected = HandInput(), to_hand_frame(MOTION)
    for t in range(20):
        try:
            hand.push(MOTION[t], t / 30)
        except KeypointsRefused as refused:
            assert "not detected" in str(refused)
    size = hand.size
    for t in range(20, 40):
        with pytest.raises(KeypointsRefused, match=reason):
            hand.push(spoil(MOTION[t].copy()), t / 30)
    assert hand.size == size
    assert np.allclose(hand.push(MOTION[40], 40 / 30), expected[40])


def test_frozen_device_is_rejected_and_a_pause_is_not():
    hand = HandInput(side="right", frozen_after=1.0)
    for t in range(30):
        hand.push(MOTION[50], t / 30)  # constant for a second
    with pytest.raises(KeypointsRefused, match="frozen.*1 s"):
        hand.push(MOTION[50], 1.1)
    hand.push(MOTION[51], 1.2)


def test_reused_input_array_does_not_look_frozen():
    hand, buffer = HandInput(side="right", frozen_after=1.0), np.empty_like(MOTION[0])
    other = HandInput(side="right", frozen_after=1.0)
    for t in range(60):
        buffer[:] = MOTION[t]
        assert np.array_equal(hand.push(buffer, t / 30), other.push(MOTION[t], t / 30))


def test_bad_frames_of_a_recording_are_marked_and_counted():
    keypoints = MOTION.copy()
    keypoints[10:15], keypoints[40] = np.nan, 0.0
    found = canonical_hands(keypoints)
    assert found.valid.sum() == len(MOTION) - 6 and not found.valid[[10, 14, 40]].any()
    assert np.isnan(found.keypoints[10]).all() and np.isnan(found.keypoints[40]).all()
    assert sum(found.rejected.values()) == 6 and len(found.rejected) == 2
    assert np.allclose(found.keypoints[found.valid], to_hand_frame(MOTION)[found.valid])
    with pytest.raises(KeypointsRefused, match="NaN"):
        canonical_hands(keypoints[10:15])


@pytest.mark.parametrize(("size", "unit"), [((1.0, 1.0), "normalised to its size"), ((640.0, 480.0), "in pixels")])
def test_image_coordinates_are_refused(size, unit):
    """MediaPipe's landmarks in the image: x and y from its corner, depth relative to the wrist."""
    image = MOTION[:, :, [1, 2, 0]] * [1.5, 2.0, 1.5] + [0.5, 0.2, 0.0]
    image = (image - image[:, :1] * [0.0, 0.0, 1.0]) * [*size, size[0]]
    with pytest.raises(KeypointsRefused, match=f"coordinates in an image, {unit}, .* which MediaPipe calls world landmarks"):
        canonical_hands(image, side="right")
    with pytest.raises(KeypointsRefused, match="coordinates in an image"):
        HandInput(side="right").push(image[0], 0.0)
    assert canonical_hands(MOTION[:, :, [1, 2, 0]] + [0.5, 0.2, 0.4]).valid.all()  # metres, in front of a camera


def test_image_coordinates_with_wrong_frames_or_a_hand_at_the_edge_are_refused():
    image = MOTION[:, :, [1, 2, 0]] + [0.05, 0.2, 0.0]  # a tenth of x is left of the image
    image = image - image[:, :1] * [0.0, 0.0, 1.0]
    image[37], image[60, 0, 2], image[61, 20, 0] = np.nan, 0.01, -0.3
    assert 0.02 < (image[..., :2] < 0.0).mean() < 0.15
    with pytest.raises(KeypointsRefused, match="coordinates in an image, normalised to its size"):
        canonical_hands(image, side="right")
    assert canonical_hands(image - [0.05, 0.2, 0.0], side="right").valid.any()  # the camera's axis is the origin of x and y
