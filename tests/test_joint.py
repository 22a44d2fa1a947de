"""Families side by side: continuous and discrete parts of one latent."""

import math

import pytest
import torch
from helpers import assert_mean, exact_log_likelihood, gradient, gradients, largest_z, small_vae
from hierarchies import belief_network
from torch.distributions import constraints, kl_divergence

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


def test_what_parts_share_is_learned_once():
    flow = rp.Flow(rp.Gaussian(2), "maf", hidden=[8])
    assert rp.Joint(a=flow, b=flow).state_dict().keys() == rp.Joint(a=flow).state_dict().keys()


def test_units_are_not_counted_where_a_part_has_no_mean():
    flow, x = rp.Flow(rp.Gaussian(2), "maf", hidden=[8]), torch.rand(50, 6).round()
    for latent in (rp.Joint(a=rp.Gaussian(2), b=flow), rp.Joint(b=flow)):
        assert rp.evaluate(small_vae(latent), x, num_samples=2).active_units is None


def test_an_angle_in_a_joint_is_active_by_its_direction():
    """Mean angles of plus and minus one differ in the sine of their directions alone."""
    model = small_vae(rp.Joint(angle=rp.VonMises(1), kind=rp.Categorical(1, 3)))
    x = torch.tensor([0.0, 1.0]).repeat(50).unsqueeze(1).expand(-1, 6)
    angle = torch.where(x[:, 0] > 0, 1.0, -1.0)

    class Encoder(torch.nn.Module):
        def forward(self, x):
            zero = torch.zeros(len(x), 3)
            return torch.cat([5 * angle[: len(x), None].cos(), 5 * angle[: len(x), None].sin(), zero], -1)

    model.encoder = Encoder()
    torch.testing.assert_close(model.posterior(x).mean[:, 0], angle)
    assert rp.evaluate(model, x, num_samples=2).active_units == 1


def test_torchs_coins_that_are_nearly_certain_have_the_kl_of_a_coin(float64):
    latent = rp.Joint(a=rp.TorchFamily(torch.distributions.Bernoulli, 2), b=rp.Gaussian(1))
    q, p = latent(torch.tensor([[1e4, -1e4, 0.0, 0.0]]).expand(5, 4)), latent(torch.zeros(4))
    torch.testing.assert_close(kl_divergence(q, p), torch.full((5,), 2 * math.log(2)))


def test_each_part_of_an_observation_says_what_it_takes():
    levels = rp.DiscretizedLogistic(2, num_levels=16, num_components=2)
    cases = [
        (rp.Bernoulli(2), 2.5, r"Bernoulli of the part b \(.*\)\. Rescale the data"),
        (rp.Poisson(2), 0.5, r"Poisson of the part b \(whole numbers from 0\)\. Counts and levels are whole numbers"),
        (levels, 0.5, r"of the part b \(16 levels .*\)\. Round the data to levels, \(x \* 15\).round\(\) / 15; or"),
        (rp.Beta(2), 1.0, r"Beta of the part b \(the open interval \(0, 1\)\)\. At 0 and 1 its density may"),
        (rp.Beta(2), 1.5, r"Beta of the part b \(the open interval \(0, 1\)\)\. Rescale the data"),
    ]
    for family, wrong, message in cases:
        model = small_vae(rp.Gaussian(2), observation=rp.Joint(a=rp.Gaussian(2), b=family))
        with pytest.raises(ValueError, match=message):
            rp.evaluate(model, torch.full((3, 4), wrong), num_samples=2)


class EqualByWidth(constraints.Constraint):
    """With an `__eq__` and so without a hash."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, EqualByWidth)

    def __repr__(self):
        return "numbers up to 5"

    def check(self, value):
        return value <= 5


class Low(torch.distributions.Normal):
    support = EqualByWidth()


def test_a_support_without_a_hash_is_named():
    model = small_vae(rp.Gaussian(2))
    model.likelihood = lambda z: torch.distributions.Independent(
        Low(torch.zeros(*z.shape[:-1], 6), 1.0, validate_args=False), 1
    )
    with pytest.raises(ValueError, match=r"support of the likelihood Low \(numbers up to 5\)"):
        rp.evaluate(model, torch.full((3, 6), 7.0), num_samples=2)
