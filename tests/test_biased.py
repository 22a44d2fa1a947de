"""Estimators that are biased, or of another objective: by how much, and as their papers say."""

import dataclasses
import math

import pytest
import torch
from helpers import gradient, gradients, largest_z, small_vae

import reparam as rp
from reparam.factors import Factors
from reparam.laboratory.meter import flat
from reparam.surrogates import tvo as tvo_surrogate
from reproductions import expectations

LATENTS = [rp.Bernoulli(4), rp.Categorical(2, 3)]
IDS = ["Bernoulli", "Categorical"]


def bias_of(estimator, model, x, copies=100, calls=60):
    """The length of the bias relative to the exact gradient, and the length that noise alone would have."""
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    found = gradients(estimator, model, x.repeat(copies, 1), calls)
    noise = (found.var(0).sum() / calls).sqrt()
    return ((found.mean(0) - exact).norm() / exact.norm()).item(), (noise / exact.norm()).item()


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
def test_the_bias_of_a_relaxed_sample_falls_to_nothing_with_the_temperature(latent, float64):
    """Maddison et al., 2016, section 3, and Jang et al., 2016, section 2.1: the sample tends to the discrete one."""
    model, x = small_vae(latent), torch.rand(3, 6)
    found = {t: bias_of(rp.Relaxed(t, num_samples=20, kl="exact"), model, x) for t in (1.0, 0.3, 0.05)}
    bias, noise = found[1.0]
    assert bias > 10 * noise
    assert found[1.0][0] > 2 * found[0.3][0] > 4 * found[0.05][0]
    assert found[0.05][0] < 5 * found[0.05][1]


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
def test_the_bias_of_a_relaxed_kl_does_not_fall_with_the_temperature(latent, float64):
    """The KL of two Concretes of one temperature is the same at every temperature, and above that of the discrete ones."""
    model, x = small_vae(latent), torch.rand(3, 6)
    found = [bias_of(rp.Relaxed(t, num_samples=20, kl="relaxed"), model, x) for t in (1.0, 0.05)]
    assert all(bias > 10 * noise for bias, noise in found)
    assert found[1][0] > 0.5 * found[0][0]


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
def test_straight_through_keeps_a_bias_at_a_low_temperature(latent, float64):
    """The likelihood's slopes at the corners are not the difference between them, however sharp the sample."""
    model, x = small_vae(latent), torch.rand(3, 6)
    bias, noise = bias_of(rp.Relaxed(0.05, num_samples=20, straight_through=True), model, x)
    assert bias > 5 * noise


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
@pytest.mark.parametrize(
    "estimator",
    [rp.StraightThrough(), rp.ReinMax(), rp.GumbelRao(1.0), rp.Relaxed(1.0, kl="exact", straight_through=True)],
    ids=str,
)
def test_straight_through_is_biased_with_the_value_of_the_elbo(latent, estimator, float64):
    model, x = small_vae(latent), torch.rand(3, 6)
    bias, noise = bias_of(estimator, model, x)
    assert bias > 4 * noise
    values = torch.stack([estimator(model, x.repeat(50, 1)).bound.unflatten(0, (50, 3)).mean(0) for _ in range(40)])
    z, limit = largest_z(values, rp.Enumerate()(model, x).bound)
    assert z < limit
    assert estimator(model, x).name == "elbo"


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
def test_gumbel_rao_has_the_mean_of_straight_through_gumbel_and_less_variance(latent, float64):
    model, x = small_vae(latent), torch.rand(3, 6).repeat(50, 1)
    plain = gradients(rp.Relaxed(0.3, kl="exact", straight_through=True), model, x, 400)
    averaged = gradients(rp.GumbelRao(0.3, num_conditional=50), model, x, 400)
    error = ((plain.var(0) + averaged.var(0)) / 400).sqrt()
    z = ((plain.mean(0) - averaged.mean(0)).abs() / error.clamp_min(1e-12)).max()
    assert z < 5
    assert averaged.var(0).sum() < 0.8 * plain.var(0).sum()


def expected_gradient(kind, logits, f):
    """E[f'(z) dz/dlogits] of a straight-through sample, over both the states and their noise."""
    factors = Factors(logits.log_softmax(-1).unsqueeze(0), binary=False, dtype=torch.float64)
    z = kind._sample(factors, 200_000, 1.0)
    (gradient_,) = torch.autograd.grad(f(z).mean(), logits)
    return gradient_


def test_reinmax_is_exact_for_a_quadratic_and_straight_through_for_a_linear_function(float64):
    """Liu et al., 2023: Heun's rule has no error up to the second order; the first-order rule has."""
    logits = torch.randn(4, requires_grad=True)
    a, b = torch.randn(4, 4), torch.randn(4)

    def linear(z):
        return z @ b

    def quadratic(z):
        return ((z @ a) * z).sum(-1) + z @ b

    def exact(f):
        (gradient_,) = torch.autograd.grad((logits.softmax(-1) * f(torch.eye(4))).sum(), logits)
        return gradient_

    torch.testing.assert_close(expected_gradient(rp.ReinMax(), logits, quadratic), exact(quadratic), atol=2e-2, rtol=0)
    torch.testing.assert_close(
        expected_gradient(rp.StraightThrough(), logits, linear), exact(linear), atol=2e-2, rtol=0
    )
    off = expected_gradient(rp.StraightThrough(), logits, quadratic) - exact(quadratic)
    assert off.norm() > 0.1


def test_reinmax_of_coins_is_exact_for_a_quadratic_of_them(float64):
    logits = torch.randn(3, requires_grad=True)
    a = torch.randn(3, 3)
    factors = Factors(logits.unsqueeze(0), binary=True, dtype=torch.float64)
    z = rp.ReinMax()._sample(factors, 400_000, 1.0)
    (found,) = torch.autograd.grad(((z @ a) * z).sum(-1).mean(), logits)
    p = logits.sigmoid()
    exact = p @ (a - a.diagonal().diag()) @ p + a.diagonal() @ p  # z^2 = z
    torch.testing.assert_close(found, torch.autograd.grad(exact, logits)[0], atol=1e-2, rtol=0)


def test_decoupled_temperatures_sample_at_one_and_differentiate_at_the_other(float64):
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(3, 6)
    estimate = rp.StraightThrough(2.0, forward_temperature=0.5)(model, x)
    assert estimate.name == "surrogate"
    factors = Factors(torch.full((1, 1), 1.5).requires_grad_(), binary=True, dtype=torch.float64)
    z = rp.StraightThrough(2.0, forward_temperature=0.5)._sample(factors, 100_000, 2.0)
    share, p = z.detach().mean().item(), 1 / (1 + math.exp(-3.0))
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 100_000)
    (slope,) = torch.autograd.grad(z.mean(), factors.logits)
    soft = 1 / (1 + math.exp(-0.75))
    torch.testing.assert_close(slope.item(), soft * (1 - soft) / 2)


def test_wake_sleep_by_hand(float64):
    """RWS with one sample and the sleep update is wake-sleep, draw for draw, and both are the two log-likelihoods."""
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(7, 6)
    found = []
    for estimator in (rp.WakeSleep(), rp.RWS(1, "sleep")):
        torch.manual_seed(3)
        found.append(gradient(estimator(model, x).loss, model))
    torch.testing.assert_close(*found)
    torch.manual_seed(3)
    z = model.posterior(x).sample((1,))
    with torch.no_grad():
        dream = model.prior().sample((7,))
        pixels = model.likelihood(dream[None]).sample()[0]
    wake = (model.likelihood(z).log_prob(x) + model.prior().log_prob(z)).mean()
    torch.testing.assert_close(found[0], gradient(-wake - model.posterior(pixels).log_prob(dream).mean(), model))


def posterior_gradient(model, x):
    """The gradient of E over p(z|x) of -log q(z|x), by enumeration."""
    states = rp.distributions.joint_support(model.prior())
    z = states[:, None].expand(-1, len(x), -1)
    log_joint = model.likelihood(z).log_prob(x) + model.prior().log_prob(states)[:, None]
    weight = log_joint.softmax(0).detach()
    return gradient(-(weight * model.posterior(x).log_prob(z)).sum(0).mean(), model)


def test_the_wake_update_of_rws_tends_to_the_gradient_of_the_inclusive_kl(float64):
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(3, 6)
    encoder = torch.cat([torch.full((p.numel(),), "encoder" in name) for name, p in model.named_parameters()])
    exact = posterior_gradient(model, x)[encoder]
    biases = []
    for k in (2, 8, 64):
        found = gradients(rp.RWS(k), model, x.repeat(40, 1), 60)[:, encoder]
        biases.append((found.mean(0) - exact).norm() / exact.norm())
    assert biases[0] > biases[1] > biases[2]
    assert biases[2] < 0.1


def thermodynamic_gradient(model, x, partition):
    """The gradient of minus the left Riemann sum with exact expectations."""
    states = rp.distributions.joint_support(model.prior())
    log_q = model.posterior(x).log_prob(states[:, None].expand(-1, len(x), -1))
    log_joint = model.likelihood(states[:, None].expand(-1, len(x), -1)).log_prob(x)
    log_joint = log_joint + model.prior().log_prob(states)[:, None]
    ends, total = [*partition, 1.0], 0.0
    for beta, width in zip(partition, torch.tensor(ends).diff(), strict=True):
        weight = (beta * log_joint + (1 - beta) * log_q).softmax(0)
        total = total + width * (weight * (log_joint - log_q)).sum(0)
    return gradient(-total.mean(), model), total.detach()


def test_tvo_tends_to_the_exact_riemann_sum_and_its_gradient(float64):
    model, x, partition = small_vae(rp.Bernoulli(4)), torch.rand(3, 6), (0.0, 0.2, 0.5)
    exact, value = thermodynamic_gradient(model, x, partition)
    biases = []
    for k in (4, 16, 200):
        found = gradients(rp.TVO(k, partition), model, x.repeat(10, 1), 100)
        biases.append((found.mean(0) - exact).norm() / exact.norm())
    assert biases[0] > biases[1] > biases[2]
    assert biases[2] < 0.05
    torch.testing.assert_close(rp.TVO(20_000, partition)(model, x).bound, value, rtol=0.02, atol=0.02)
    assert (rp.Enumerate()(model, x).bound < value).all()


def test_the_tvo_surrogate_with_one_partition_is_the_leave_one_out_elbo(float64):
    log_q = torch.randn(5, 3, requires_grad=True)
    log_weight = torch.randn(5, 3) - log_q
    value = tvo_surrogate(log_weight, log_q, (0.0,))
    torch.testing.assert_close(value, log_weight.mean(0))
    expected = rp.surrogates.rloo(log_weight, log_q) - log_q.mean(0)  # rloo leaves out the zero-mean -grad log q
    found = torch.autograd.grad(value.sum(), log_q, retain_graph=True)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), log_q)[0])


@pytest.mark.parametrize("latent", LATENTS, ids=IDS)
@pytest.mark.parametrize("estimator", [rp.StraightThrough(2.0), rp.ReinMax(), rp.GumbelRao(0.5)], ids=str)
def test_the_expectations_of_the_docs_are_those_of_the_estimators(latent, estimator, float64):
    """The sum over states of `reproductions/expectations.py` against an average of draws."""
    model, x = small_vae(latent), torch.rand(3, 6)
    quiet = dataclasses.replace(estimator, num_conditional=4000) if isinstance(estimator, rp.GumbelRao) else estimator
    expected = gradient(expectations.summed(quiet, model, x), model)
    found = gradients(estimator, model, x.repeat(50, 1), 60)
    z, limit = largest_z(found, expected)
    assert z < limit
    wrong = gradient(rp.Enumerate()(model, x).loss, model)
    assert largest_z(found, wrong)[0] > limit


@pytest.mark.parametrize("latent", [rp.Bernoulli(2), rp.Categorical(1, 3)], ids=IDS)
def test_the_expectation_of_a_wake_update_is_that_of_the_estimator(latent, float64):
    model, x = small_vae(latent), torch.rand(3, 6)
    posterior = list(model.encoder.parameters())
    expected = flat(torch.autograd.grad(expectations.woken(4, model, x), posterior), posterior)
    losses = (rp.RWS(4)(model, x.repeat(200, 1)).loss for _ in range(60))
    found = torch.stack([flat(torch.autograd.grad(loss, posterior), posterior) for loss in losses])
    z, limit = largest_z(found, expected)
    assert z < limit
