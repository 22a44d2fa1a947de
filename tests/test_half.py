"""Parameters and models in float16 and bfloat16: what is computed with them has the digits of float32."""

import copy
import math

import priors
import pytest
import torch
from helpers import small_vae
from torch import distributions as td
from torch import nn

import reparam as rp
from reparam.distributions import Dirichlet, LogisticNormal, Rounded
from reparam.families.flow import import_zuko

HALF = [torch.float16, torch.bfloat16]
FAMILIES = [
    rp.Gaussian(20),
    rp.Gaussian((1, 4, 4)),
    rp.Gaussian(5, scale=0.1),
    rp.Gaussian(4, covariance="full"),
    rp.Gaussian(4, covariance=2),
    rp.Bernoulli(5),
    rp.Categorical(4, 3),
    rp.Laplace(5),
    rp.Logistic(5),
    rp.StudentT(5),
    rp.LogNormal(5),
    rp.Gamma(5),
    rp.Beta(5),
    rp.Kumaraswamy(5),
    rp.ContinuousBernoulli(5),
    rp.Dirichlet(2, 3),
    rp.Dirichlet((), 30),
    rp.LogisticNormal(2, 3),
    rp.PowerSpherical(20),
    rp.VonMises(4),
    rp.Ordinal(5, 4),
    rp.Binomial(5, 7),
    rp.Poisson(5),
    rp.Poisson(5, largest=3),
    rp.NegativeBinomial(5),
    rp.ZeroInflatedNegativeBinomial(5),
    rp.QuantizedCategorical(5),
    rp.DiscretizedLogistic(5, num_components=3),
    rp.SharedScaleGaussian(5),
    rp.SharedScaleGaussian(5, "optimal").eval(),
    rp.TorchFamily(td.Normal, 5),
    rp.TorchFamily(td.Gamma, 5),
    rp.TorchFamily(td.Beta, 5),
    rp.TorchFamily(td.Dirichlet, 4),
    rp.TorchFamily(td.Exponential, 5),
    rp.TorchFamily(td.Poisson, 5),
    rp.TorchFamily(td.Bernoulli, 5),
    rp.TorchFamily(td.MultivariateNormal, 4),
    rp.Joint(style=rp.Gaussian(3), shares=rp.Gamma(2), kind=rp.Categorical(1, 3)),
    rp.Flow(rp.Gaussian(3), "maf", hidden=[8]),
    rp.Flow(rp.Gaussian(3), "nsf", hidden=[8]),
]
IDS = [str(family) for family in FAMILIES]


def in_dtype(family, dtype):
    """The family, or what it learns, in `dtype`."""
    return copy.deepcopy(family).to(dtype) if isinstance(family, nn.Module) else family


def exact_value(family, z):
    """z in float64; of pixels the level that the rounded number stands for."""
    levels = isinstance(family, rp.QuantizedCategorical | rp.DiscretizedLogistic)
    return (255 * z.double()).round() / 255 if levels else z.double()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
def test_scores_are_those_of_the_rounded_parameters(family, dtype):
    torch.manual_seed(0)
    half = in_dtype(family, dtype)
    params = torch.randn(100, family.num_params).to(dtype)
    member, exact = half(params), in_dtype(half, torch.float64)(params.double())
    member._validate_args = True
    z = member.sample()
    assert z.dtype == dtype
    assert member.support.check(z).all()
    log_prob = member.log_prob(z)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob.double(), exact.log_prob(exact_value(family, z)), rtol=1e-4, atol=1e-4)
    likelihood = half.likelihood(params)
    torch.testing.assert_close(likelihood.log_prob(z), log_prob)
    if member.has_rsample:
        assert member.rsample().dtype == dtype


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
def test_divergences_are_those_of_the_rounded_parameters(family, dtype):
    half = in_dtype(family, dtype)
    params = torch.randn(20, family.num_params).to(dtype)
    member, exact = half(params), in_dtype(half, torch.float64)(params.double())
    zeros = torch.zeros(family.num_params, dtype=dtype)
    found = rp.kl(member, half.standard(zeros), num_samples=2)
    assert found.value.dtype == torch.float32
    if found.method == "closed form":
        right = rp.kl(exact, in_dtype(half, torch.float64).standard(zeros.double())).value
        torch.testing.assert_close(found.value.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("raw", [-20.0, 10.0, 12.0])
@pytest.mark.parametrize("family", FAMILIES, ids=IDS)
def test_large_parameters_give_finite_draws_scores_and_gradients(family, raw, dtype):
    if isinstance(family, rp.Flow) and family.transform == "nsf":
        raw = max(raw, -5.0)  # the spline's own slopes end there
    torch.manual_seed(0)
    params = torch.full((50, family.num_params), raw).to(dtype)
    if "full" in str(family) or "Multivariate" in str(family):
        params[:, 8:] = 0  # a factor far off its diagonal has no draws in any precision
    params.requires_grad_()
    member = in_dtype(family, dtype)(params)
    member._validate_args = True
    z = (member.rsample if member.has_rsample else member.sample)()
    assert z.isfinite().all()
    assert member.support.check(z).all()
    log_prob = member.log_prob(z.detach())
    assert log_prob.isfinite().all()
    assert torch.autograd.grad(log_prob.sum(), params, retain_graph=True)[0].isfinite().all()
    if z.requires_grad:
        assert torch.autograd.grad(z.float().sum(), params)[0].isfinite().all()


def test_many_pixels_add_up():
    """In bfloat16 a sum of 784 log-densities was rounded to the nearest 4 nats, or 8."""
    torch.manual_seed(0)
    params = torch.randn(200, 2 * 784).bfloat16()
    member, exact = rp.Gaussian(784)(params), rp.Gaussian(784)(params.double())
    z = member.sample()
    assert (member.log_prob(z) - exact.log_prob(z.double())).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", HALF)
def test_points_of_a_simplex_are_their_distributions_own(dtype):
    for size in (3, 300):
        for member in (
            Dirichlet(torch.full((size,), 0.1, dtype=dtype), validate_args=True),
            LogisticNormal(torch.zeros(size - 1, dtype=dtype), torch.ones(size - 1, dtype=dtype), validate_args=True),
        ):
            assert member.log_prob(member.sample((100,))).isfinite().all()
            with pytest.raises(ValueError, match="shares that sum to one"):
                member.log_prob(1.02 * member.sample())
    shares = torch.tensor([0.5, 0.3, 0.2 + 1e-5])  # float32 can do better than that
    with pytest.raises(ValueError, match="shares that sum to one"):
        Dirichlet(torch.ones(3), validate_args=True).log_prob(shares)


@pytest.mark.parametrize(("dtype", "most", "below"), [(torch.float16, 2051, 2050), (torch.bfloat16, 2060, 2048)])
def test_rounding_stays_inside_the_support(dtype, most, below):
    one, half_step = torch.ones(()), torch.finfo(dtype).eps / 2
    for distribution, draws, expected in (
        (td.Beta(one, one), [1 - 1e-6, 0.25, 1.0], [1 - half_step, 0.25, 1.0]),
        (td.Exponential(one), [0.0, 2.0, 3 + 4 * half_step], [0.0, 2.0, 3 + 4 * half_step]),
        (td.Binomial(most, one / 2), [most, 3.0, 0.0], [below, 3.0, 0.0]),
    ):
        found = Rounded(distribution, dtype).rounded(torch.tensor(draws))
        assert found.dtype == dtype
        assert found.tolist() == expected
    for distribution in (td.Gamma(one, one), td.Beta(one, one), td.LogNormal(0 * one, one)):
        assert (Rounded(distribution, dtype).rounded(torch.tensor(1e-30)) > 0).all()
    far = Rounded(td.Normal(0 * one, one), dtype).rounded(torch.tensor([3e38, -3e38]))
    assert far.isfinite().all()


def test_narrow_draws_score_as_much_too_low_as_is_documented():
    torch.manual_seed(0)
    scale, step = 2.0**-8, 2.0**-7  # of bfloat16 between 1 and 2
    normal = td.Normal(torch.linspace(1.2, 1.8, 200), torch.full((200,), scale))
    member = Rounded(normal, torch.bfloat16)
    shortfall = -member.entropy() - member.log_prob(member.sample((4000,))).mean(0)
    assert abs(shortfall.mean().item() - step**2 / (24 * scale**2)) < 0.01


def test_a_gradient_beyond_float16_is_its_largest_number():
    params = torch.tensor([1.0, -20.0], dtype=torch.float16, requires_grad=True)
    rp.Gaussian(1)(params).log_prob(torch.tensor([2.0])).backward()
    assert params.grad.tolist() == [65504.0, 65504.0]


@pytest.mark.parametrize("dtype", HALF)
def test_the_mean_square_of_all_batches_is_kept_in_float32(dtype):
    """As an average in 16 bits it stood still: a new batch weighs 1%, less than a step between two numbers."""
    torch.manual_seed(0)
    pixels = rp.SharedScaleGaussian(50, "optimal")
    pixels.likelihood(torch.zeros(20, 50)).log_prob(torch.randn(20, 50))
    before = pixels.mean_square.item()
    pixels.to(dtype)
    assert pixels.mean_square.item() == before
    for _ in range(400):
        pixels.likelihood(torch.zeros(20, 50, dtype=dtype)).log_prob(1.2 * torch.randn(20, 50).to(dtype))
    assert abs(pixels.mean_square.item() - 1.44) < 0.05
    assert pixels.double().mean_square.dtype == torch.float64


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", [*priors.OWN, "nsf", "maf"])
def test_priors_score_with_the_digits_of_float32(name, dtype):
    torch.manual_seed(0)
    model = priors.model_with(name).to(dtype)
    z = model.prior().sample((100,))
    assert z.dtype == dtype
    log_prob = model.prior().log_prob(z)
    assert log_prob.dtype == torch.float32
    networks_in_half = name.startswith(("vamp", "autoregressive"))  # as of any network, products have 8 bits or 11
    tolerance = 0.2 if networks_in_half else 1e-3
    exact = copy.deepcopy(model).double().prior().log_prob(z.double())
    torch.testing.assert_close(log_prob.double(), exact, rtol=0, atol=tolerance)


def test_a_flow_of_zuko_at_the_top_of_a_hierarchy():
    zuko = import_zuko()
    latent = rp.Gaussian(2)
    networks = [nn.Linear(6, 4), nn.Linear(2, 4)], [nn.Linear(2, 6), nn.Linear(2, 4)]
    model = rp.Hierarchy([latent, latent], rp.Bernoulli(6), *networks, prior=zuko.flows.MAF(2)).bfloat16()
    z = model.prior().sample((3,))
    assert z.dtype == torch.bfloat16
    assert model.prior().log_prob(z).dtype == torch.float32
    assert rp.draw(model, torch.rand(5, 6).bfloat16()).log_weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", HALF)
def test_a_flow_scores_its_draws_without_an_inverse_and_any_other_value_exactly(dtype):
    torch.manual_seed(0)
    flow = rp.Flow(rp.Gaussian(3), "maf", hidden=[8])
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    flow.to(dtype)
    params = torch.randn(50, 6).to(dtype).requires_grad_()
    member, exact = flow(params), copy.deepcopy(flow).double()(params.double())
    z = member.rsample()
    unrounded = member._drawn[2]
    assert torch.equal(member.log_prob(z), member.base_dist.log_prob(unrounded))
    torch.testing.assert_close(member.log_prob(z.clone()).double(), exact.log_prob(z.double()), rtol=1e-4, atol=1e-4)
    member.log_prob(z).sum().backward()
    assert params.grad.isfinite().all()
    assert all(parameter.grad.dtype == dtype for parameter in flow.parameters())
    z += 1
    torch.testing.assert_close(member.log_prob(z).double(), exact.log_prob(z.double()), rtol=1e-4, atol=1e-4)


LATENTS = [
    rp.Gaussian(3),
    rp.Gaussian(3, covariance=2),
    rp.Gamma(3),
    rp.Dirichlet(2, 3),
    rp.VonMises(3),
    rp.Ordinal(2, 3),
    rp.TorchFamily(td.OneHotCategorical, (2, 3)),
    rp.Joint(a=rp.Beta(2), b=rp.Bernoulli(2)),
    rp.Flow(rp.Gaussian(3), "maf", hidden=[8]),
]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("latent", LATENTS, ids=str)
def test_a_model_in_16_bits_is_trained_and_evaluated(latent, dtype):
    torch.manual_seed(0)
    model = small_vae(copy.deepcopy(latent))
    if isinstance(latent, rp.Flow):
        model.latent.load_state_dict(latent.state_dict())  # the identity again
    model, x = model.to(dtype), (torch.rand(60, 6) ** 4).to(dtype)
    model.decoder(latent.features(rp.draw(model, x).z))  # z is in the dtype of the decoder's weights
    estimator = rp.Pathwise() if model.posterior(x).has_rsample else rp.RLOO(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)  # Adam's averages are nothing for float16
    before = rp.evaluate(model, x, num_samples=10).elbo.value
    rp.fit(model, estimator, x, epochs=4, batch_size=10, optimizer=optimizer)
    found = rp.evaluate(model, x, num_samples=100)
    exact = rp.evaluate(copy.deepcopy(model).float(), x.float(), num_samples=100)
    assert found.elbo.value > before
    assert abs(found.elbo.value - exact.elbo.value) < 0.05 + 4 * math.hypot(
        found.elbo.monte_carlo_error, exact.elbo.monte_carlo_error
    )
    assert rp.traverse(model, x[:1], columns=3).isfinite().all()


def test_a_run_in_bfloat16_is_given_back_in_bfloat16(tmp_path):
    pixels = rp.SharedScaleGaussian(6, "optimal")  # its float32 buffer comes before any weight
    model = rp.VAE(rp.Gaussian(2), pixels, rp.mlp(6, [4], 4), rp.mlp(2, [4], 6)).bfloat16()
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1, batch_size=10, run=tmp_path / "run")
    found = rp.load(tmp_path / "run")
    assert {parameter.dtype for parameter in found.parameters()} == {torch.bfloat16}
    assert found.observation.mean_square == model.observation.mean_square
