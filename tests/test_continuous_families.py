"""Continuous families as latents and as observations."""

import math

import pytest
import torch
from helpers import assert_mean
from torch import nn
from torch.distributions import kl_divergence

import reparam as rp
from reparam import families

CONTINUOUS = [
    families.Laplace(3),
    families.Logistic(3),
    families.StudentT(3),
    families.LogNormal(3),
    families.Gamma(3),
    families.Beta(3),
    families.Kumaraswamy(3),
    families.ContinuousBernoulli(3),
    families.Dirichlet(2, 3),
    families.Dirichlet((), 3),
    families.LogisticNormal(2, 3),
    families.LogisticNormal((), 3),
    rp.Gaussian(3, covariance="full"),
    rp.Gaussian(3, covariance=2),
    rp.Gaussian(3, scale=0.5),
]
WITHOUT_KL = (families.Logistic, families.StudentT, families.Kumaraswamy)


@pytest.mark.parametrize("family", [f for f in CONTINUOUS if not isinstance(f, WITHOUT_KL)], ids=str)
def test_every_closed_kl_against_monte_carlo(family, float64):
    # halved: a gamma posterior of half the prior's concentration has weights of infinite variance
    p, q = (family(torch.randn(4, family.num_params) / 2) for _ in range(2))
    z = p.sample((40_000,))
    assert_mean(p.log_prob(z) - q.log_prob(z), kl_divergence(p, q))


@pytest.mark.parametrize("latent", CONTINUOUS, ids=str)
def test_every_continuous_family_is_a_latent(latent):
    pixels = rp.Bernoulli(4)
    model = rp.VAE(
        latent, pixels, rp.mlp(4, [8], latent.num_params), rp.mlp(latent.num_features, [8], pixels.num_params)
    )
    x = torch.rand(6, 4)
    for estimator in (rp.Pathwise(), rp.Pathwise(5, rp.iwae, gradient="dreg"), rp.Pathwise(2, gradient="stl")):
        estimate = estimator(model, x)
        assert estimate.bound.shape == (6,)
        model.zero_grad()
        estimate.loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        assert any(p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    found = rp.evaluate(model, x, num_samples=20)
    assert found.elbo.value <= found.iwae.value
    if not isinstance(latent, WITHOUT_KL):
        assert rp.Pathwise(kl="analytic")(model, x).bound.shape == (6,)


@pytest.mark.parametrize("family", CONTINUOUS, ids=str)
def test_every_continuous_family_is_an_observation(family):
    encoder = nn.Sequential(nn.Flatten(), rp.mlp(family.num_features, [8], 4))
    model = rp.VAE(rp.Gaussian(2), family, encoder, rp.mlp(2, [8], family.num_params))
    x = family(torch.randn(30, family.num_params) / 2).sample()
    before = rp.evaluate(model, x, num_samples=5).elbo.value
    rp.fit(model, rp.Pathwise(), x, epochs=30, batch_size=10, lr=1e-2)
    assert rp.evaluate(model, x, num_samples=5).elbo.value > before
    assert model.likelihood(model.prior().sample((7,))).sample().shape == (7, *family.event_shape)


@pytest.mark.parametrize("family", CONTINUOUS, ids=str)
def test_continuous_families_know_no_cpu_and_follow_the_precision(family):
    member = family(torch.zeros(5, family.num_params, device="meta"))
    assert member.log_prob(torch.empty(5, *family.event_shape, device="meta")).device.type == "meta"
    if not isinstance(family, families.Beta | families.Dirichlet):  # torch._sample_dirichlet has no meta kernel
        assert member.sample().device.type == "meta"
    member = family(torch.zeros(5, family.num_params, dtype=torch.float64))
    assert member.rsample().dtype == member.log_prob(member.sample()).dtype == torch.float64
    member = family(torch.zeros(5, family.num_params, dtype=torch.bfloat16))
    assert member.rsample().dtype == torch.bfloat16
    assert member.log_prob(member.sample()).dtype == torch.float32


def test_covariances_are_what_their_parameters_say(float64):
    params = torch.randn(7, rp.Gaussian(4, covariance="full").num_params)
    loc, raw, below = params.split([4, 4, 6], -1)
    factor = torch.diag_embed((raw / 2).exp())
    rows, columns = [1, 2, 2, 3, 3, 3], [0, 0, 1, 0, 1, 2]
    for k, (i, j) in enumerate(zip(rows, columns, strict=True)):
        factor[:, i, j] = below[:, k]
    member = rp.Gaussian(4, covariance="full")(params)
    torch.testing.assert_close(member.covariance_matrix, factor @ factor.mT)
    torch.testing.assert_close(member.loc, loc)
    params = torch.randn(7, rp.Gaussian(4, covariance=2).num_params)
    loc, raw, wide = params.split([4, 4, 8], -1)
    member = rp.Gaussian(4, covariance=2)(params)
    wide = wide.unflatten(-1, (4, 2))
    torch.testing.assert_close(member.covariance_matrix, wide @ wide.mT + raw.exp().diag_embed())
    torch.testing.assert_close(member.mean, loc)
    # a batched function of the parameters, as an estimator or a Jacobian may want it
    for covariance in ("full", 2):
        family = rp.Gaussian(4, covariance=covariance)
        params, z = torch.randn(7, family.num_params), torch.randn(7, 4)
        mapped = torch.vmap(lambda p, z, f=family: f(p).log_prob(z))(params, z)
        torch.testing.assert_close(mapped, family(params).log_prob(z))


def test_a_fixed_scale_needs_no_parameter():
    family = rp.Gaussian((2, 3), scale=0.1)
    assert family.num_params == 6
    member = family(torch.randn(5, 6))
    assert (member.stddev == 0.1).all()
    assert member.stddev.shape == (5, 2, 3)


def test_scales_are_exponentials_of_half_the_raw_number():
    raw = torch.tensor([0.0, 0.0, 2.0, -2.0])
    scales = torch.tensor([math.e, 1 / math.e])
    for family in (families.Laplace(2), families.Logistic(2), families.StudentT(2), families.LogNormal(2)):
        torch.testing.assert_close(family(raw).base_dist.scale, scales)
    member = families.Gamma(2)(torch.tensor([1.0, 2.0, 3.0, 4.0])).base_dist
    torch.testing.assert_close(member.concentration.log(), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(member.rate.log(), torch.tensor([3.0, 4.0]))
    for family in (families.Beta(2), families.Kumaraswamy(2)):
        member = family(torch.tensor([1.0, 2.0, 3.0, 4.0])).base_dist
        torch.testing.assert_close(member.concentration1.log(), torch.tensor([1.0, 2.0]))
        torch.testing.assert_close(member.concentration0.log(), torch.tensor([3.0, 4.0]))


REFUSED = [
    (lambda: families.StudentT(3, df=2.0), "df is 2.0; it must be above 2"),
    (lambda: families.StudentT(3, df=math.inf), "df is inf; it must be finite"),
    (lambda: rp.Gaussian(3, scale=0.0), "scale is 0.0; it must be finite and above 0"),
    (lambda: rp.Gaussian(3, scale=0.1, covariance="full"), "scale is 0.1 and covariance 'full'; leave one of them out"),
    (lambda: rp.Gaussian((3, 3), covariance="full"), r"shape is \(3, 3\) with a covariance; .* one axis, such as 9"),
    (lambda: rp.Gaussian(3, covariance="sparse"), 'covariance is \'sparse\'; it must be "diagonal", "full" or a rank'),
    (lambda: rp.Gaussian(3, covariance=0), "covariance is 0; it must be at least 1"),
    (lambda: families.Dirichlet(3, 1), "num_categories is 1; it must be at least 2"),
    (lambda: families.LogisticNormal(0, 3), "shape is 0; it must be at least 1"),
]


@pytest.mark.parametrize(("act", "message"), REFUSED, ids=[m[:30] for _, m in REFUSED])
def test_continuous_families_refuse_values_with_a_remedy(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("scale", ["0.1", torch.ones(3), True])
def test_a_scale_is_one_number(scale):
    with pytest.raises(TypeError, match=r"it must be a number\. Leave it out"):
        rp.Gaussian(3, scale=scale)


@pytest.mark.parametrize("covariance", ["full", 2])
def test_a_covariance_in_half_precision_is_that_of_its_rounded_parameters(covariance):
    family = rp.Gaussian(3, covariance=covariance)
    params = torch.randn(2, family.num_params).bfloat16()
    exact, half = family(params.double()), family(params)
    z = half.sample((5,))
    torch.testing.assert_close(half.log_prob(z).double(), exact.log_prob(z.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(half.base_dist.covariance_matrix.double(), exact.covariance_matrix)
