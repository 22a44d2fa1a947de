"""Bounds: their order, their limits, and the draws they are made of."""

import math

import pytest
import torch
from helpers import LinearGaussian, exact_log_likelihood, small_vae

import reparam as rp


def test_bounds_of_known_weights(float64):
    log_weight = torch.tensor([[1.0, 3.0], [3.0, 1.0]]).log()
    torch.testing.assert_close(rp.elbo(log_weight), torch.full((2,), math.log(3) / 2))
    torch.testing.assert_close(rp.iwae(log_weight), torch.full((2,), math.log(2)))
    assert rp.iwae(torch.tensor([[1000.0], [-1000.0]])).item() == pytest.approx(1000 - math.log(2))


def test_iwae_never_falls_below_the_elbo_of_the_same_weights(float64):
    log_weight = torch.randn(20, 50) * 10
    assert (rp.iwae(log_weight) >= rp.elbo(log_weight)).all()
    torch.testing.assert_close(rp.iwae(log_weight[:1]), rp.elbo(log_weight[:1]))


def test_a_draw_scores_with_the_models_own_distributions(float64):
    model, x = small_vae(rp.Categorical(2, 3)), torch.rand(4, 6)
    samples = rp.draw(model, x, 5)
    assert samples.z.shape == (5, 4, 2, 3)
    torch.testing.assert_close(samples.log_prior, torch.full((5, 4), 2 * math.log(1 / 3)))
    torch.testing.assert_close(samples.log_posterior, model.posterior(x).log_prob(samples.z))
    torch.testing.assert_close(samples.log_likelihood, model.likelihood(samples.z).log_prob(x))
    torch.testing.assert_close(samples.log_weight, samples.log_likelihood + samples.log_prior - samples.log_posterior)


def test_a_model_is_anything_with_three_methods():
    assert isinstance(LinearGaussian(), rp.LatentVariableModel)
    assert rp.draw(LinearGaussian(), torch.randn(4, 3), 2).log_weight.shape == (2, 4)


def test_a_forgotten_independent_is_named_wherever_it_is_missing():
    class ForgetsLikelihood(LinearGaussian):
        def likelihood(self, z):
            return super().likelihood(z).base_dist

    class ForgetsPosterior(LinearGaussian):
        def posterior(self, x):
            return super().posterior(x).base_dist

    class ForgetsBoth(ForgetsPosterior):
        def prior(self):
            return super().prior().base_dist

    x = torch.randn(2, 3)  # as many examples as latents: a KL per latent would broadcast without an error
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), and one draw of the likelihood \(\).*Independent"):
        rp.draw(ForgetsLikelihood(), x, 2)
    with pytest.raises(ValueError, match=r"log_prob of the posterior has shape \(4, 2, 2\).*\(4, 2\).*Independent"):
        rp.draw(ForgetsPosterior(), x, 4).log_weight.sum()
    with pytest.raises(
        ValueError, match=r"KL\(q \|\| p\) has shape \(2, 2\); one number per example is \(2,\).*Independent"
    ):
        rp.Pathwise()(ForgetsBoth(), x)


@pytest.mark.parametrize("relaxed_temperature", [None, 0.5])
def test_bounds_rise_with_k_and_stay_below_log_p(relaxed_temperature, float64):
    """On average over many draws; the relaxed model with hard rounding has the exact model's log p(x)."""
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(6, 6).round()
    log_p = exact_log_likelihood(model, x).mean().item()
    sampled = model if relaxed_temperature is None else rp.relax(model, relaxed_temperature, straight_through=True)
    log_weight = rp.draw(sampled, x, 60_000).log_weight
    means, errors = [], []
    for k in (1, 5, 50):
        bound = rp.iwae(log_weight.reshape(k, -1)).reshape(-1, 6).mean(-1)
        means.append(bound.mean().item())
        errors.append(bound.std().item() / math.sqrt(len(bound)))
    assert means[0] < means[1] < means[2] < log_p + 4 * errors[2]
    assert log_p - means[2] < (log_p - means[0]) / 3
