"""The losses say what they should, on cases whose answer is known."""

import numpy as np
import pytest
import torch

from latent_policy_ros.latent.losses import fingertip_error, info_nce, likeness, misalignment, pinch_error


def unit_rows(count, dim=8, seed=0):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_info_nce_is_lowest_for_matching_rows_and_chance_for_equal_ones():
    z = unit_rows(64)
    assert info_nce(z, z, 0.05) < info_nce(z, z.roll(1, 0), 0.05)
    same = z[:1].expand(64, 8)
    assert info_nce(same, same, 0.05).item() == pytest.approx(np.log(64), rel=1e-5)


def test_info_nce_is_finite_at_any_temperature():
    first, second = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[-1.0, 0.0], [-1.0, 0.1]], requires_grad=True)
    loss = info_nce(first, second, 0.005)
    loss.backward()
    assert loss.isfinite() and second.grad.isfinite().all()


def test_info_nce_is_the_cross_entropy_both_ways():
    first, second = unit_rows(20, seed=1), unit_rows(20, seed=2)
    logits = first @ second.T / 0.2
    rows = torch.arange(20)
    expected = 0.5 * (torch.nn.functional.cross_entropy(logits, rows) + torch.nn.functional.cross_entropy(logits.T, rows))
    assert info_nce(3 * first, second, 0.2).item() == pytest.approx(expected.item(), rel=1e-5)  # whatever the length


def test_soft_targets_are_the_cross_entropy_with_shares():
    first, second, keyvectors = unit_rows(20, seed=1), unit_rows(20, seed=2), torch.randn(20, 3, 3)
    alike = likeness(keyvectors, 1.0)
    logits = first @ second.T / 0.2
    expected = 0.5 * sum(torch.nn.functional.cross_entropy(side, alike) for side in (logits, logits.T))
    assert info_nce(first, second, 0.2, alike).item() == pytest.approx(expected.item(), rel=1e-5)


def test_likeness_falls_with_the_keyvectors_distance():
    keyvectors = torch.zeros(4, 9, 3)
    keyvectors[1, :, 0], keyvectors[2, :, 0], keyvectors[3, :, 0] = 0.003, 0.01, 0.1  # RMS distances from the first [m]
    alike = likeness(keyvectors, 0.01)
    assert torch.allclose(alike.sum(dim=1), torch.ones(4))
    assert (alike[0, 2] / alike[0, 0]).item() == pytest.approx(np.exp(-0.5), rel=1e-3)
    assert alike[0, 1] > 0.9 * alike[0, 0] and alike[0, 3] < 1e-6


def test_a_shift_of_a_fingertip_costs_its_length_in_centimetres():
    truth = torch.rand(5, 4, 3) * 0.1
    tips = truth.clone()
    tips[:, 2, 1] += 0.02
    assert torch.allclose(fingertip_error(tips, truth), torch.full((5,), 2.0 / 4), atol=0.02)
    assert (fingertip_error(truth, truth) < 0.02).all()


def test_a_pinch_that_opens_costs_more_than_open_fingers_that_move():
    pinching = torch.tensor([[[0.0, 0, 0], [0.012, 0, 0]]])
    apart = torch.tensor([[[0.0, 0, 0], [0.15, 0, 0]]])
    shift = torch.tensor([[[0.0, 0, 0], [0.01, 0, 0]]])
    assert pinch_error(pinching + shift, pinching).item() == pytest.approx(2.0, abs=0.05)  # 1 cm as a vector, 1 cm in length
    assert pinch_error(apart + shift, apart).item() < 0.02
    turned = torch.tensor([[[0.0, 0, 0], [0, 0.012, 0]]])
    assert 0 < pinch_error(turned, pinching).item() < pinch_error(turned * 3, pinching).item()
    everything = torch.tensor([1.0, 2.0, 3.0])  # moving the whole hand is no pinch error
    assert pinch_error(pinching + everything, pinching).item() < 0.03


def test_misalignment_is_the_mean_over_pairs_but_not_over_pairs_of_known_ones():
    latents = torch.stack([3.0 * unit_rows(20, seed=seed) for seed in range(4)])
    cosine = lambda i, j: torch.cosine_similarity(latents[i], latents[j]).mean()
    pairs = {(i, j): 1 - cosine(i, j) for i in range(4) for j in range(i)}
    assert misalignment(latents).item() == pytest.approx(float(sum(pairs.values()) / 6), abs=1e-5)
    learning = [value for pair, value in pairs.items() if 0 in pair]
    assert misalignment(latents, latents[1:]).item() == pytest.approx(float(sum(learning) / 3), abs=1e-5)
    assert misalignment(torch.stack([latents[0]] * 3)).item() == pytest.approx(0, abs=1e-5)
