"""Demonstrations on disk: only successes, reproducible, resumable, with the plan's own commands."""

import numpy as np
import pytest

from latent_policy_ros.data.episodes import Episode
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.errors import ConfigError
from latent_policy_ros.sim import generate
from latent_policy_ros.sim.expert import plan
from latent_policy_ros.sim.generate import episode_file, generate_episodes, run_episode
from latent_policy_ros.sim.render import choose_gl
from latent_policy_ros.sim.world import World

pytestmark = pytest.mark.skipif(choose_gl() == "disable", reason="no EGL or OSMesa here (apt install libegl1)")


def test_episodes_are_kept_and_made_anew_only_where_missing(tmp_path):
    seen = []
    report = generate_episodes("panda_gripper", [0, 1], tmp_path, workers=1, progress=lambda seed, ok: seen.append(seed))
    assert (report.written, report.kept, report.failed, sorted(seen)) == (2, 0, (), [0, 1])
    first = episode_file(tmp_path, "panda_gripper", 0)
    content = first.read_bytes()
    episode_file(tmp_path, "panda_gripper", 1).write_bytes(content[:1000])  # as after a full disk
    report = generate_episodes("panda_gripper", [0, 1], tmp_path, workers=1)
    assert (report.written, report.kept) == (1, 1)
    episode = Episode.load(first)
    e = load_embodiment("panda_gripper")
    assert episode.meta.success and episode.meta.embodiment_hash == e.content_hash
    assert set(episode.images) == {"front"} and episode.images["front"].shape[1:] == (96, 96, 3)
    assert episode.hand.shape == (len(episode), 1) and episode.hand.max() <= 1.01
    assert episode.hand_command.min() < 0.6 < episode.hand_command.max()


def test_same_seed_same_episode():
    world = World("mimic_hand")
    one, other = run_episode(world, 4), run_episode(world, 4)
    assert set(one.images) == {"front", "wrist"}
    np.testing.assert_array_equal(one.wrist_pose, other.wrist_pose)
    np.testing.assert_array_equal(one.images["wrist"], other.images["wrist"])


def test_a_disturbed_episode_records_the_plan_not_the_disturbance():
    world = World("panda_gripper", cameras=())
    calm, pushed = run_episode(world, 5, disturbed=0.0), run_episode(world, 5, disturbed=1.0)
    world.reset(5)
    np.testing.assert_array_equal(pushed.wrist_command, plan(world).wrist)
    np.testing.assert_array_equal(pushed.wrist_command, calm.wrist_command)
    off = np.linalg.norm(pushed.wrist_pose[:, :3] - calm.wrist_pose[:, :3], axis=1)
    assert 0.004 < off.max() < 0.1


def test_failures_are_counted_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(World, "success", lambda self: False)
    report = generate_episodes("panda_gripper", [0], tmp_path, workers=1)
    assert report.failed == (0,) and not list(tmp_path.iterdir())
    assert "1 failed (seeds 0)" in str(report)


def test_unknown_embodiment_is_named_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="no embodiment 'tentacle'"):
        generate_episodes("tentacle", [0], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_about_half_of_the_seeds_are_disturbed():
    draws = [np.random.default_rng([generate.DISTURBANCE_STREAM, seed]).random() < generate.DISTURBED for seed in range(200)]
    assert 70 < sum(draws) < 130
