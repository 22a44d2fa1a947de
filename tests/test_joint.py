"""Families side by side: continuous and discrete parts of one latent."""

import pytest
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


def test_parts_keep_their_features_and_their_standard_members(float64):
    latent = rp.Joint(angle=rp.VonMises(2), way=rp.PowerSpherical(3))
    assert latent.num_features == 4 + 3
    model, x = small_vae(latent), torch.rand(5, 6).round()
    z = model.prior().sample((7,))
    parts = latent.split(z)
    expected = torch.cat([parts["angle"].cos(), parts["angle"].sin(), parts["way"]], -1)
    torch.testing.assert_close(latent.features(z), expected)
    assert (
        rp.kl(model.posterior(x), model.prior()).method == "closed form"
    )  # only to the uniform distribution on a sphere
    assert model.prior().has_rsample
    assert not JOINT(torch.zeros(13)).has_rsample
    assert not JOINT(torch.zeros(13)).has_enumerate_support


def test_a_joint_observation_takes_what_its_parts_take(float64):
    seen = rp.Joint(grey=rp.Bernoulli(4), count=rp.Poisson(2))
    params = torch.randn(5, seen.num_params)
    x = torch.cat([torch.rand(5, 4), torch.tensor([0.0, 3.0]).expand(5, 2)], -1)
    expected = rp.Bernoulli(4).likelihood(params[:, :4]).log_prob(x[:, :4]) + rp.Poisson(2)(params[:, 4:]).log_prob(
        x[:, 4:]
    )
    torch.testing.assert_close(seen.likelihood(params).log_prob(x), expected)
    assert seen.likelihood(params).support.check(x).all()
    for index in (0, 5):  # the first part, and the last
        wrong = x.clone()
        wrong[2, index] = 1.5
        assert seen.likelihood(params).support.check(wrong).tolist() == [True, True, False, True, True]
    model = small_vae(rp.Gaussian(2), observation=seen)
    assert torch.tensor(rp.evaluate(model, x, num_samples=2).elbo.value).isfinite()
    with pytest.raises(
        ValueError, match=r"example 2 .* such as 1.5 at \[1\], .* likelihood Poisson of the part count \(whole numbers"
    ):
        rp.evaluate(model, wrong, num_samples=2)


def test_a_shared_scale_in_a_joint_is_fixed_when_evaluated(float64):
    seen = rp.Joint(a=rp.SharedScaleGaussian(4, "optimal"), b=rp.Bernoulli(2))
    model, x = small_vae(rp.Gaussian(2), observation=seen), torch.rand(64, 6).round()
    rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=16)
    found = [rp.evaluate(model, x, num_samples=1000, batch_size=size).elbo for size in (4, 64)]
    error = (found[0].monte_carlo_error ** 2 + found[1].monte_carlo_error ** 2) ** 0.5
    assert abs(found[0].value - found[1].value) < 4 * error
    assert any("mean_square" in name for name in model.state_dict())


def test_a_joint_within_a_joint_is_relaxed(float64):
    latent = rp.Joint(inner=rp.Joint(a=rp.Gaussian(2), b=rp.Bernoulli(2)), c=rp.Categorical(1, 3))
    model, x = small_vae(latent), torch.rand(4, 6).round()
    relaxed = rp.relax(model, 1e-3)
    z = relaxed.squash(relaxed.posterior(x).rsample((2000,)))
    bits = latent.families["inner"].split(latent.split(z)["inner"])["b"]
    assert_mean(bits.round(), model.posterior(x).mean[:, 2:4].expand(4, 2))
    estimate = rp.Relaxed(0.5, kl="relaxed")(model, x)
    assert estimate.name == "relaxed_elbo"
    assert gradient(estimate.loss, model).isfinite().all()
