"""Additional streams of a mapping: from messages of a bag to observations and features of a data set."""

import av
import numpy as np
import pytest
import yaml
from pressure_modality import MESSAGE_TYPE, register

from latent_policy_ros.data.bags.message_types import message_types
from latent_policy_ros.data.conversion.mapping_file import load_mapping
from latent_policy_ros.data.lerobot.depth import dequantize, quantize
from latent_policy_ros.data.lerobot.reader import LeRobotReader

T0 = 1_700_000_000.0


def mapping_file(folder, streams):
    file = folder / "rig.yaml"
    robot = {
        "embodiment": "faive_hand", "cameras": {"front": "/left/front/image_raw"}, "state": {"topic": "/left/joint_states"},
        "command": {"topic": "/left/hand_command"}, "streams": streams,
    }  # fmt: skip
    file.write_text(yaml.safe_dump({"robots": {"left": robot}}))
    return file


def add_streams(made):
    types = message_types().types
    for k in range(-1, 151):
        stamp = T0 + k / 50
        header = made.joint_state(stamp, [], []).header
        made.add("cup", stamp + 0.001, types[MESSAGE_TYPE](header=header, fluid_pressure=float(k), variance=0.0))
        depth = made.image(stamp, np.full((32, 48, 1), 400, np.uint16), "16UC1")
        made.add("depth", stamp + 0.001, types["sensor_msgs/msg/Image"](**{
            **{name: getattr(depth, name) for name in ("header", "height", "width", "encoding", "is_bigendian")},
            "step": 96, "data": depth.data.view(np.uint8),
        }))  # fmt: skip


def test_additional_streams_of_a_bag_become_observations_and_features(monkeypatch, tmp_path, recording, converted):
    register(monkeypatch)
    made = recording()
    add_streams(made)
    cup, depth = {"topic": "/left/cup", "modality": "pressure"}, {"topic": "/left/depth", "modality": "depth_image"}
    file = mapping_file(tmp_path, {"cup": cup, "depth": depth})
    report, out = converted(made.write(tmp_path / "bag"), mapping=load_mapping(file))
    assert report.written == 1, report.left_out
    reader = LeRobotReader(out / "faive_hand")
    np.testing.assert_allclose(reader.columns(0)["observation.cup"][:, 0], np.arange(31) * 5)
    assert reader.features["observation.cup"]["names"] == ["cup_0"]
    assert report.warnings == [] and reader.cameras == ("front",)
    feature = reader.features["observation.images.depth"]
    assert feature["shape"] == [32, 48, 1] and feature["info"]["is_depth_map"] and feature["info"]["depth_unit"] == "m"
    assert reader.stats["observation.images.depth"]["mean"] == pytest.approx(0.4, abs=2e-3)
    file = next((out / "faive_hand/videos/observation.images.depth").rglob("*.mp4"))
    with av.open(str(file)) as video:
        codes = np.array([image.to_ndarray(format="gray12le") for image in video.decode(video=0)])
    np.testing.assert_allclose(dequantize(codes), np.full((31, 32, 48), 0.4), atol=2e-3)


def test_depth_codes_are_those_of_lerobot():
    metres = np.array([[0.0, 0.01, 0.5], [1.0, 10.0, 60.0]], np.float32)
    np.testing.assert_array_equal(quantize(metres), [[0, 0, 397], [755, 4095, 4095]])
    np.testing.assert_allclose(dequantize(quantize(metres))[0, 1:], metres[0, 1:], atol=1e-3)


def test_a_missing_additional_stream_is_an_issue(tmp_path, recording, converted):
    file = mapping_file(tmp_path, {"skin": {"topic": "/left/skin", "modality": "tactile"}})
    report, _ = converted(recording(seconds=1).write(tmp_path / "bag"), mapping=load_mapping(file))
    ((_, (issue,)),) = report.left_out
    assert (issue.kind, issue.topic) == ("missing topic", "/left/skin")
