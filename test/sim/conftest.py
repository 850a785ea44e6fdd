import pytest

from latent_policy_ros.sim.world import World


@pytest.fixture(params=["mimic_hand", "faive_hand", "panda_gripper"])
def world(request):
    return World(request.param)
