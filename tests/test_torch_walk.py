"""Every public class of torch.distributions: it works as a latent and as a likelihood, or is refused with a reason."""

import pytest
import torch
from helpers import assert_mean, small_vae
from laws import kl_agrees_with_samples
from torch import distributions as td
from torch import nn
from torch.distributions import Distribution, Independent, kl_divergence

import reparam as rp
from reparam._tensors import unwrap

# With the parameters that no network gives.
ACCEPTED = {
    "Bernoulli": {},
    "Beta": {},
    "Binomial": {"total_count": 7},
    "Cauchy": {},
    "Chi2": {},
    "Dirichlet": {},
    "Exponential": {},
    "FisherSnedecor": {},
    "Gamma": {},
    "Geometric": {},
    "Gumbel": {},
    "HalfCauchy": {},
    "HalfNormal": {},
    "InverseGamma": {},
    "Laplace": {},
    "LogNormal": {},
    "LowRankMultivariateNormal": {"cov_factor": torch.tensor([[1.0], [-0.5], [0.2]])},
    "Multinomial": {"total_count": 7},
    "MultivariateNormal": {},
    "NegativeBinomial": {},
    "Normal": {},
    "OneHotCategorical": {},
    "Poisson": {},
    "StudentT": {},
    "VonMises": {},
    "Weibull": {},
}
MOVES, WRAPS, RELAXED = (
    "support moves with its param",
    "wraps other distributions. Write a Family",
    "gradient estimator here",
)
REFUSED = {
    "Categorical": "draws are indices.* Use rp.Categorical",
    "ContinuousBernoulli": "does not integrate to one.* Use rp.ContinuousBernoulli",
    "Distribution": "it is abstract. Give a class",
    "ExponentialFamily": "it is abstract. Give a class",
    "GeneralizedPareto": MOVES,
    "Independent": WRAPS,
    "Kumaraswamy": "often infinite.* Use rp.Kumaraswamy",
    "LKJCholesky": "draws do not follow its density.* Use MultivariateNormal",
    "LogisticNormal": "thousands of nats.* Use rp.Gaussian",
    "MixtureSameFamily": WRAPS,
    "OneHotCategoricalStraightThrough": "biased gradient. Use rp.Categorical",
    "Pareto": MOVES,
    "RelaxedBernoulli": RELAXED,
    "RelaxedOneHotCategorical": RELAXED,
    "TransformedDistribution": WRAPS,
    "Uniform": MOVES,
    "Wishart": "draws again.* Use MultivariateNormal",
}
FINITE = {"Bernoulli", "Binomial", "OneHotCategorical"}
RSAMPLE = set(ACCEPTED) - FINITE - {"Geometric", "Multinomial", "NegativeBinomial", "Poisson", "VonMises"}


def public_classes():
    found = {name: getattr(td, name) for name in td.__all__}
    return {name: c for name, c in found.items() if isinstance(c, type) and issubclass(c, Distribution)}


def make(name, rows=()):
    return rp.TorchFamily(getattr(td, name), (*rows, 3), **ACCEPTED[name])


def gentle_vae(latent, observation=None):
    """A small VAE whose members stay near the standard one: of Gumbels apart from each other a density is e^-e^x."""
    model = small_vae(latent, observation=observation)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    return model


def raw_parameters(family, rows, dtype=torch.float32):
    return torch.empty(rows, family.num_params, dtype=dtype).uniform_(-3, 3)


def test_every_public_class_of_torch_is_on_a_list():
    unknown = set(public_classes()) - set(ACCEPTED) - set(REFUSED)
    assert not unknown, f"torch {torch.__version__} has {sorted(unknown)}: try each as a family, and put it on a list"
    assert not set(ACCEPTED) & set(REFUSED)
    assert (set(ACCEPTED) | set(REFUSED)) - set(public_classes()) <= {"GeneralizedPareto"}  # newer than torch 2.6


@pytest.mark.parametrize("name", sorted(REFUSED.keys() & public_classes().keys()))
def test_refused_with_a_reason(name):
    for shape in (3, (3, 3)):
        with pytest.raises(TypeError, match=rf"TorchFamily\({name}, .*cannot be a family: .*{REFUSED[name]}"):
            rp.TorchFamily(getattr(td, name), shape)


@pytest.mark.parametrize("name", ACCEPTED)
def test_works_as_a_latent(name):
    latent = make(name)
    model, x = gentle_vae(latent), torch.rand(16, 6)
    reparameterised = model.prior().has_rsample
    assert reparameterised == (name in RSAMPLE)
    estimate = (rp.Pathwise(2) if reparameterised else rp.RLOO(4))(model, x)
    estimate.loss.backward()
    assert estimate.bound.isfinite().all()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    found = rp.evaluate(model, x, num_samples=20)
    for measured in (found.elbo, found.iwae, found.log_likelihood, found.rate, found.distortion):
        assert abs(measured.value) < 1e6
    assert found.elbo.value < found.iwae.value
    assert (str(rp.Enumerate()) in rp.estimators_for(model, x, max_states=8**3)) == (name in FINITE)


@pytest.mark.parametrize("name", ACCEPTED)
def test_works_as_a_likelihood_of_its_own_samples(name):
    observation = make(name)
    x = observation(raw_parameters(observation, 16) / 3).sample()
    model = gentle_vae(rp.Gaussian(2), observation)
    estimate = rp.Pathwise(5, rp.iwae)(model, x)
    estimate.loss.backward()
    assert estimate.bound.isfinite().all()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    assert abs(rp.evaluate(model, x, num_samples=5).elbo.value) < 1e6


@pytest.mark.parametrize("name", ACCEPTED)
def test_members_score_their_own_float32_samples(name):
    family = make(name)
    raw = raw_parameters(family, 4000).requires_grad_()
    member = family(raw)
    z = member.sample((2,))
    log_prob = member.log_prob(z)
    assert z.isfinite().all()
    assert log_prob.isfinite().all()
    assert torch.autograd.grad(log_prob.sum(), raw)[0].isfinite().all()
    exact = family(raw.detach().double()).log_prob(z.double())
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-4, atol=2e-3)
    if member.has_rsample:
        weights = torch.randn(4000, *family.event_shape)
        assert torch.autograd.grad((family(raw).rsample() * weights).sum(), raw)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *(("Beta", raw) for raw in ((10.0, 0.0), (0.0, 10.0), (12.0, -3.0), (12.0, 12.0))),
        *(("Dirichlet", raw) for raw in ((9.2, 0.0), (11.5, 1.1, -2.0), (0.0, 0.0, 0.0))),
        *(("Gamma", raw) for raw in ((10.0, 0.0), (-3.0, 3.0))),
        *(("Chi2", raw) for raw in ((10.0,), (-3.0,))),
        *(("FisherSnedecor", raw) for raw in ((10.0, 4.0), (0.0, 10.0), (3.0, 4.0))),
    ],
)
def test_draws_move_as_their_mean_at_large_concentrations_beside_small_ones(name, raw, dtype):
    family = rp.TorchFamily(getattr(td, name), len(raw) if name == "Dirichlet" else 1)
    leaf = torch.tensor(raw, dtype=dtype, requires_grad=True)
    each = leaf.detach().expand(40_000, -1).clone().requires_grad_()
    for index in range(family.event_shape[0]):
        (found,) = torch.autograd.grad(family(each).rsample()[:, index].sum(), each)
        (expected,) = torch.autograd.grad(family(leaf).mean[index], leaf)
        assert_mean(found.double(), expected.double(), 4.5)


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("low", [False, True])
def test_the_score_of_own_samples_has_mean_zero(name, low):
    """Float32 draws and the density belong together: what every score-function estimator and every bound rests on."""
    family = make(name)
    raw = torch.full((family.num_params,), -3.0) if low else raw_parameters(family, 1)[0]
    raw = raw.repeat(50_000, 1).requires_grad_()
    member = family(raw)
    (score,) = torch.autograd.grad(member.log_prob(member.sample()).sum(), raw)
    assert_mean(score.double(), torch.zeros(family.num_params), 4.5)


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_kl_in_closed_form_agrees_with_samples_and_the_others_are_sampled(name, float64):
    family = make(name)
    q, p = (family(torch.randn(3, family.num_params) / 2) for _ in range(2))
    try:
        kl_divergence(q, p)
    except NotImplementedError:
        model, x = small_vae(family), torch.rand(4, 6)
        with pytest.raises(NotImplementedError):
            kl_divergence(model.posterior(x), model.prior())
        if q.has_rsample:
            losses = []
            for kl in ("auto", "sampled"):
                torch.manual_seed(0)
                losses.append(rp.Pathwise(3, kl=kl)(model, x).loss)
            assert losses[0] == losses[1]
    else:
        kl_agrees_with_samples(q, p, 20_000)


@pytest.mark.parametrize("name", ACCEPTED)
def test_rows_of_draws_are_independent(name):
    family, alone = make(name, rows=(2,)), make(name)
    member = family(params := torch.randn(5, family.num_params))
    z = member.sample()
    assert z.shape == (5, *family.event_shape)
    assert member.batch_shape == (5,)
    parts = [part.unflatten(-1, (2, -1)) for part in params.split(family._sizes, -1)]
    rows = [torch.cat([part[:, row] for part in parts], -1) for row in range(2)]
    expected = sum(alone(row).log_prob(z[:, index]) for index, row in enumerate(rows))
    torch.testing.assert_close(member.log_prob(z), expected)


LEAST = {
    "Beta": {"concentration1": 0.5, "concentration0": 0.5},
    "Chi2": {"df": 0.2},
    "Dirichlet": {"concentration": 0.1},
    "FisherSnedecor": {"df1": 0.75, "df2": 0.75},
    "Gamma": {"concentration": 0.1},
    "InverseGamma": {"concentration": 0.75},
    "StudentT": {"df": 0.75},
    "Weibull": {"concentration": 0.75},
}


@pytest.mark.parametrize("name", LEAST)
def test_shape_parameters_have_a_least_value_are_standard_at_zero_and_have_no_largest(name):
    family = make(name)
    for raw, factor in ((-30.0, 0.0), (0.0, 1.0), (5.0, torch.e**5)):
        member, _ = unwrap(family(torch.full((family.num_params,), raw)))
        for parameter, least in LEAST[name].items():
            expected = torch.full((3,), least + (1 - least) * factor)
            torch.testing.assert_close(getattr(member, parameter), expected)


def test_a_parameter_that_is_fixed_has_no_least_value():
    member, _ = unwrap(rp.TorchFamily(td.StudentT, 2, df=0.3)(torch.zeros(4)))
    assert member.df.tolist() == pytest.approx([0.3, 0.3])


def test_a_matrix_may_have_a_single_parameter():
    class Correlations(td.LKJCholesky):
        """A class of a user's; torch's own is refused."""

    family = rp.TorchFamily(Correlations, (2, 2), dim=2)
    assert family.num_params == 1
    assert family(torch.randn(5, 1)).log_prob(torch.eye(2)).shape == (5,)


def test_what_torch_refuses_for_is_still_so():
    """The reasons given: should torch improve, these fail, and a class may be accepted."""
    raw = torch.empty(5000, 2, 3).uniform_(-3, 3)
    first, second = raw[:, 0], raw[:, 1].exp()
    skewed = td.Kumaraswamy(first.exp(), second, validate_args=False)
    assert not skewed.log_prob(skewed.sample()).isfinite().all()
    corner = td.LogisticNormal(first, second, validate_args=False)
    y = td.Normal(first, second).sample()
    sticks = td.StickBreakingTransform()
    exact = td.Normal(first.double(), second.double()).log_prob(y.double()).sum(-1)
    exact = exact - sticks.log_abs_det_jacobian(y.double(), sticks(y.double()))
    assert ((corner.log_prob(sticks(y)) - exact).abs() > 1000).float().mean() > 0.005
    factor = td.LKJCholesky(3, 1.0).sample((20_000,))
    assert ((factor @ factor.mT)[:, 2, 0].square().mean() - 0.25).abs() > 0.03  # uniform over correlation matrices
    unit = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    coin = td.ContinuousBernoulli(logits=torch.tensor(20.0), validate_args=False)
    assert torch.trapezoid(coin.log_prob(unit).exp(), unit) < 0.9


class Index(nn.Module):
    """A latent that is torch's index Categorical; the model makes it one-hot itself."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(4, 6)

    def prior(self):
        return td.Categorical(logits=torch.zeros(4))

    def posterior(self, x):
        return td.Categorical(logits=self.encoder(x))

    def likelihood(self, z):
        return rp.Bernoulli(6).likelihood(self.decoder(nn.functional.one_hot(z, 4).to(self.decoder.weight)))


def test_indices_are_enumerated_in_a_model_of_ones_own():
    model, x = Index(), torch.rand(5, 6)
    found = rp.estimators_for(model, x)
    assert {"Enumerate()", "RLOO(num_samples=4)"} <= set(found)
    assert "Enumerate()" not in rp.estimators_for(model, x, max_states=3)
    assert "Enumerate()" not in rp.estimators_for(small_vae(rp.TorchFamily(td.Poisson, 2)), x)
    exact = found["Enumerate()"](model, x).bound
    sampled = torch.stack([rp.RLOO(4)(model, x).bound for _ in range(400)])
    error = sampled.std(0) / 20
    assert ((sampled.mean(0) - exact).abs() < 4 * error).all()
    assert isinstance(model.posterior(x), td.Categorical)
    assert not isinstance(model.prior(), Independent)
