"""Bounds and gradients under a prior agree with enumeration and the closed form, for each estimator that takes it."""

import math

import pytest
import torch
from helpers import exact_log_likelihood, gradient, gradients, largest_z, small_vae
from priors import CONTINUOUS, DISCRETE, model_with
from torch.distributions import kl_divergence

import reparam as rp
from reparam.distributions import joint_support
from reparam.priors import LearnedPrior, MixturePrior


@pytest.mark.parametrize("name", DISCRETE)
def test_gradients_reach_the_prior_and_agree_with_enumeration(name, float64):
    model, x = model_with(name), torch.rand(3, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    own = gradient(rp.Enumerate()(model, x).loss, model.prior_module)
    assert own.abs().max() > 1e-3
    estimated = gradients(rp.RLOO(3), model, x.repeat(64, 1), 60)
    z, limit = largest_z(estimated, exact)
    assert z < limit


@pytest.mark.parametrize("name", DISCRETE)
def test_the_enumerated_bound_is_that_of_the_prior_and_evaluation_finds_the_likelihood(name, float64):
    model, x = model_with(name), torch.rand(4, 6).round()
    states = joint_support(model.prior())
    log_p = exact_log_likelihood(model, x)
    log_q = model.posterior(x).log_prob(states[:, None].expand(-1, 4, *states.shape[1:]))
    log_joint = model.likelihood(states[:, None].expand(-1, 4, *states.shape[1:])).log_prob(x)
    log_joint = log_joint + model.prior().log_prob(states)[:, None]
    torch.testing.assert_close(rp.Enumerate()(model, x).bound, (log_q.exp() * (log_joint - log_q)).sum(0).detach())
    found = rp.evaluate(model, x, num_samples=4000).log_likelihood
    assert abs(found.value - log_p.mean().item()) < 5 * found.monte_carlo_error + 1e-3


@pytest.mark.parametrize("kind", [LearnedPrior, lambda latent: MixturePrior(latent, 1)], ids=["learned", "mixture"])
def test_a_sampled_kl_has_the_gradient_of_the_closed_form(kind, float64):
    """A mixture of one component is a learned member, whose KL is known."""
    plain = small_vae(rp.Gaussian(2))
    parts = (plain.latent, plain.observation, plain.encoder, plain.decoder)
    closed, sampled = (rp.VAE(*parts, prior=make(plain.latent)) for make in (LearnedPrior, kind))
    params = 0.5 * torch.randn(4)
    with torch.no_grad():
        for prior in (closed.prior_module, sampled.prior_module):
            prior.params.copy_(params)
    x = torch.rand(3, 6)
    exact = gradient(kl_divergence(closed.posterior(x), closed.prior()).mean(), closed.prior_module)
    assert (exact.abs() > 1e-3).all()

    def minus_kl(model, x):
        samples = rp.draw(model, x, 8, reparameterized=True)
        return rp.Estimate.of((samples.log_prior - samples.log_posterior).mean(0), "kl")

    estimated = gradients(minus_kl, sampled, x.repeat(40, 1), 100)
    z, limit = largest_z(estimated[:, -4:], exact)
    assert z < limit


def test_pathwise_takes_the_closed_form_where_there_is_one_and_samples_elsewhere():
    x = torch.rand(3, 6)
    for name in CONTINUOUS:
        estimate = rp.Pathwise()(model_with(name), x)
        assert estimate.name == "elbo"
        assert estimate.bound.isfinite().all()
    rp.Pathwise(kl="analytic")(model_with("learned"), x)
    with pytest.raises(
        ValueError, match=r'kl="analytic", but No KL\(p \|\| q\) is implemented .*Mixture.* Use kl="sampled"'
    ):
        rp.Pathwise(kl="analytic")(model_with("mixture"), x)


def test_a_posterior_that_is_in_the_prior_has_the_divergence_of_its_share():
    """KL(q || sum of w_m p_m) for a q far from all components but its own is -log of that one's weight."""
    prior = MixturePrior(rp.Gaussian(1), 3)
    with torch.no_grad():
        prior.params.copy_(torch.tensor([[-100.0, 0.0], [0.0, 0.0], [100.0, 0.0]]))
        prior.logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    q = rp.Gaussian(1)(torch.tensor([100.0, 0.0]))
    z = q.sample((10,))
    torch.testing.assert_close(q.log_prob(z) - prior().log_prob(z), torch.full((10,), -math.log(0.5)))


def test_the_catalogue_goes_by_what_takes_the_model():
    names = rp.estimators_for(model_with("mixture"), torch.rand(3, 6))
    assert "Pathwise()" in names
    names = rp.estimators_for(model_with("autoregressive bits"), torch.rand(3, 6))
    assert "DisARM()" in names  # asks for independent bits of the posterior alone
    assert "MuProp(num_samples=2)" not in names  # asks for a KL in closed form
    assert "Relaxed(temperature=0.5)" in rp.estimators_for(model_with("learned bits"), torch.rand(3, 6))


@pytest.mark.parametrize("name", ["mixture of bits", "autoregressive bits", "autoregressive symbols"])
def test_every_estimator_of_the_catalogue_for_such_a_prior_runs(name):
    model, x = model_with(name), torch.rand(3, 6)
    estimators = rp.estimators_for(model, x)
    assert len(estimators) > 5
    for estimator in estimators.values():
        assert estimator(model, x).bound.isfinite().all()
    assert rp.Enumerate()(model, x).bound.isfinite().all()


def test_a_learned_prior_of_bits_can_be_relaxed():
    model, x = model_with("learned bits"), torch.rand(3, 6)
    assert rp.Relaxed()(model, x).name == "surrogate"
    assert rp.Relaxed(kl="relaxed")(model, x).name == "relaxed_elbo"
