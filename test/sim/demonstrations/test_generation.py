"""Demonstration data sets: only successes, reproducible, resumable, with the undisturbed commands."""

import dataclasses

import numpy as np
import pytest

from latent_policy_ros.common.errors import ArtifactError, ConfigError, LatentPolicyError
from latent_policy_ros.common.parallel import Shard, Workers
from latent_policy_ros.data.lerobot.episodes import load_episode
from latent_policy_ros.data.lerobot.reader import LeRobotReader
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.observations.resize import DEFAULT_RESIZE
from latent_policy_ros.sim.demonstrations import generation, missed_grasp
from latent_policy_ros.sim.demonstrations.generation import generate_episodes, run_episode
from latent_policy_ros.sim.render import choose_gl
from latent_policy_ros.sim.world import World

ONE = Workers(1)

pytestmark = pytest.mark.skipif(choose_gl() == "disable", reason="no EGL or OSMesa here (apt install libegl1)")


def test_existing_episodes_are_kept(tmp_path):
    seen = []
    report = generate_episodes("panda_gripper", [0, 1], tmp_path, workers=ONE, progress=lambda seed, ok: seen.append(seed))
    assert (report.written, report.kept, report.failed, sorted(seen)) == (2, 0, (), [0, 1])
    report = generate_episodes("panda_gripper_right", [0, 1, 2], tmp_path, workers=ONE)  # whatever it is called
    assert (report.written, report.kept) == (1, 2)
    reader, e = LeRobotReader(tmp_path / "panda_gripper"), load_embodiment("panda_gripper")
    assert [told["seed"] for told in reader.episode_metadata] == [0, 1, 2] and reader.identity.embodiment_hash == e.content_hash
    made = run_episode(World("panda_gripper"), 1)
    episode = load_episode(reader, 1, ("front", "wrist"), DEFAULT_RESIZE)
    assert episode.meta == dataclasses.replace(made.meta, dt=0.1) and set(episode.images) == {"front", "wrist"}
    for name in ("wrist_pose", "hand", "wrist_command", "hand_command"):
        np.testing.assert_allclose(getattr(episode, name), getattr(made, name), atol=1e-5)
    error = episode.images["front"].astype(float) - made.images["front"]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 45  # dB: next to nothing is lost
    assert (tmp_path / "mixture.yaml").is_file()


def test_interrupted_generation_resumes(tmp_path, monkeypatch):
    def stop(seed, ok):
        if seed == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_episodes("panda_gripper", range(6), tmp_path, workers=ONE, progress=stop)
    assert not (tmp_path / "panda_gripper").exists()
    report = generate_episodes("panda_gripper", range(6), tmp_path, workers=ONE)
    assert (report.written, report.kept) == (0, 6) and len(LeRobotReader(tmp_path / "panda_gripper")) == 6


def test_shards_share_a_staging_area_and_a_call_without_shards_completes_them(tmp_path):
    for part in ("1/2", "2/2"):
        report = generate_episodes("panda_gripper", range(4), tmp_path, workers=ONE, shard=Shard.parse(part))
        assert (report.written, report.kept) == (2, 0) and not (tmp_path / "panda_gripper").exists()
    report = generate_episodes("panda_gripper", range(4), tmp_path, workers=ONE)
    assert (report.written, report.kept) == (0, 4) and len(LeRobotReader(tmp_path / "panda_gripper")) == 4


def test_a_data_set_of_another_rate_is_refused(tmp_path, monkeypatch):
    generate_episodes("panda_gripper", [0], tmp_path, workers=ONE)
    monkeypatch.setattr(generation, "DT", 0.2)
    with pytest.raises(ArtifactError, match="fps: expected 10, as in the data set, got 5"):
        generate_episodes("panda_gripper", [1], tmp_path, workers=ONE)


def test_equal_seeds_give_equal_episodes():
    world = World("mimic_hand")
    one, other = run_episode(world, 4), run_episode(world, 4)
    assert set(one.images) == {"front", "wrist"}
    np.testing.assert_array_equal(one.wrist_pose, other.wrist_pose)
    np.testing.assert_array_equal(one.images["wrist"], other.images["wrist"])


def test_disturbed_episode_records_the_undisturbed_commands():
    world = World("panda_gripper", cameras=())
    calm, pushed = (run_episode(world, 5, disturbed, missed=0.0) for disturbed in (0.0, 1.0))
    world.reset(5)
    np.testing.assert_array_equal(pushed.wrist_command, world.task.expert(world).wrist)
    np.testing.assert_array_equal(pushed.wrist_command, calm.wrist_command)
    off = np.linalg.norm(pushed.wrist_pose[:, :3] - calm.wrist_pose[:, :3], axis=1)
    assert 0.004 < off.max() < 0.1


def test_episodes_of_several_tasks_and_arms_share_a_data_set(tmp_path):
    options = {"workers": ONE, "disturbed": 0.0}
    for choice in ({}, {"task": "lift_cube"}, {"arm": "ur5"}, {"task": "lift_cube"}):
        generate_episodes("panda_gripper", [0], tmp_path, **choice, **options)
    reader = LeRobotReader(tmp_path / "panda_gripper")
    tasks = [load_episode(reader, i, ("front",), DEFAULT_RESIZE).meta.task for i in range(len(reader))]
    assert sorted(tasks) == ["lift the red cube", *["pick up the red cube and put it into the blue box"] * 2]


def test_failures_are_counted_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "success", lambda self: False)
    report = generate_episodes("panda_gripper", [0], tmp_path, workers=ONE)
    assert report.failed == (0,) and not list(tmp_path.iterdir())
    assert "1 failed (seeds 0)" in str(report)


def test_unknown_embodiment_or_task_is_refused_without_output(tmp_path):
    with pytest.raises(ConfigError, match="no embodiment 'tentacle'"):
        generate_episodes("tentacle", [0], tmp_path / "new")
    with pytest.raises(LatentPolicyError, match="unknown task 'juggle'"):
        generate_episodes("panda_gripper", [0], tmp_path / "new", task="juggle")
    assert not (tmp_path / "new").exists()


def test_demonstration_starts_after_a_missed_grasp_and_succeeds():
    world = World("panda_gripper", cameras=())
    direct, again = (run_episode(world, 5, 0.0, missed) for missed in (0.0, 1.0))
    assert direct.meta.success and again.meta.success
    world.reset(5)
    at_start, closed = world.hand_q, world.task.expert(world).hand.min(axis=0)
    np.testing.assert_allclose(direct.hand[0], world.embodiment.to_action(at_start))
    aperture = world.embodiment.to_joints(again.hand[0])
    assert np.abs(aperture - closed).max() < 0.005  # m: closed on nothing
    assert again.wrist_pose[0, 2] < direct.wrist_pose[0, 2] - 0.05  # m: down at the object
    assert not np.array_equal(again.wrist_command, direct.wrist_command)


def test_grasp_that_takes_hold_is_not_a_miss(monkeypatch):
    world = World("panda_gripper", cameras=())
    monkeypatch.setattr(missed_grasp, "SHIFT", (0.0, 0.0))
    monkeypatch.setattr(missed_grasp, "RAISE", 0.0)
    world.reset(5)
    before = world.wrist_pose
    assert not missed_grasp.miss_grasp(world, 5, np.random.default_rng(0))
    np.testing.assert_array_equal(world.wrist_pose, before)  # it was reset


def test_share_of_seeds_that_start_after_a_miss_or_are_disturbed(monkeypatch):
    missed, disturbed = [], []
    monkeypatch.setattr(generation, "miss_grasp", lambda world, seed, rng: missed.append(seed))
    monkeypatch.setattr(generation, "record", lambda world, plan, seed, disturbance: disturbance and disturbed.append(seed))
    world = World("panda_gripper", cameras=())
    for seed in range(100):
        run_episode(world, seed)
    assert 17 < len(missed) < 44 and 35 < len(disturbed) < 65
