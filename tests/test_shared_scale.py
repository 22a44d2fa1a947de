"""Gaussians with one scale for all pixels: learned, or the best one for the batch."""

import copy
import math

import pytest
import torch
from helpers import assert_mean, small_vae, weights
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.families import SharedScaleGaussian


def test_it_is_a_family_and_a_module_that_a_vae_registers():
    for scale, stored in (("learned", ["log_scale"]), ("optimal", ["mean_square", "num_batches"])):
        pixels = SharedScaleGaussian(6, scale)
        assert isinstance(pixels, rp.Family)
        assert isinstance(pixels, nn.Module)
        model = small_vae(rp.Gaussian(2), observation=pixels)
        assert [n for n in model.state_dict() if n.startswith("observation.")] == [f"observation.{n}" for n in stored]
        assert f"observation=SharedScaleGaussian(6, scale='{scale}')" in repr(model)
        assert model.double().likelihood(torch.zeros(3, 2).double()).sample().dtype == torch.float64


@pytest.mark.parametrize("scale", ["learned", "optimal"])
def test_a_model_survives_saving_and_loading(scale):
    model, x = small_vae(rp.Gaussian(2), observation=SharedScaleGaussian(6, scale)), torch.rand(30, 6)
    rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=10)
    again = small_vae(rp.Gaussian(2), observation=SharedScaleGaussian(6, scale))
    again.load_state_dict(model.state_dict())
    z = torch.randn(4, 2)
    for other in (again, copy.deepcopy(model)):
        model.eval(), other.eval()
        assert torch.equal(other.likelihood(z).log_prob(x[:4]), model.likelihood(z).log_prob(x[:4]))
    assert len(model.likelihood(z).stddev.unique()) == 1
    assert model.likelihood(z).stddev.mean() != 1
    if scale == "optimal":
        assert again.observation.num_batches == 6


def test_a_learned_scale_is_found_by_gradient(float64):
    pixels = SharedScaleGaussian(5)
    loc, noise = torch.randn(400, 5), torch.randn(400, 5)
    optimizer = torch.optim.Adam(pixels.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-pixels.likelihood(loc).log_prob(loc + 0.3 * noise).mean()).backward()
        optimizer.step()
    assert pixels.log_scale.exp().item() == pytest.approx(0.3 * noise.square().mean().sqrt().item(), rel=1e-4)


def test_the_optimal_scale_is_the_best_one_for_samples_examples_and_pixels(float64):
    pixels = SharedScaleGaussian((2, 3), "optimal")
    loc, x = torch.randn(4, 7, 6), torch.randn(7, 2, 3)
    found = pixels.likelihood(loc).log_prob(x)
    assert found.shape == (4, 7)
    difference = x - loc.unflatten(-1, (2, 3))
    scale = difference.square().mean().sqrt()
    by_hand = Independent(Normal(loc.unflatten(-1, (2, 3)), scale), 2).log_prob(x)
    torch.testing.assert_close(found, by_hand)
    # the value of the largest likelihood of normals: -log(2 pi e s^2) / 2 a pixel
    assert found.mean().item() == pytest.approx(-3 * math.log(2 * math.pi * math.e * scale.item() ** 2), rel=1e-12)
    for other in (0.99 * scale, 1.01 * scale):
        assert Independent(Normal(loc.unflatten(-1, (2, 3)), other), 2).log_prob(x).mean() < found.mean()


def test_the_gradient_at_a_constant_scale_is_that_through_the_scale_for_a_plain_mean(float64):
    loc, x = torch.randn(4, 7, 6, requires_grad=True), torch.randn(7, 6)
    found = SharedScaleGaussian(6, "optimal").likelihood(loc).log_prob(x).mean()
    through = -3 * (x - loc).square().mean().log()
    torch.testing.assert_close(torch.autograd.grad(found, loc), torch.autograd.grad(through, loc))


def test_evaluation_uses_the_stored_scale_and_moves_nothing():
    pixels = SharedScaleGaussian(6, "optimal")
    model, x = small_vae(rp.Gaussian(2), observation=pixels), torch.rand(40, 6)
    assert model.training
    first = rp.evaluate(model, x, num_samples=3)
    again = rp.evaluate(model, x, num_samples=3)
    assert first.elbo.value == again.elbo.value
    assert pixels.num_batches == 0
    pixels.eval()
    z = torch.randn(4, 2)
    one_by_one = torch.cat([model.likelihood(z[i : i + 1]).log_prob(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model.likelihood(z).log_prob(x[:4]), one_by_one)  # no example sees another
    grid = torch.linspace(-9, 9, 2001)
    total = torch.trapezoid(
        SharedScaleGaussian(1, "optimal").eval().likelihood(torch.zeros(2001, 1)).log_prob(grid[:, None]).exp(), grid
    )
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_the_stored_mean_square_averages_first_and_then_forgets():
    pixels = SharedScaleGaussian(1, "optimal", momentum=0.25)
    values = [4.0, 1.0, 9.0, 0.25, 16.0, 1.0]
    expected = 1.0
    for n, value in enumerate(values, start=1):
        pixels.likelihood(torch.zeros(5, 1)).log_prob(torch.full((5, 1), value))
        weight = max(1 / n, 0.25)
        expected += weight * (value**2 - expected)
        assert pixels.mean_square.item() == pytest.approx(expected, rel=1e-6)
    likelihood = pixels.likelihood(torch.zeros(60_000, 1))
    assert_mean(likelihood.sample().square(), torch.tensor([expected]))
    assert pixels.num_batches == len(values)


def test_perfect_reconstructions_and_half_precision_stay_finite():
    pixels, loc = SharedScaleGaussian(3, "optimal"), torch.randn(2, 3, requires_grad=True)
    log_prob = pixels.likelihood(loc).log_prob(loc.detach())
    assert log_prob.isfinite().all()
    assert torch.autograd.grad(log_prob.sum(), loc)[0].isfinite().all()
    for scale in ("learned", "optimal"):
        half = SharedScaleGaussian(3, scale).likelihood(torch.zeros(2, 3, dtype=torch.bfloat16))
        assert half.sample().dtype == torch.bfloat16
        assert half.log_prob(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
        assert half.expand((4, 2)).log_prob(torch.ones(2, 3)).shape == (4, 2)


@pytest.mark.parametrize("scale", ["learned", "optimal"])
def test_training_finds_the_noise_of_the_data_and_its_weights_move(scale):
    torch.manual_seed(0)
    x = (torch.randn(400, 1) @ torch.ones(1, 6) + 0.2 * torch.randn(400, 6)).float()
    pixels = SharedScaleGaussian(6, scale)
    model = rp.VAE(rp.Gaussian(1), pixels, rp.mlp(6, [], 2), rp.mlp(1, [], 6))
    before = weights(model)
    rp.fit(model, rp.Pathwise(), x, epochs=60, batch_size=50, lr=2e-2)
    assert (weights(model) != before).all()
    found = model.likelihood(torch.zeros(1, 1)).stddev.mean().item()
    assert found == pytest.approx(0.2, rel=0.3)


def test_refusals():
    with pytest.raises(ValueError, match="scale is 'best'; it must be one of 'learned', 'optimal'"):
        SharedScaleGaussian(3, "best")
    with pytest.raises(ValueError, match="momentum is 2; it must be at most 1"):
        SharedScaleGaussian(3, "optimal", momentum=2)
    with pytest.raises(ValueError, match=r"SharedScaleGaussian\(3, scale='learned'\) takes 3 parameters"):
        SharedScaleGaussian(3)(torch.zeros(2, 6))
