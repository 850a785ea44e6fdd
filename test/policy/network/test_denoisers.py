"""Denoisers: convolutions against torch's, causality, dependence on all inputs, and training to a known chunk."""

import pytest
import torch
from torch.nn import functional as F

from latent_policy_ros.common.errors import LatentPolicyError
from latent_policy_ros.policy.network.components import build
from latent_policy_ros.policy.network.denoisers import DENOISERS
from latent_policy_ros.policy.network.denoisers.levels import at_levels
from latent_policy_ros.policy.network.denoisers.step_convolution import Downsampling, StepConvolution, Upsampling

SHAPE = {"horizon": 8, "action_dim": 5, "condition_dim": 16}
SMALL = {
    "mlp": {"width": 32, "blocks": 2},
    "unet": {"widths": (16, 32), "groups": 4},
    "transformer": {"width": 32, "layers": 2, "heads": 2},
}


@pytest.fixture(params=sorted(SMALL))
def denoiser(request):
    torch.manual_seed(0)
    return build(DENOISERS, request.param, SMALL[request.param], **SHAPE)


def test_every_denoiser_is_tested():
    assert set(SMALL) == set(DENOISERS.names())


@pytest.mark.parametrize(("steps", "kernel"), [(16, 5), (4, 5), (4, 3), (1, 5), (7, 1)])
def test_step_convolution_equals_conv1d(steps, kernel):
    torch.manual_seed(0)
    ours = StepConvolution(6, 10, kernel).double()
    x = torch.randn(steps, 3, 6, dtype=torch.float64, requires_grad=True)
    reference = F.conv1d(x.permute(1, 2, 0), ours.weight.permute(2, 1, 0), ours.bias, padding=kernel // 2).permute(2, 0, 1)
    torch.testing.assert_close(ours(x), reference)
    loss = torch.randn_like(reference)
    inputs = (x, ours.weight, ours.bias)
    for got, expected in zip(
        torch.autograd.grad((ours(x) * loss).sum(), inputs), torch.autograd.grad((reference * loss).sum(), inputs)
    ):
        torch.testing.assert_close(got, expected)


def test_step_convolution_runs_in_the_precision_of_autocast():
    layer, x = StepConvolution(8, 8, 5), torch.randn(4, 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


def test_sampling_of_steps_equals_strided_convolutions():
    torch.manual_seed(0)
    x, down, up = torch.randn(8, 3, 6), Downsampling(6), Upsampling(6)
    signal = x.permute(1, 2, 0)
    weight = down.weight.unflatten(1, (3, 6)).transpose(1, 2)
    expected = F.conv1d(signal, weight, down.bias, stride=2, padding=1).permute(2, 0, 1)
    torch.testing.assert_close(down(x), expected)
    up.odd.bias.data.copy_(up.even.bias)
    (before, here), (there, after) = (layer.weight.T.chunk(2) for layer in (up.even, up.odd))  # (in, out) each
    weight = torch.stack([after, here, there, before], dim=2)
    expected = F.conv_transpose1d(signal, weight, up.even.bias, stride=2, padding=1).permute(2, 0, 1)
    torch.testing.assert_close(up(x), expected)


def test_output_depends_on_chunk_noise_level_and_condition(denoiser):
    denoiser.eval()
    for parameter in denoiser.parameters():  # some layers start at zero
        torch.nn.init.normal_(parameter, std=0.2)
    noisy, t, condition = torch.randn(3, 8, 5), torch.tensor([1, 50, 99]), torch.randn(3, 16)
    clean = denoiser(noisy, t, condition)
    assert clean.shape == noisy.shape
    for changed in ((noisy + 1, t, condition), (noisy, t - 1, condition), (noisy, t, condition + 1)):
        assert not torch.allclose(denoiser(*changed), clean, atol=1e-4)
    alone = denoiser(noisy[1:2], t[1:2], condition[1:2])
    torch.testing.assert_close(alone, clean[1:2], rtol=1e-4, atol=1e-5)


def test_steps_of_sampling_equal_the_denoiser_at_their_level(denoiser):
    denoiser.eval()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    noisy, condition = torch.randn(3, 8, 5), torch.randn(3, 16)
    steps = at_levels(denoiser, [99, 49, 1], condition)
    assert list(steps) == [99, 49, 1]
    for t, step in steps.items():
        torch.testing.assert_close(step(noisy), denoiser(noisy, torch.full((3,), t), condition))


def test_denoiser_learns_a_chunk_from_its_condition(denoiser):
    torch.manual_seed(0)
    targets, conditions = torch.rand(4, 8, 5) * 2 - 1, torch.randn(4, 16)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        rows, t = torch.randint(4, (32,)), torch.randint(100, (32,))
        loss = F.mse_loss(denoiser(torch.randn(32, 8, 5), t, conditions[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_steps_of_the_transformer_do_not_see_later_steps():
    denoiser = build(DENOISERS, "transformer", SMALL["transformer"], **SHAPE).eval()
    noisy, t, condition = torch.randn(1, 8, 5), torch.tensor([30]), torch.randn(1, 16)
    clean, changed = denoiser(noisy, t, condition), noisy.clone()
    changed[:, 5] += 1.0
    later = denoiser(changed, t, condition)
    torch.testing.assert_close(later[:, :5], clean[:, :5])
    assert not torch.allclose(later[:, 5:], clean[:, 5:])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet", {"widths": (8, 8, 8, 8, 8)}, "horizon: expected a multiple of 16, as there are 5 widths; got 8"),
        ("unet", {"kernel": 4}, "kernel: expected an odd number, got 4"),
        ("unet", {"groups": 7}, r"widths: expected multiples of groups = 7, got \[128, 256, 512\]"),
        ("transformer", {"heads": 7}, "width: expected a multiple of heads = 7, got 256"),
    ],
)
def test_sizes_that_do_not_fit_are_named(name, options, message):
    with pytest.raises(LatentPolicyError, match=message):
        build(DENOISERS, name, options, **SHAPE)
