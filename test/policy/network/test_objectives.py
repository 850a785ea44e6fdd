"""Objectives: consistency training samples a distribution of two modes in one step, which diffusion cannot."""

import math

import pytest
import torch

from latent_policy_ros.policy.network.denoisers.mlp import MLPDenoiser
from latent_policy_ros.policy.network.noise_schedule import NoiseSchedule
from latent_policy_ros.policy.network.objectives import Consistency

MODES = torch.tensor([[0.6, -0.6], [-0.6, 0.6]])


def test_consistency_samples_both_modes_in_one_or_two_steps():
    """A network that is trained for diffusion returns the mean of both modes in one step, at a distance of 0.85."""
    torch.manual_seed(0)
    network, schedule, steps, batch = MLPDenoiser(1, 2, 1, width=64, blocks=2), NoiseSchedule(100, 1), 800, 256
    consistency = Consistency(schedule)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def denoise(noisy, t):
        return network(noisy[:, None], t, torch.zeros(len(noisy), 1))[:, 0]

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 + math.cos(math.pi * step / steps))
        clean, t = MODES[torch.randint(2, (batch,))], torch.randint(100, (batch,))
        loss = consistency.squared_error(denoise, clean, t, torch.randn_like(clean), step / steps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for sampling_steps in (1, 2):
        sampler = Consistency(NoiseSchedule(100, sampling_steps))
        with torch.no_grad():
            samples = sampler.sample(lambda noisy, t: denoise(noisy, torch.tensor([t])), lambda: torch.randn(500, 2))
            distances = torch.cdist(samples, MODES)
        assert distances.amin(dim=1).mean() < 0.4
        assert 0.3 < distances.argmin(dim=1).float().mean() < 0.7


def test_distance_of_noise_levels_falls_from_diffusion_to_its_smallest_value():
    consistency = Consistency(NoiseSchedule(100, 2))
    distances = [consistency.distance(k / 100) for k in range(101)]
    assert distances[:31] == [1.0] * 31 and distances[90:] == pytest.approx([1 / 32] * 11)
    assert all(a >= b for a, b in zip(distances, distances[1:]))


def test_consistency_error_compares_two_levels_of_one_path():
    schedule, seen = NoiseSchedule(100, 1), []
    clean, t = torch.randn(400, 3), torch.randint(100, (400,))

    def denoise(noisy, t):
        alpha = schedule.alphas_cumprod[t].sqrt()[:, None]
        seen.append((t, (noisy - alpha * clean) / (1 - alpha**2).sqrt()))  # the noise
        return t[:, None].float().expand_as(noisy)

    error = Consistency(schedule).squared_error(denoise, clean, t, torch.randn_like(clean), progress=1.0)
    (lower, noise), (upper, same) = seen
    assert torch.equal(upper, t)
    torch.testing.assert_close(noise, same, rtol=0.02, atol=0.02)
    gaps = t - lower
    below = t - torch.ceil((t + 1) / 32).long()
    assert torch.equal(lower, below.clamp(min=0)) and (gaps[t > 0] > 0).all()
    expected = torch.where(below < 0, (t[:, None] - clean).T, gaps.float()).T.square() * 32
    torch.testing.assert_close(error, expected)
