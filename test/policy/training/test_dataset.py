"""DemonstrationDataset: selection and resampling of episodes, windows, and shares of embodiments."""

from dataclasses import replace

import numpy as np
import pytest
from reaching import reach, save

from latent_policy_ros.common.errors import ArtifactError
from latent_policy_ros.data.lerobot.episodes import load_episode
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.observations.observation_buffer import ObservationBuffer
from latent_policy_ros.observations.resize import Resize
from latent_policy_ros.policy.training.dataset import DemonstrationDataset


def test_failed_episodes_are_skipped_and_unsuitable_data_sets_named(space, grasp_space, quick, tmp_path):
    good = reach(np.zeros(2), np.ones(2) * 0.1, "faive_hand", space)
    failure = replace(good, meta=replace(good.meta, success=False))
    save(tmp_path / "failure", [failure], space)
    with pytest.raises(ArtifactError, match="no successful episode in "):
        DemonstrationDataset([tmp_path / "failure"], quick, grasp_space)
    save(tmp_path / "good", [good, failure], space)
    assert DemonstrationDataset([tmp_path / "good"], quick, grasp_space).episodes == {"faive_hand": 1}
    foreign = replace(good, meta=replace(good.meta, embodiment_hash="ff" * 32))
    for name, episode, dt, message in (
        ("rate", good, 0.04, "rate/faive_hand: fps: expected a multiple of 10, as model.dt is 0.1 s .* got 25"),
        ("foreign", foreign, 0.1, "foreign/faive_hand: recorded with faive_hand ffffffffffff"),
        ("camera", replace(good, images={"side": good.images["front"]}), 0.1, r"camera/faive_hand: cameras: expected .*\['side'\]"),
    ):
        save(tmp_path / name, [episode], space, dt)
        with pytest.raises(ArtifactError, match=message):
            DemonstrationDataset([tmp_path / name], quick, grasp_space)
    with pytest.raises(ArtifactError, match="no such folder of data sets"):
        DemonstrationDataset([tmp_path / "none"], quick, grasp_space)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="no data set"):
        DemonstrationDataset([tmp_path / "empty"], quick, grasp_space)


def test_data_sets_are_resampled_to_dt_and_image_size(space, grasp_space, quick, tmp_path, with_training):
    episode = reach(np.zeros(2), np.ones(2) * 0.1, "faive_hand", space, frames=31)
    larger = {camera: images.repeat(3, axis=1).repeat(3, axis=2) for camera, images in episode.images.items()}
    save(tmp_path, [replace(episode, images=larger)], space, dt=1 / 30)
    data = DemonstrationDataset([tmp_path], with_training(quick, batch_size=11, camera_dropout={}), grasp_space)
    assert len(data) == 11
    x = data.batch(np.random.default_rng(0), augment=False).observations.states.numpy()[:, -1, 0]
    assert set(np.round(x * data.scaling.state_scale[0] + data.scaling.state_offset[0], 5)) <= set(
        np.round(grasp_space.states(load_embodiment("faive_hand"), episode.wrist_pose, episode.hand)[::3, 0], 5)
    )
    images = data.batch(np.random.default_rng(0), augment=False).observations.images["front"].images.numpy()
    truth = episode.images["front"][::3].astype(int)
    assert all(np.abs(truth - image).mean(axis=(1, 2, 3)).min() < 6 for image in images.astype(int))


def test_wide_images_are_those_of_the_robot(space, grasp_space, quick, tmp_path, with_training):
    """Training and the robot resize the same image in the same way, which the model settings choose."""
    episode = reach(np.zeros(2), np.ones(2) * 0.1, "faive_hand", space, frames=6)
    wide = {camera: images.repeat(2, axis=2) for camera, images in episode.images.items()}
    save(tmp_path / "wide", [replace(episode, images=wide)], space)
    reader, seen = LeRobotReader(tmp_path / "wide" / "faive_hand"), {}
    for fit in ("crop", "pad"):
        settings = with_training(quick, batch_size=1, camera_dropout={})
        settings = settings.model_copy(update={"model": settings.model.model_copy(update={"image_fit": fit})})
        data = DemonstrationDataset([tmp_path / "wide"], settings, grasp_space, cache=tmp_path / "cache")
        trained = data.batch(np.random.default_rng(0), augment=False).observations.images["front"].images.numpy()[0]
        buffer = ObservationBuffer(("front",), load_embodiment("faive_hand"), resize=settings.model.resize)
        for frame in reader.images(0, "front"):
            buffer.push_image("front", 0.0, frame)
            seen.setdefault(fit, []).append(settings.model.resize(frame))
        assert buffer.image_sizes == {"front": frame.shape[:2]} and frame.shape[1] == 2 * frame.shape[0]
        assert any(np.array_equal(trained, image) for image in seen[fit])
    top = settings.model.image_size // 8
    assert np.max(seen["pad"][0][:top]) == 0 and np.max(seen["crop"][0][:top]) > 0


def test_windows_are_clamped_to_their_episode(demonstrations, quick, space, grasp_space, with_training):
    data = DemonstrationDataset([demonstrations], with_training(quick, batch_size=400), grasp_space)
    starts = set()
    for name in ("faive_hand", "panda_gripper"):
        reader = LeRobotReader(demonstrations / name)
        for k in range(len(reader)):
            episode = load_episode(reader, k, (), Resize(32, 32))
            starts.add(grasp_space.states(load_embodiment(name), episode.wrist_pose[:1], episode.hand[:1])[0, 0])
    batch = data.batch(np.random.default_rng(0), augment=False)
    x = batch.observations.states.numpy()[..., 0] * data.scaling.state_scale[0] + data.scaling.state_offset[0]
    first = np.isclose(x[:, 0], x[:, 1])
    assert first.any() and all(min(abs(v - s) for s in starts) < 1e-6 for v in x[first & (np.abs(x[:, 0]) > 0.02), 0][:20])


def test_embodiments_have_equal_shares_by_default(demonstrations, quick, space, grasp_space, tmp_path, with_training):
    save(tmp_path, [reach(np.full(2, 0.1 * i), np.zeros(2), "panda_gripper", space) for i in range(3)], space)
    data = DemonstrationDataset([tmp_path, demonstrations], with_training(quick, batch_size=100, camera_dropout={}), grasp_space)
    wrist = data.batch(np.random.default_rng(0)).observations.images["wrist"]
    assert len(wrist.rows) == len(wrist.images) == 50  # only hands have a wrist camera


@pytest.mark.parametrize(("weight", "hands"), [(1.0, 50), (3.0, 75), (0.25, 20)])
def test_mixture_weights_set_the_share_of_each_embodiment(space, grasp_space, quick, tmp_path, weight, hands, with_training):
    save(tmp_path, [reach(np.zeros(2), np.ones(2) * 0.1, name, space) for name in ("faive_hand", "panda_gripper")], space)
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text(f"datasets: [{{path: faive_hand, weight: {weight}}}, {{path: panda_gripper, weight: 1}}]")
    data = DemonstrationDataset([tmp_path], with_training(quick, batch_size=100, camera_dropout={}), grasp_space)
    wrist = data.batch(np.random.default_rng(0)).observations.images["wrist"]
    assert abs(len(wrist.rows) - hands) <= 1
    mixture.write_text("datasets: [{path: faive_hand, weight: 0}]")
    with pytest.raises(ArtifactError, match="weight of faive_hand: expected a number greater than 0, got 0"):
        DemonstrationDataset([tmp_path], quick, grasp_space)


def test_mixture_weights_set_the_share_of_data_sets_of_one_embodiment(space, grasp_space, quick, tmp_path, with_training):
    for name, height, weight in (("sim", 0.2, 1), ("real", 0.9, 9)):
        episode = reach(np.zeros(2), np.ones(2) * 0.1, "faive_hand", space)
        episode.wrist_pose[:, 2] = height
        save(tmp_path / name, [episode], space)
        (tmp_path / name / "mixture.yaml").write_text(f"datasets: [{{path: faive_hand, weight: {weight}}}]")
    shares = []
    for order in (("sim", "real"), ("real", "sim")):
        data = DemonstrationDataset([tmp_path / name for name in order], with_training(quick, batch_size=2000), grasp_space)
        z = data.batch(np.random.default_rng(0), augment=False).observations.states.numpy()[:, -1, 2]
        shares.append(np.mean(z * data.scaling.state_scale[2] + data.scaling.state_offset[2] > 0.5))
    assert np.abs(np.array(shares) - 0.9).max() < 0.03
