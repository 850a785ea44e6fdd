"""ObservationBuffer: alignment by stamps, joints by name, validation; and conversion of images."""

from fractions import Fraction
from types import SimpleNamespace
from typing import get_args

import av
import cv2
import numpy as np
import pytest

from latent_policy_ros.common.errors import ObservationRefused
from latent_policy_ros.observations.images import compressed_to_rgb, raw_to_rgb
from latent_policy_ros.observations.modalities import COLOR_IMAGE, JOINT_STATE
from latent_policy_ros.observations.observation_buffer import ObservationBuffer
from latent_policy_ros.observations.resize import ImageFit, Resize
from latent_policy_ros.observations.streams import Stream

NAMES = ("j0", "j1", "j2")
HAND = SimpleNamespace(name="hand", joint_names=NAMES, lower=np.full(3, -1.0), upper=np.full(3, 1.0), max_velocity=np.full(3, 10.0))
POSE = (0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0)
T0 = 1000.0


def image(value=7, height=96, width=96):
    return np.full((height, width, 3), value, np.uint8)


def make(cameras=("front", "wrist"), **changes):
    return ObservationBuffer(cameras, HAND, **changes)


def fill(buffer, start=T0, seconds=0.5, camera_rate=20.0, state_rate=100.0):
    """Push images whose pixels are the image number, and joints whose value is stamp - T0."""
    for k in range(round(seconds * camera_rate) + 1):
        for camera in buffer.cameras:
            buffer.push_image(camera, start + k / camera_rate, image(k % 256))
    for k in range(round(seconds * state_rate) + 1):
        stamp = start + k / state_rate
        buffer.push_joints(stamp, NAMES, [stamp - T0] * 3)
        buffer.push_wrist(stamp, POSE)
    return start + seconds


def test_observation_contains_values_at_its_stamp():
    buffer = make()
    now = fill(buffer)
    buffer.push_joints(now + 0.02, NAMES, [9, 9, 9])  # newer than the images: not what they show
    frame = buffer.observation(now + 0.03)
    assert frame.stamp == now
    np.testing.assert_allclose(frame.joints, 0.5)
    assert frame.images["front"][0, 0, 0] == 10 and frame.images["wrist"].shape == (96, 96, 3)


def test_history_spacing_and_order():
    buffer = make(history=3)
    frames = buffer.observations(fill(buffer))
    np.testing.assert_allclose([f.stamp for f in frames], [T0 + 0.3, T0 + 0.4, T0 + 0.5])
    assert [int(f.images["front"][0, 0, 0]) for f in frames] == [6, 8, 10]
    np.testing.assert_allclose([f.joints[0] for f in frames], [0.3, 0.4, 0.5], atol=1e-6)


def test_short_history_repeats_the_oldest_observation():
    buffer = make(history=3)
    frames = buffer.observations(fill(buffer, seconds=0.1))
    assert [int(f.images["front"][0, 0, 0]) for f in frames] == [0, 0, 2]


def test_order_of_arrival_does_not_matter():
    pushes = []
    for k in range(11):
        pushes.append(lambda b, k=k: b.push_image("front", T0 + k * 0.05, image(k)))
    for k in range(51):
        pushes.append(lambda b, k=k: b.push_joints(T0 + k * 0.01, NAMES, [k * 0.01] * 3))
        pushes.append(lambda b, k=k: b.push_wrist(T0 + k * 0.01, POSE))
    results = []
    for seed in range(3):
        buffer = make(("front",))
        for k in np.random.default_rng(seed).permutation(len(pushes)):
            pushes[k](buffer)
        results.append(buffer.observations(T0 + 0.5))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert a.stamp == b.stamp and np.array_equal(a.joints, b.joints)
            np.testing.assert_array_equal(a.images["front"], b.images["front"])


@pytest.mark.parametrize("silent", ["front", "wrist", "joint_states", "wrist_pose"])
def test_stale_stream_is_reported(silent):
    buffer = make()
    now = fill(buffer)
    assert buffer.missing(now) == ()
    for k in range(40):  # everything else goes on
        stamp = now + k * 0.01
        for camera in buffer.cameras:
            if camera != silent:
                buffer.push_image(camera, stamp, image())
        if silent != "joint_states":
            buffer.push_joints(stamp, NAMES, [0] * 3)
        if silent != "wrist_pose":
            buffer.push_wrist(stamp, POSE)
    assert buffer.missing(now + 0.39) == (f"{silent}: stale",)
    assert buffer.observations(now + 0.39) is None


def test_empty_buffer_reports_every_stream():
    assert len(make().missing(T0)) == 4


def test_cameras_out_of_step_are_not_combined():
    buffer = make(tolerances=None)
    now = fill(buffer, seconds=0.0)
    buffer.push_image("front", now + 0.2, image())
    buffer._images["front"]._stamps.remove(now)  # front has only the new one
    assert buffer.missing(now + 0.2) == ("front: out of step",)


def test_stamp_in_the_future_is_reported():
    buffer = make(("front",))
    fill(buffer, start=T0 + 50)
    assert "front: stamped in the future" in buffer.missing(T0)


@pytest.mark.parametrize(
    "ahead, words", [(0.25, "0.25 s ahead of this machine's clock"), (-0.15, "0.15 s behind this machine's clock")]
)
def test_clock_of_another_machine_is_compared(ahead, words):
    """Joint states 100 times a second, with delays of 0 to 80 ms."""
    buffer = make(cameras=(), wrist=False)
    push = lambda t, offset: buffer.push_message(
        "joint_states", JOINT_STATE, joint_state(T0 + t + offset), received=T0 + t + 0.01 * (round(100 * t) % 9)
    )
    for t in np.arange(0.0, 3.0, 0.01):
        push(t, 0.0)
    assert not buffer.missing(T0 + 3.0) and abs(buffer.clock_offset.seconds) < 0.001
    for t in np.arange(3.0, 6.0, 0.01):
        push(t, ahead)
    assert any(words in reason and "synchronise the clocks" in reason for reason in buffer.missing(T0 + 6.0))
    for t in np.arange(6.0, 9.0, 0.01):
        push(t, 0.0)
    assert not buffer.missing(T0 + 9.0)


def joint_state(stamp):
    header = SimpleNamespace(stamp=SimpleNamespace(sec=int(stamp), nanosec=round(stamp % 1 * 1e9)))
    return SimpleNamespace(header=header, name=list(NAMES), position=[0.0] * 3)


def test_clock_set_back_clears_the_history():
    buffer = make()
    fill(buffer, start=T0 + 100)
    now = fill(buffer, start=T0)
    assert buffer.observation(now).stamp == now


def test_joints_are_matched_by_name():
    buffer = make(("front",))
    buffer.push_image("front", T0, image())
    buffer.push_wrist(T0, POSE)
    buffer.push_joints(T0, ("x", "j2", "j0", "y", "j1"), (9, 2, 0, 9, 1))
    np.testing.assert_array_equal(buffer.observation(T0).joints, [0, 1, 2])


def test_joint_states_of_the_arm_are_ignored():
    buffer = make()
    buffer.push_joints(T0, ("panda_joint1",), (1.0,))
    assert not buffer.refused and "joint_states: nothing received" in buffer.missing(T0)


def push_at_50_hz(buffer, *parts, seconds=0.5):
    """Images, wrist poses and parts of the joints: functions of time that give names and positions."""
    for k in range(round(seconds * 50) + 1):
        at = T0 + k / 50
        buffer.push_image("front", at, image())
        buffer.push_wrist(at, POSE)
        for number, part in enumerate(parts):
            buffer.push_joints(at + 0.005 * number, *part(at - T0))
    return at + 0.02


def test_joints_in_parts_are_merged_by_name():
    buffer = make(("front",))
    now = push_at_50_hz(buffer, lambda t: (("j2", "other"), (t, 9.0)))
    assert buffer.missing(now) == ("joint_states: nothing received for j0, j1",)
    buffer.clear()
    now = push_at_50_hz(
        buffer, lambda t: (("j2", "other"), (t, 9.0)), lambda t: (("j1", "j0"), (t + 1, t + 2)), lambda t: (("j1",), ())
    )
    assert buffer.missing(now) == ()
    np.testing.assert_allclose(buffer.observation(now).joints, [2.5, 1.5, 0.5], atol=0.011)
    for k in range(1, 50):  # one part falls silent
        buffer.push_image("front", now + k * 0.01, image())
        buffer.push_wrist(now + k * 0.01, POSE)
        buffer.push_joints(now + k * 0.01, ("j1", "j0"), (0.0, 0.0))
    assert buffer.missing(now + 0.5) == ("joint_states: stale",)


@pytest.mark.parametrize("rate, late", [(50, -0.03), (50, 0.005), (30, 0.01), (10, 0.03)])
def test_second_publisher_of_zeros_is_found_at_low_rates_and_with_late_stamps(rate, late):
    buffer = make(("front",), more_joints=("arm",))
    for k in range(2 * rate):
        at = T0 + k / rate
        buffer.push_image("front", at, image())
        buffer.push_joints(at, NAMES, (0.5, 0.8, 0.1))
        conflicts = [buffer.push_joints(at, ("arm",), (2.0,)), buffer.push_wrist(at, (0.45, *POSE[1:]))]
        if k % 3 == 0:
            conflicts += [buffer.push_joints(at + late, ("arm",), (0.0,)), buffer.push_wrist(at + late, (0.0, *POSE[1:]))]
    assert "arm alternates" in conflicts[0] and "x alternates" in conflicts[1]


def test_second_publisher_of_another_orientation_is_found_and_signs_of_quaternions_do_not_count():
    buffer, turned = make(("front",)), (*POSE[:3], 0.0, 0.0, 0.7071068, 0.7071068)
    for k in range(100):
        sign = 1.0 if k % 2 else -1.0
        assert not buffer.push_wrist(T0 + k / 50, (*POSE[:6], sign))
    for k in range(100, 110):
        buffer.push_wrist(T0 + k / 50, turned)
        conflict = buffer.push_wrist(T0 + k / 50 + 0.01, POSE)
    assert "qz alternates" in conflict


def test_two_publishers_of_the_same_joints_leave_the_robot_out_until_one_is_gone():
    buffer = make(("front",))
    now = push_at_50_hz(buffer, lambda t: (NAMES, (0.5, 0.8, t)), lambda t: (NAMES, (0.0, 0.0, 0.0)))
    (reason,) = buffer.missing(now)
    assert reason.startswith("joint_states: two publishers: j0 alternates between ") and buffer.observation(now) is None
    for k in range(1, 300):
        buffer.push_joints(now + k * 0.01, NAMES, (0.5, 0.8, 0.1))
        buffer.push_image("front", now + k * 0.01, image())
        buffer.push_wrist(now + k * 0.01, POSE)
    assert buffer.missing(now + 3.0) == ()
    for k in range(300, 310):
        buffer.push_joints(now + k * 0.01, NAMES, (0.5, 0.8, 0.1))
        buffer.push_image("front", now + k * 0.01, image())
        buffer.push_wrist(now + k * 0.01, POSE)
        buffer.push_wrist(now + k * 0.01 + 0.005, (POSE[0], POSE[1] + 0.3, *POSE[2:]))
    (reason,) = buffer.missing(now + 3.1)
    assert reason.startswith("wrist_pose: two publishers: y alternates between ")


def test_fast_motion_and_a_reset_are_no_conflict():
    buffer = make(("front",))
    now = push_at_50_hz(buffer, lambda t: (NAMES, np.sin(12 * t + np.arange(3))), seconds=2.0)  # 12 rad/s, limit 10
    assert buffer.missing(now) == ()
    assert buffer.push_joints(now, NAMES, (0.0, 0.0, 0.0)) == "" == buffer.push_joints(now + 0.02, NAMES, (0.0, 0.0, 0.0))


def test_h264_pictures_are_decoded_from_the_first_key_frame_on():
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "yuv420p", Fraction(1, 30)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "5"}
    packets = []
    for k in range(12):
        frame = av.VideoFrame.from_ndarray(image(20 * k, 48, 64), format="rgb24")
        frame.pts = k
        packets += map(bytes, codec.encode(frame))
    buffer = make(("front",), resize=Resize(48, 64))
    for k, data in list(enumerate(packets))[2:]:
        stamp = SimpleNamespace(sec=int(T0) + k, nanosec=0)
        message = SimpleNamespace(header=SimpleNamespace(stamp=stamp), format="h264", data=data)
        buffer.push_message("front", COLOR_IMAGE, message, T0)
    shown = {round(stamp - T0): value[24, 32, 0] for stamp, value in buffer._images["front"]}
    assert shown and min(shown) >= 5  # packets 2 to 4 need the key frame before them; the history is short
    assert all(abs(int(grey) - 20 * k) < 8 for k, grey in shown.items())
    with pytest.raises(ObservationRefused, match="front: video packet of 7 bytes"):
        buffer.push_message("front", COLOR_IMAGE, SimpleNamespace(header=message.header, format="h264", data=b"nothing"), T0)
    cut = SimpleNamespace(header=message.header, format="h264", data=packets[11][: len(packets[11]) // 2])
    with pytest.raises(ObservationRefused, match="the picture is damaged"):
        buffer.push_message("front", COLOR_IMAGE, cut, T0)


@pytest.mark.parametrize(
    "names, positions, word",
    [
        ((), (0, 0, 0), "3 positions and no names"),
        (("j0", "j1", "j2"), (0, 0), "3 names and 2 positions"),
        (("j2", "j1", "j0", "z"), (0, 0, 0), "4 names and 3 positions"),
        (("j0", "j1", "j2", "j2"), (0, 0, 0, 0), "twice"),
        (NAMES, (0, np.nan, 0), "not finite"),
        (("j2", "j1", "j0"), (0, np.inf, 0), "not finite"),
    ],
)
def test_malformed_joint_states_are_refused_and_counted(names, positions, word):
    buffer = make()
    with pytest.raises(ObservationRefused, match=word):
        buffer.push_joints(T0, names, positions)
    assert sum(buffer.refused.values()) == 1


@pytest.mark.parametrize("pose", [(0,) * 7, (0,) * 6, (0, 0, np.nan, 0, 0, 0, 1), (0, 0, 0, 0, 0, 0, 2)])
def test_malformed_wrist_poses_are_refused(pose):
    with pytest.raises(ObservationRefused, match="wrist_pose"):
        make().push_wrist(T0, pose)


@pytest.mark.parametrize("stamp", [-1.0, np.nan])
def test_invalid_stamp_is_refused(stamp):
    with pytest.raises(ObservationRefused, match="no stamp"):
        make().push_wrist(stamp, POSE)


def test_message_without_a_stamp_is_refused():
    header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0))
    buffer = make()
    with pytest.raises(ObservationRefused, match="joint_states has no stamp"):
        buffer.push_message("joint_states", JOINT_STATE, SimpleNamespace(header=header, name=NAMES, position=[0] * 3), T0)
    assert "joint_states: all messages refused: joint_states has no stamp" in buffer.missing(T0)


def test_images_are_fitted_and_invalid_ones_refused():
    buffer = make(("front",))
    buffer.push_joints(T0, NAMES, [0] * 3)
    buffer.push_wrist(T0, POSE)
    buffer.push_image("front", T0, image(5, 480, 640))
    assert buffer.observation(T0).images["front"].shape == (96, 96, 3)
    for bad in (np.zeros((96, 96), np.uint8), np.zeros((96, 96, 3), np.float32), np.zeros((0, 96, 3), np.uint8)):
        with pytest.raises(ObservationRefused, match="front"):
            buffer.push_image("front", T0, bad)
    with pytest.raises(ObservationRefused, match="available: front"):
        buffer.push_image("back", T0, image())
    with pytest.raises(ObservationRefused, match="front: .* got an undecoded image"):
        buffer.push_image("front", T0, image)


def test_memory_is_bounded():
    buffer = make(("front",))
    fill(buffer, seconds=20)
    assert len(buffer._images["front"]) <= 20 and len(buffer._joints) <= 90


@pytest.mark.parametrize("high", [False, True])
def test_images_of_another_aspect_ratio_are_cropped_padded_or_stretched(high):
    """White thirds on both sides of a black centre, lying or upright."""
    image = np.full((100, 300, 3), 255, np.uint8)
    image[:, 100:200] = 0
    image = image.transpose(1, 0, 2).copy() if high else image
    size = (100, 300) if high else (300, 100)
    results = {}
    for fit in get_args(ImageFit):
        found = Resize(60, 60, fit)(image)
        assert found.shape == (60, 60, 3) and found.dtype == np.uint8
        results[fit] = found.transpose(1, 0, 2) if high else found
    assert results["crop"].max() == 0
    assert (results["stretch"][:, [0, 19, 40, 59]] == 255).all() and (results["stretch"][:, [21, 38]] == 0).all()
    bars, middle = results["pad"][[0, 19, 40, 59]], results["pad"][20:40]
    assert bars.max() == 0 and (middle[:, [0, 19, 40, 59]] == 255).all() and (middle[:, [21, 38]] == 0).all()
    texts = {fit: Resize(60, 60, fit).text(*image.shape[:2]) for fit in results}
    assert texts == {
        "crop": f"{size[0]}x{size[1]} px, cropped to 100x100 px",
        "pad": f"{size[0]}x{size[1]} px, padded to 300x300 px",
        "stretch": f"{size[0]}x{size[1]} px, stretched to 60x60 px",
    }


@pytest.mark.parametrize("fit", get_args(ImageFit))
def test_images_of_the_same_aspect_ratio_are_only_scaled(fit):
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Resize(20, 40, fit)(image), Resize(20, 40)(image))
    assert Resize(40, 80, fit)(image) is image and Resize(20, 40, fit).text(40, 80) == "80x40 px"
    assert Resize(96, 96, fit)(np.zeros((1, 500, 3), np.uint8)).shape == (96, 96, 3)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_raw_encodings(encoding):
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    codes = {"rgb8": None, "bgr8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGB2RGBA, "bgra8": cv2.COLOR_RGB2BGRA}
    there = rgb if codes[encoding] is None else cv2.cvtColor(rgb, codes[encoding])
    padded = np.zeros((4, there.shape[1] * there.shape[2] + 5), np.uint8)
    padded[:, :-5] = there.reshape(4, -1)
    np.testing.assert_array_equal(raw_to_rgb(encoding, 4, 6, padded.shape[1], padded.tobytes()), rgb)


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("16UC1", 2, 2, 4, bytes(8)), "'16UC1' is not supported; available: .*rgb8"),
        (("rgb8", 2, 2, 5, bytes(10)), "step"),
        (("rgb8", 2, 2, 6, bytes(11)), "expected 12 bytes, got 11"),
        (("rgb8", 0, 2, 6, b""), "image 2x0"),
    ],
)
def test_malformed_images_are_refused(arguments, word):
    with pytest.raises(ObservationRefused, match=word):
        raw_to_rgb(*arguments)


def test_compressed_images():
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[..., 0] = 200
    _, data = cv2.imencode(".png", rgb[..., ::-1])
    np.testing.assert_array_equal(compressed_to_rgb(data.tobytes(), ""), rgb)
    for bad in (b"", b"no image", data.tobytes()[:20]):
        with pytest.raises(ObservationRefused, match="cannot be decoded"):
            compressed_to_rgb(bad, "")


def test_16_bit_png_is_refused():
    for shape in ((32, 32), (32, 32, 3)):
        _, data = cv2.imencode(".png", np.full(shape, 5000, np.uint16))
        with pytest.raises(ObservationRefused, match="16 bits per channel.*expected 8"):
            compressed_to_rgb(data.tobytes(), "")


COLOUR = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.mark.parametrize("label", [
    "", "jpeg", "png", "JPEG", "rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8", "BGR8; JPEG COMPRESSED BGR8",
    "mono8; jpeg compressed ", "rgb8; jpeg", "bayer_rggb8; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed mono8",
    "rgb16; jpeg compressed bgr8", "mono16; jpeg compressed mono8",
])  # fmt: skip
def test_labels_of_8_bit_colour_images(label):
    data = cv2.imencode(".png", COLOUR)[1].tobytes()
    np.testing.assert_array_equal(compressed_to_rgb(data, label), COLOUR[..., ::-1])
    assert compressed_to_rgb(cv2.imencode(".jpg", COLOUR)[1].tobytes(), label).shape == (32, 32, 3)


@pytest.mark.parametrize("label", [
    "bayer_rggb8; jpeg compressed ", "bayer_gbrg8; png compressed ", "bayer_rggb8; jpeg compressed bayer_rggb8",
    "BAYER_BGGR16; JPEG COMPRESSED ", "bayer_grbg8", "mono16; jpeg compressed ", "rgb16; png compressed bgr16",
    "16UC1; png compressed 16UC1", "16UC1; compressedDepth png", "32FC1; compressedDepth", "32FC1; tiff compressed ",
])  # fmt: skip
def test_labels_of_other_images_are_refused(label):
    data = cv2.imencode(".png" if "png" in label else ".jpg", COLOUR[..., 0])[1].tobytes()
    with pytest.raises(ObservationRefused, match=f"'{label}' is not supported; available: .*rgb8"):
        compressed_to_rgb(data, label)


@pytest.mark.parametrize(("kind", "dtype"), [(".tiff", np.uint16), (".tiff", np.uint8), (".webp", np.uint8), (".bmp", np.uint8)])
def test_compressed_images_are_jpeg_or_png(kind, dtype):
    data = cv2.imencode(kind, COLOUR.astype(dtype))[1].tobytes()
    for label in ("tiff", ""):
        text = rf"{len(data)} bytes cannot be decoded \(supported: JPEG and PNG; its format is '{label}'\)"
        with pytest.raises(ObservationRefused, match=text):
            compressed_to_rgb(data, label)


def test_stream_nearest():
    stream = Stream(1.0)
    for stamp in (1.0, 1.2, 1.1):
        stream.push(stamp, stamp)
    assert [s for s, _ in stream] == [1.0, 1.1, 1.2]
    assert stream.nearest(1.14)[0] == 1.1 and stream.nearest(9)[0] == 1.2 and stream.nearest(0)[0] == 1.0
    assert Stream(1.0).nearest(1.0) is None


def yuv_planes(rgb):
    """Luma (H, W) and chroma (H / 2, W / 2) planes in the range of video."""
    height, width = rgb.shape[:2]
    flat = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).ravel()
    y, u, v = np.split(flat, [height * width, height * width * 5 // 4])
    return y.reshape(height, width), u.reshape(height // 2, width // 2), v.reshape(height // 2, width // 2)


def packed_422(rgb, luma):
    """Two bytes a pixel: luma at byte ``luma`` of each pair, blue and red chroma in turn at the other."""
    y, u, v = yuv_planes(rgb)
    out = np.zeros((*y.shape, 2), np.uint8)
    out[..., luma] = y
    out[:, 0::2, 1 - luma], out[:, 1::2, 1 - luma] = u.repeat(2, axis=0), v.repeat(2, axis=0)
    return out


def semi_planar(rgb, chroma):
    y, *uv = yuv_planes(rgb)
    return np.concatenate((y.ravel(), np.stack([uv[k] for k in chroma], -1).ravel()))


@pytest.mark.parametrize(("encoding", "pack", "step"), [
    ("yuyv", lambda rgb: packed_422(rgb, 0), 48), ("yuv422_yuy2", lambda rgb: packed_422(rgb, 0), 48),
    ("uyvy", lambda rgb: packed_422(rgb, 1), 48), ("yuv422", lambda rgb: packed_422(rgb, 1), 48),
    ("nv12", lambda rgb: semi_planar(rgb, (0, 1)), 24), ("nv12", lambda rgb: semi_planar(rgb, (0, 1)), 36),
    ("nv21", lambda rgb: semi_planar(rgb, (1, 0)), 24),
])  # fmt: skip
def test_yuv_encodings(encoding, pack, step):
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:, :12], rgb[:, 12:] = (220, 40, 40), (30, 60, 200)
    got = raw_to_rgb(encoding, 16, 24, step, pack(rgb).tobytes()).astype(int)
    assert np.abs(got - rgb)[:, [0, 5, 18, 23]].max() <= 6
    with pytest.raises(ObservationRefused, match=f"image 23x16 {encoding}: expected an even size"):
        raw_to_rgb(encoding, 16, 23, step, pack(rgb).tobytes())
    with pytest.raises(ObservationRefused, match="bytes, got 10"):
        raw_to_rgb(encoding, 16, 24, step, bytes(10))


@pytest.mark.parametrize(("pattern", "red", "blue"), [("rggb", (0, 0), (1, 1)), ("bggr", (1, 1), (0, 0)),
                                                       ("gbrg", (1, 0), (0, 1)), ("grbg", (0, 1), (1, 0))])  # fmt: skip
def test_bayer_mosaics(pattern, red, blue):
    mosaic = np.full((16, 16), 60, np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2], mosaic[blue[0] :: 2, blue[1] :: 2] = 220, 30
    got = raw_to_rgb(f"bayer_{pattern}8", 16, 16, 16, mosaic.tobytes())
    np.testing.assert_array_equal(got[4:-4, 4:-4], np.broadcast_to([220, 60, 30], (8, 8, 3)))
