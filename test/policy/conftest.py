"""A latent space with random weights, demonstrations of reaching for a red square, and policies trained on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reaching import SIZE, image, reach, save

from latent_policy_ros.common.paths import artifact
from latent_policy_ros.embodiments import load_embodiment
from latent_policy_ros.latent import LatentSpace
from latent_policy_ros.observations.observation import Observation
from latent_policy_ros.policy import Policy
from latent_policy_ros.policy.checkpoint import Checkpoint
from latent_policy_ros.policy.grasp_space import GraspSpace
from latent_policy_ros.policy.settings import ModelSettings, PolicySettings, TrainingSettings
from latent_policy_ros.policy.training.train import human_grasp, train_policy


@pytest.fixture(scope="session", autouse=True)
def generated_files(tmp_path_factory):
    """Folder of the decoded images."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LATENT_POLICY_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def space():
    """The shipped latent space."""
    return LatentSpace.load(artifact("latents", "default"))


QUICK = PolicySettings(
    model=ModelSettings(
        image_size=SIZE, horizon=4, feature_dim=64, image_encoder_options={"keypoints": 8},
        denoiser_options={"width": 96, "blocks": 2},
    ),
    training=TrainingSettings(
        steps=500, batch_size=48, warmup_steps=50, learning_rate=2e-3, image_shift=2, checkpoint_every=10_000, ema_decay=0.99,
        position_noise=0.002, latent_dropout=0.2,
    ),
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Torch with one thread: small networks train faster, and results do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def grasp_space(space):
    """States and actions in that latent space."""
    return GraspSpace(space, human_grasp(space))


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory, space):
    """Folder with 40 episodes of each embodiment."""
    folder, rng = tmp_path_factory.mktemp("demonstrations"), np.random.default_rng(0)
    episodes = []
    for _ in range(40):
        for embodiment in ("faive_hand", "panda_gripper"):
            goal, start = rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1, 2)
            episodes.append(reach(goal, start, embodiment, space))
    save(folder, episodes, space)
    return folder


@pytest.fixture(scope="session")
def quick() -> PolicySettings:
    """Settings of a policy that trains in seconds."""
    return QUICK


@pytest.fixture(scope="session")
def with_training():
    """Function that changes training settings: ``with_training(settings, steps=1)``."""

    def change(settings, **changes):
        return settings.model_copy(update={"training": settings.training.model_copy(update=changes)})

    return change


@pytest.fixture(scope="session")
def trained(demonstrations, quick, space, tmp_path_factory) -> Policy:
    """A policy trained on the demonstrations."""
    folder = tmp_path_factory.mktemp("policy")
    checkpoint = train_policy(quick, [demonstrations], space, folder)
    assert Checkpoint.load(folder).policy_id == checkpoint.policy_id
    return Policy.load(folder, space)


@pytest.fixture(scope="session")
def observation():
    """Function that makes an observation of one embodiment, with any field changed."""

    def make(embodiment="faive_hand", **changes) -> Observation:
        hand, images = load_embodiment(embodiment), {"front": image(np.zeros(2), None)}
        pose = np.array([0, 0, 0.2, 0, 0, 0, 1.0])
        return replace(Observation(5.0, images, pose, np.zeros(len(hand.joint_names)), hand), **changes)

    return make
