"""Rollouts in simulation: simulated time, and images of the policy's size."""

import numpy as np
import pytest

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.common.parallel import Shard, Workers
from latent_policy_ros.common.paths import artifact
from latent_policy_ros.control.joint_controller import CONTROL_RATE
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.network.diffusion import PolicyNetwork
from latent_policy_ros.policy.scaling import Scaling
from latent_policy_ros.policy.settings import ModelSettings
from latent_policy_ros.policy.training.train import human_grasp
from latent_policy_ros.sim import evaluation
from latent_policy_ros.sim.evaluation import RobotRollout, Rollout, evaluate, rollouts
from latent_policy_ros.sim.render import choose_gl
from latent_policy_ros.sim.world import World


@pytest.mark.parametrize("dt", [0.1, 0.05, 1 / 30, 0.01])
def test_rollout_advances_by_the_time_step_of_the_policy(dt):
    robot = RobotRollout(World("panda_gripper"), 0, LatentSpace.load(artifact("latents", "default")))
    for _ in range(12):
        robot.advance(dt)
    assert 12 * dt - 1e-6 <= robot.time < 12 * dt + 1 / CONTROL_RATE
    assert robot.world.time == pytest.approx(robot.time)


@pytest.mark.skipif(choose_gl() == "disable", reason="no EGL or OSMesa here (apt install libegl1)")
def test_policy_with_smaller_images_is_evaluated():
    space = LatentSpace.load(artifact("latents", "default"))
    settings = ModelSettings(
        image_size=64, feature_dim=32, sampling_steps=2, image_encoder_options={"keypoints": 8},
        denoiser_options={"width": 32, "blocks": 1},
    )  # fmt: skip
    weights = {k: v.numpy().astype(np.float32) for k, v in PolicyNetwork(settings, space.dim).state_dict().items()}
    ones = np.ones((settings.horizon, 9 + space.dim), np.float32)
    state = np.ones(10 + space.dim, np.float32)
    scaling = Scaling(0 * state, state, 0 * ones, 0.02 * ones)
    policy = Policy(Checkpoint(settings, space.latent_id, scaling, human_grasp(space), weights), space)
    (result,) = rollouts(policy, space, [("panda_gripper", 5)], time_limit=0.15)
    assert result == Rollout("panda_gripper", 5, False, pytest.approx(0.2))


def test_finished_rollouts_are_stored_and_shards_complete_each_other(tmp_path, monkeypatch):
    ran = []

    def run(policy, latent, jobs, **options):
        ran.extend(jobs)
        return [Rollout(name, seed, seed % 2 == 0, 1.0) for name, seed in jobs]

    monkeypatch.setattr(evaluation, "rollouts", run)
    folders, names = (artifact("policies", "default"), artifact("latents", "default")), ["mimic_hand", "panda_gripper"]

    def call(shard="1/1", **options):
        return evaluate(*folders, names, range(20), workers=Workers(1), results=tmp_path, shard=Shard.parse(shard), **options)

    parts = [call("1/3"), call("2/3"), call("3/3")]
    assert len(ran) == 40 and sorted(r.seed for part in parts for r in part) == sorted([*range(20)] * 2)
    results = call()
    assert len(ran) == 40 and results == sorted((r for part in parts for r in part), key=lambda r: (r.embodiment, r.seed))
    call(latency=0.2)  # another question
    assert len(ran) == 80
    with pytest.raises(LatentPolicyError, match="sampling_steps: expected 1 to 100, the noise levels of the policy, got 101"):
        call(sampling_steps=101)
