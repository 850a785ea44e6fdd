"""Objectives: consistency training samples a distribution of two modes in one step, which diffusion cannot."""

import pytest
import torch

from latent_policy_ros.policy.denoisers.mlp import MLPDenoiser
from latent_policy_ros.policy.noise_schedule import NoiseSchedule
from latent_policy_ros.policy.objectives import OBJECTIVES, Consistency

MODES = torch.tensor([[0.6, -0.6], [-0.6, 0.6]])


def distance_to_modes(objective: str, sampling_steps: int, training_steps: int = 250) -> float:
    """Mean distance of samples to the nearer of two modes, after a short training on these modes."""
    torch.manual_seed(0)
    network = MLPDenoiser(1, 2, 1, width=48, blocks=2)
    trained = OBJECTIVES[objective](NoiseSchedule(100, sampling_steps))
    optimizer = torch.optim.AdamW(network.parameters())

    def denoise(noisy, t):
        return network(noisy[:, None], t, torch.zeros(len(noisy), 1))[:, 0]

    for step in range(training_steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / training_steps)
        clean = MODES[torch.randint(2, (128,))]
        loss = trained.squared_error(denoise, clean, step / training_steps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        samples = trained.sample(denoise, lambda: torch.randn(500, 2))
    distances = torch.cdist(samples, MODES)
    assert 0.3 < distances.argmin(dim=1).float().mean() < 0.7  # both modes are sampled
    return distances.amin(dim=1).mean().item()


def test_consistency_samples_in_few_steps():
    one_step_diffusion = distance_to_modes("diffusion", 1)
    assert one_step_diffusion > 0.6  # one prediction is the mean of both modes, 0.85 away
    assert distance_to_modes("consistency", 1) < 0.4 * one_step_diffusion
    assert distance_to_modes("consistency", 2) < 0.3 * one_step_diffusion


def test_distance_of_noise_levels_falls_from_diffusion_to_its_smallest_value():
    consistency = Consistency(NoiseSchedule(100, 2))
    distances = [consistency.distance(k / 100) for k in range(101)]
    assert distances[:31] == [1.0] * 31 and distances[90:] == pytest.approx([1 / 32] * 11)
    assert all(a >= b for a, b in zip(distances, distances[1:]))


def test_consistency_error_compares_two_levels_of_one_path():
    schedule, seen = NoiseSchedule(100, 1), []
    clean = torch.randn(400, 3)

    def denoise(noisy, t):
        alpha = schedule.alphas_cumprod[t].sqrt()[:, None]
        seen.append((t, (noisy - alpha * clean) / (1 - alpha**2).sqrt()))  # the noise
        return t[:, None].float().expand_as(noisy)

    error = Consistency(schedule).squared_error(denoise, clean, progress=1.0)
    (lower, noise), (t, same) = seen
    torch.testing.assert_close(noise, same, rtol=0.02, atol=0.02)
    gaps = t - lower
    below = t - torch.ceil((t + 1) / 32).long()
    assert torch.equal(lower, below.clamp(min=0)) and (gaps[t > 0] > 0).all()
    expected = torch.where(below < 0, (t[:, None] - clean).T, gaps.float()).T.square() * 32
    torch.testing.assert_close(error, expected)
