"""Losses on cases with known values."""

import numpy as np
import pytest
import torch

from latent_policy_ros.latent.losses import alignment_loss, fingertip_error, info_nce, pinch_error, soft_targets


def unit_rows(count, dim=8, seed=0):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_info_nce_of_matching_and_of_equal_rows():
    z = unit_rows(64)
    assert info_nce(z, z, 0.05) < info_nce(z, z.roll(1, 0), 0.05)
    same = z[:1].expand(64, 8)
    assert info_nce(same, same, 0.05).item() == pytest.approx(np.log(64), rel=1e-5)


def test_info_nce_is_finite_at_any_temperature():
    first, second = torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[-1.0, 0.0], [-1.0, 0.1]], requires_grad=True)
    loss = info_nce(first, second, 0.005)
    loss.backward()
    assert loss.isfinite() and second.grad.isfinite().all()


def test_info_nce_is_the_symmetric_cross_entropy():
    first, second = unit_rows(20, seed=1), unit_rows(20, seed=2)
    logits = first @ second.T / 0.2
    rows = torch.arange(20)
    expected = 0.5 * (torch.nn.functional.cross_entropy(logits, rows) + torch.nn.functional.cross_entropy(logits.T, rows))
    assert info_nce(3 * first, second, 0.2).item() == pytest.approx(expected.item(), rel=1e-5)  # independent of length


def test_info_nce_with_soft_targets_is_the_cross_entropy():
    first, second, keyvectors = unit_rows(20, seed=1), unit_rows(20, seed=2), torch.randn(20, 3, 3)
    targets = soft_targets(keyvectors, 1.0)
    logits = first @ second.T / 0.2
    expected = 0.5 * sum(torch.nn.functional.cross_entropy(side, targets) for side in (logits, logits.T))
    assert info_nce(first, second, 0.2, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_targets_fall_with_keyvector_distance():
    keyvectors = torch.zeros(4, 9, 3)
    keyvectors[1, :, 0], keyvectors[2, :, 0], keyvectors[3, :, 0] = 0.003, 0.01, 0.1  # RMS distances from the first [m]
    targets = soft_targets(keyvectors, 0.01)
    assert torch.allclose(targets.sum(dim=1), torch.ones(4))
    assert (targets[0, 2] / targets[0, 0]).item() == pytest.approx(np.exp(-0.5), rel=1e-3)
    assert targets[0, 1] > 0.9 * targets[0, 0] and targets[0, 3] < 1e-6


def test_fingertip_error_is_in_centimetres():
    truth = torch.rand(5, 4, 3) * 0.1
    tips = truth.clone()
    tips[:, 2, 1] += 0.02
    assert torch.allclose(fingertip_error(tips, truth), torch.full((5,), 2.0 / 4), atol=0.02)
    assert (fingertip_error(truth, truth) < 0.02).all()


def test_pinch_error_weights_contact_more_than_open_fingers():
    pinching = torch.tensor([[[0.0, 0, 0], [0.012, 0, 0]]])
    open_fingers = torch.tensor([[[0.0, 0, 0], [0.15, 0, 0]]])
    shift = torch.tensor([[[0.0, 0, 0], [0.01, 0, 0]]])
    assert pinch_error(pinching + shift, pinching).item() == pytest.approx(2.0, abs=0.05)  # 1 cm as a vector, 1 cm in length
    assert pinch_error(open_fingers + shift, open_fingers).item() < 0.02
    turned = torch.tensor([[[0.0, 0, 0], [0, 0.012, 0]]])
    assert 0 < pinch_error(turned, pinching).item() < pinch_error(turned * 3, pinching).item()
    everything = torch.tensor([1.0, 2.0, 3.0])  # moving the whole hand does not change a pinch
    assert pinch_error(pinching + everything, pinching).item() < 0.03


def test_alignment_loss_ignores_pairs_of_frozen_latents():
    latents = torch.stack([3.0 * unit_rows(20, seed=seed) for seed in range(4)])
    cosine = lambda i, j: torch.cosine_similarity(latents[i], latents[j]).mean()
    pairs = {(i, j): 1 - cosine(i, j) for i in range(4) for j in range(i)}
    assert alignment_loss(latents).item() == pytest.approx(float(sum(pairs.values()) / 6), abs=1e-5)
    learning = [value for pair, value in pairs.items() if 0 in pair]
    assert alignment_loss(latents, latents[1:]).item() == pytest.approx(float(sum(learning) / 3), abs=1e-5)
    assert alignment_loss(torch.stack([latents[0]] * 3)).item() == pytest.approx(0, abs=1e-5)
