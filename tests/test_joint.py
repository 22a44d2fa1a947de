"""Families side by side: continuous and discrete parts of one latent."""

import torch
from helpers import assert_mean, exact_log_likelihood, gradient, gradients, largest_z, small_vae
from hierarchies import belief_network
from torch.distributions import kl_divergence

import reparam as rp
from reparam.distributions import joint_support

JOINT = rp.Joint(style=rp.Gaussian(2), kind=rp.Categorical(2, 3), bits=rp.Bernoulli(3))


def test_a_joint_family_is_its_parts_side_by_side(float64):
    params = torch.randn(5, JOINT.num_params)
    member = JOINT(params)
    z = member.sample((4,))
    parts = JOINT.split(z)
    expected = (
        rp.Gaussian(2)(params[:, :4]).log_prob(parts["style"])
        + rp.Categorical(2, 3)(params[:, 4:10]).log_prob(parts["kind"])
        + rp.Bernoulli(3)(params[:, 10:]).log_prob(parts["bits"])
    )
    torch.testing.assert_close(member.log_prob(z), expected)
    assert z.shape == (4, 5, 11)
    assert JOINT.features(z).shape == (4, 5, JOINT.num_features)
    assert member.mean.shape == (5, 11)
    z = member.sample((40_000,))
    assert_mean(z, member.mean.expand(5, 11))
    assert_mean(member.log_prob(z) - JOINT(torch.zeros(13)).log_prob(z), kl_divergence(member, JOINT(torch.zeros(13))))


def test_a_joint_of_bits_and_symbols_is_enumerated(float64):
    latent = rp.Joint(kind=rp.Categorical(1, 3), bits=rp.Bernoulli(2))
    model, x = small_vae(latent), torch.rand(4, 6).round()
    assert len(joint_support(model.prior())) == 12
    expected = gradient(rp.Enumerate()(model, x).loss, model)
    z, limit = largest_z(gradients(rp.RLOO(4), model, x.repeat(20, 1), 100), expected)
    assert z < limit
    found = rp.evaluate(model, x, num_samples=5000)
    error = found.log_likelihood.monte_carlo_error
    assert abs(found.log_likelihood.value - exact_log_likelihood(model, x).mean()) < 4 * error < 0.3


def test_the_penalties_of_a_joint_are_by_variable(float64):
    model, x = small_vae(JOINT), torch.rand(4, 6)
    samples = rp.draw(model, x)
    assert samples.kl_by_variable.shape == (4, 2 + 2 + 3)
    torch.testing.assert_close(samples.kl_by_variable.sum(1), samples.kl)
    assert rp.RLOO(4, bound=rp.free_bits(0.1))(model, x).name == "free_bits_0.1"


def test_relaxing_a_joint_keeps_its_continuous_part(float64):
    model, x = small_vae(JOINT), torch.rand(4, 6)
    relaxed = rp.relax(model, 0.5)
    y = relaxed.posterior(x).rsample((3,))
    z = JOINT.split(relaxed.squash(y))
    torch.testing.assert_close(z["style"], JOINT.split(y)["style"])
    torch.testing.assert_close(z["kind"].sum(-1), torch.ones(3, 4, 2))
    assert ((z["bits"] > 0) & (z["bits"] < 1)).all()
    surrogate = rp.Relaxed(0.5)(model, x)
    assert surrogate.name == "surrogate"
    assert gradient(surrogate.loss, model).isfinite().all()


def test_active_units_of_a_joint_count_variables(float64):
    model, x = small_vae(JOINT), torch.rand(200, 6).round()
    assert rp.evaluate(model, x, num_samples=2).active_units == 7
    assert rp.evaluate(belief_network(), x, num_samples=2).active_units is None
