"""NoiseSchedule equals the schedulers of diffusers."""

import pytest
import torch

from latent_policy_ros.policy.network.noise_schedule import NoiseSchedule

LEVELS_AND_STEPS = [(100, 8), (100, 100), (100, 7), (100, 1), (50, 16), (1000, 10)]


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


def options(levels):
    return {"num_train_timesteps": levels, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}


@pytest.mark.parametrize(("levels", "steps"), LEVELS_AND_STEPS)
def test_sampling_equals_ddim(diffusers, levels, steps):
    reference = diffusers.DDIMScheduler(**options(levels), timestep_spacing="trailing")
    reference.set_timesteps(steps)
    schedule = NoiseSchedule(levels, steps)
    assert schedule.timesteps == reference.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 16, 41, generator=generator)
    for t in schedule.timesteps:
        predicted = 1.5 * torch.randn(3, 16, 41, generator=generator)  # some values are clipped
        expected = reference.step(predicted, t, samples).prev_sample
        torch.testing.assert_close(schedule.step(predicted, t, samples), expected, rtol=1e-6, atol=1e-6)
        samples = expected


@pytest.mark.parametrize("levels", [50, 100, 1000])
def test_noise_equals_ddpm(diffusers, levels):
    reference = diffusers.DDPMScheduler(**options(levels))
    clean, noise = torch.randn(2, levels, 16, 41)
    t = torch.arange(levels)
    added = NoiseSchedule(levels, 1).add_noise(clean, noise, t)
    torch.testing.assert_close(added, reference.add_noise(clean, noise, t), rtol=1e-6, atol=1e-6)


def test_sample_applies_all_steps():
    schedule = NoiseSchedule(100, 8)
    levels = []

    def denoise(noisy, t):
        levels.append(t)
        return torch.full_like(noisy, 0.25)

    torch.testing.assert_close(schedule.sample(denoise, torch.randn(2, 4, 5)), torch.full((2, 4, 5), 0.25))
    assert levels == schedule.timesteps
