"""Families: zero parameters give the standard member, and shapes are what they say."""

import pytest
import torch
from torch import distributions as td
from torch import nn
from torch.distributions import Independent, kl_divergence

import reparam as rp
from reparam.distributions import DiscretizedLogisticMixture, Levels, LogitRelaxedBernoulli, ZeroInflated

UNIFORM = Independent(td.Uniform(torch.zeros(2, 3), torch.ones(2, 3)), 2)
MIDDLE = torch.full((5, 1), 0.5)
FAMILIES = [
    (rp.Gaussian(5), Independent(td.Normal(torch.zeros(5), torch.ones(5)), 1)),
    (rp.Gaussian((1, 4, 4)), Independent(td.Normal(torch.zeros(1, 4, 4), torch.ones(1, 4, 4)), 3)),
    (rp.Bernoulli(5), Independent(td.Bernoulli(torch.full((5,), 0.5)), 1)),
    (rp.Bernoulli((1, 4, 4)), Independent(td.Bernoulli(torch.full((1, 4, 4), 0.5)), 3)),
    (rp.Categorical(4, 3), Independent(td.OneHotCategorical(torch.full((4, 3), 1 / 3)), 1)),
    (rp.Categorical((2, 2), 3), Independent(td.OneHotCategorical(torch.full((2, 2, 3), 1 / 3)), 2)),
    (rp.TorchFamily(td.Laplace, 5), Independent(td.Laplace(torch.zeros(5), torch.ones(5)), 1)),
    (rp.TorchFamily(td.Gamma, (2, 3)), Independent(td.Gamma(torch.ones(2, 3), torch.ones(2, 3)), 2)),
    (rp.TorchFamily(td.Beta, 5), Independent(td.Beta(torch.ones(5), torch.ones(5)), 1)),
    (rp.TorchFamily(td.Dirichlet, 4), td.Dirichlet(torch.ones(4))),
    (rp.TorchFamily(td.Dirichlet, (3, 4)), Independent(td.Dirichlet(torch.ones(3, 4)), 1)),
    (rp.TorchFamily(td.MultivariateNormal, 4), td.MultivariateNormal(torch.zeros(4), torch.eye(4))),
    (rp.TorchFamily(td.Binomial, 5, total_count=7), Independent(td.Binomial(7, torch.full((5,), 0.5)), 1)),
    (rp.TorchFamily(td.Multinomial, 4, total_count=7), td.Multinomial(7, torch.full((4,), 0.25))),
    (rp.TorchFamily(td.Poisson, 5), Independent(td.Poisson(torch.ones(5)), 1)),
    (rp.TorchFamily(td.VonMises, 5), Independent(td.VonMises(torch.zeros(5), torch.ones(5)), 1)),
    (rp.Ordinal(5, 4), Independent(Levels(torch.zeros(5, 4)), 1)),
    (rp.Ordinal((2, 3), 2), Independent(td.Bernoulli(torch.full((2, 3), 0.5)), 2)),
    (rp.Binomial(5, 7), Independent(td.Binomial(7, torch.full((5,), 0.5)), 1)),
    (rp.Binomial((1, 2, 2), 1), Independent(td.Bernoulli(torch.full((1, 2, 2), 0.5)), 3)),
    (rp.Poisson((2, 3)), Independent(td.Poisson(torch.ones(2, 3)), 2)),
    (rp.Poisson(5, largest=3), Independent(Levels(-torch.tensor([1.0, 1.0, 2.0, 6.0]).log().expand(5, 4)), 1)),
    (rp.NegativeBinomial(5), Independent(td.NegativeBinomial(torch.ones(5), torch.full((5,), 0.5)), 1)),
    (
        rp.ZeroInflatedNegativeBinomial((2, 3)),
        Independent(ZeroInflated(td.NegativeBinomial(torch.ones(2, 3), 0.5), torch.zeros(2, 3)), 2),
    ),
    (rp.QuantizedCategorical((1, 2, 2), num_levels=9), Independent(Levels(torch.zeros(1, 2, 2, 9), step=1 / 8), 3)),
    (rp.DiscretizedLogistic(5), Independent(DiscretizedLogisticMixture(MIDDLE, MIDDLE, MIDDLE / 4), 1)),
    (
        rp.DiscretizedLogistic(5, num_levels=256, num_components=3),
        Independent(DiscretizedLogisticMixture(MIDDLE, MIDDLE, MIDDLE / 4), 1),
    ),
    (rp.SharedScaleGaussian((2, 3)), Independent(td.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 2)),
    (rp.SharedScaleGaussian(5, "optimal"), Independent(td.Normal(torch.zeros(5), torch.ones(5)), 1)),
    (rp.TorchFamily(td.Normal, 5, scale=0.5), Independent(td.Normal(torch.zeros(5), torch.full((5,), 0.5)), 1)),
    (rp.Laplace((2, 3)), Independent(td.Laplace(torch.zeros(2, 3), torch.ones(2, 3)), 2)),
    (rp.Logistic(5), Independent(LogitRelaxedBernoulli(1.0, torch.zeros(5)), 1)),
    (rp.StudentT(5), Independent(td.StudentT(4.0, torch.zeros(5), torch.ones(5)), 1)),
    (rp.StudentT(5, df=30.0), Independent(td.StudentT(30.0, torch.zeros(5), torch.ones(5)), 1)),
    (rp.LogNormal((2, 3)), Independent(td.LogNormal(torch.zeros(2, 3), torch.ones(2, 3)), 2)),
    (rp.Gamma(5), Independent(td.Gamma(torch.ones(5), torch.ones(5)), 1)),
    (rp.Beta((2, 3)), UNIFORM),
    (rp.Kumaraswamy((2, 3)), UNIFORM),
    (rp.ContinuousBernoulli((2, 3)), UNIFORM),
    (rp.Dirichlet(4, 3), Independent(td.Dirichlet(torch.ones(4, 3)), 1)),
    (rp.Dirichlet((2, 2), 3), Independent(td.Dirichlet(torch.ones(2, 2, 3)), 2)),
    (rp.Dirichlet((), 3), td.Dirichlet(torch.ones(3))),
    (rp.LogisticNormal(4, 2), Independent(td.LogisticNormal(torch.zeros(4, 1), torch.ones(4, 1)), 1)),
    (rp.Gaussian(4, covariance="full"), td.MultivariateNormal(torch.zeros(4), torch.eye(4))),
    (rp.Gaussian(4, covariance=2), td.MultivariateNormal(torch.zeros(4), torch.eye(4))),
    (rp.Gaussian((2, 3), scale=0.1), Independent(td.Normal(torch.zeros(2, 3), torch.full((2, 3), 0.1)), 2)),
]
IDS = [str(family) for family, _ in FAMILIES]


@pytest.mark.parametrize(("family", "standard"), FAMILIES, ids=IDS)
def test_zero_parameters_give_the_standard_member(family, standard):
    member = family(torch.zeros(family.num_params))
    assert member.event_shape == family.event_shape == standard.event_shape
    assert member.batch_shape == torch.Size()
    z = standard.sample((50,))
    torch.testing.assert_close(member.log_prob(z), standard.log_prob(z))


@pytest.mark.parametrize(("family", "standard"), FAMILIES, ids=IDS)
def test_members_have_the_batch_shape_of_their_parameters(family, standard):
    member = family(torch.randn(7, 2, family.num_params))
    z = member.sample((3,))
    assert z.shape == (3, 7, 2, *family.event_shape)
    assert member.log_prob(z).shape == (3, 7, 2)
    features = family.features(z)
    assert features.shape == (3, 7, 2, family.num_features)
    assert features.is_floating_point()


def test_gaussian_parameters_are_loc_then_log_variance():
    member = rp.Gaussian(2)(torch.tensor([1.0, -1.0, 2.0, 0.0])).base_dist
    assert member.loc.tolist() == [1.0, -1.0]
    torch.testing.assert_close(member.variance, torch.tensor([2.0, 0.0]).exp())


def test_grey_pixels_are_values_of_the_likelihood_and_not_of_the_latent():
    params, grey = torch.randn(3, 4), torch.rand(3, 4)
    assert rp.Bernoulli(4).likelihood(params).log_prob(grey).isfinite().all()
    assert (rp.Bernoulli(4)(params).log_prob(grey) == -torch.inf).all()
    bits = grey.round()
    torch.testing.assert_close(
        rp.Bernoulli(4).likelihood(params).log_prob(bits), rp.Bernoulli(4)(params).log_prob(bits)
    )


@pytest.mark.parametrize(
    "family",
    [
        rp.Gaussian(3),
        rp.Bernoulli(3),
        rp.Categorical(2, 3),
        rp.TorchFamily(td.Gamma, 3),
        rp.Ordinal(3, 4),
        rp.Binomial(3, 5),
        rp.Poisson(3),
        rp.Poisson(3, largest=5),
        rp.QuantizedCategorical(3, num_levels=4),
        rp.DiscretizedLogistic(3, num_levels=16, num_components=2),
        rp.SharedScaleGaussian(3),
    ],
    ids=str,
)
def test_every_kl_against_monte_carlo(family, float64):
    p, q = (family(torch.randn(4, family.num_params)) for _ in range(2))
    z = p.sample((40_000,))
    ratio = p.log_prob(z) - q.log_prob(z)
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - kl_divergence(p, q)).abs() < 4 * error).all()


def test_a_wrong_width_is_refused_with_the_right_one():
    with pytest.raises(
        ValueError, match=r"Gaussian\(shape=20\) takes 40 parameters .* received shape \(8, 20\).* 40 outputs"
    ):
        rp.Gaussian(20)(torch.zeros(8, 20))


REFUSED = [
    (lambda: rp.TorchFamily(td.RelaxedBernoulli, 3), "RelaxedBernoulli, 3.*a relaxation is a gradient estimator"),
    (lambda: rp.TorchFamily(td.Categorical, 3), "draws are indices"),
    (lambda: rp.TorchFamily(td.Pareto, 3), "support moves with its parameters"),
    (lambda: rp.TorchFamily(td.ContinuousBernoulli, 3), "does not integrate to one"),
    (lambda: rp.TorchFamily(td.OneHotCategoricalStraightThrough, 3), "biased gradient"),
    (lambda: rp.TorchFamily(td.MixtureSameFamily, 3), "wraps other distributions"),
    (lambda: rp.TorchFamily(td.Binomial, 3), r"total_count is not a map of a real number. Fix it"),
    (lambda: rp.TorchFamily(td.Normal, 3, sigma=1.0), r"no parameter \['sigma'\]; it has \['loc', 'scale'\]"),
    (lambda: rp.TorchFamily(td.Normal, 3, scale=-1.0), "building it failed"),
    (lambda: rp.TorchFamily(td.Normal, 3, scale=torch.ones(2, 3)), r"one draw has shape \(2, 3\), not \(3,\)"),
    (lambda: rp.TorchFamily(td.Dirichlet(torch.ones(3)), 3), "give a class"),
    (lambda: rp.Gaussian(2.5), "shape is 2.5; it must be a whole number"),
    (lambda: rp.Gaussian([1, 28]), r"shape is \[1, 28\]; .* tuple such as \(1, 28, 28\)"),
    (lambda: rp.VAE(20, rp.Bernoulli(4), nn.Identity(), nn.Identity()), "latent is 20; it must be a family"),
    (lambda: rp.VAE(rp.Gaussian(2), rp.Bernoulli(4), lambda x: x, nn.Identity()), "encoder is .*must be an nn.Module"),
    (lambda: rp.mlp(6, 400, 3), r"hidden is 400; it must be a list of widths, such as \[400\]"),
    (lambda: rp.mlp(6, [4], 3, nn.ReLU()), "activation is ReLU"),
]


@pytest.mark.parametrize(("act", "message"), REFUSED, ids=[m[:30] for _, m in REFUSED])
def test_refusals(act, message):
    with pytest.raises(TypeError, match=message):
        act()
    with pytest.raises(ValueError, match="shape is 0; it must be at least 1"):
        rp.Bernoulli(0)


def test_a_convolutional_network_fits_between_families():
    latent, pixels = rp.Gaussian(3), rp.Bernoulli((1, 8, 8))
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6))
    decoder = nn.Sequential(
        nn.Linear(3, 64), nn.Unflatten(-1, (4, 4, 4)), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 1, 4, 2, 1)
    )
    model, x = rp.VAE(latent, pixels, encoder, decoder), torch.rand(5, 1, 8, 8)
    estimate = rp.Pathwise(num_samples=6, bound=rp.iwae)(model, x)
    assert estimate.bound.shape == (5,)
    assert rp.sample(model, 2).shape == (2, 1, 8, 8)


def test_the_prior_follows_the_model_and_needs_no_checkpoint():
    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(4), rp.mlp(4, [], 4), rp.mlp(2, [], 4))
    assert not any("standard" in name for name in model.state_dict())
    assert model.double().prior().sample().dtype == torch.float64
    with torch.device("meta"):
        empty = rp.VAE(rp.Gaussian(2), rp.Bernoulli(4), rp.mlp(4, [], 4), rp.mlp(2, [], 4)).double()
    assert empty.prior().mean.device.type == "meta"
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    assert empty.prior().mean.tolist() == [0.0, 0.0]


def test_nothing_is_made_on_the_cpu_by_mistake():
    """On the meta device a tensor from elsewhere is an error: what passes here knows no CPU."""
    for latent, estimator in (
        (rp.Gaussian(2), rp.Pathwise(3, rp.iwae)),
        (rp.Bernoulli(2), rp.Relaxed(0.5)),
        (rp.Bernoulli(2), rp.Relaxed(0.5, kl="exact", straight_through=True)),
        (rp.Categorical(2, 3), rp.Relaxed(0.5)),
        (rp.Categorical(2, 3), rp.RLOO(3)),
        (rp.Bernoulli(2), rp.Enumerate()),
    ):
        with torch.device("meta"):
            model = rp.VAE(
                latent, rp.Bernoulli(4), rp.mlp(4, [3], latent.num_params), rp.mlp(latent.num_features, [3], 4)
            )
        estimate = estimator(model, torch.rand(5, 4, device="meta"))
        assert estimate.bound.device.type == "meta"
        estimate.loss.backward()
    with torch.device("meta"):
        for kind in (rp.distributions.LogitRelaxedBernoulli, rp.distributions.LogRelaxedCategorical):
            relaxed = kind(0.5, torch.randn(3, 4), validate_args=False)
            assert kl_divergence(relaxed, relaxed).device.type == "meta"


def test_a_network_of_another_width_is_refused_before_it_runs():
    pixels, angles = rp.Bernoulli(6), rp.VonMises(4)
    with pytest.raises(
        ValueError, match=r"decoder begins with 4 inputs and gets 8, the num_features of VonMises.*mlp\(8"
    ):
        rp.VAE(angles, pixels, rp.mlp(6, [5], 8), rp.mlp(4, [5], 6))
    with pytest.raises(
        ValueError, match="encoder begins with 7 inputs and gets 6, the numbers of one draw of Bernoulli"
    ):
        rp.VAE(rp.Gaussian(2), pixels, nn.Sequential(nn.Flatten(), nn.Linear(7, 4)), rp.mlp(2, [5], 6))
    bits = [rp.Bernoulli(4), rp.Bernoulli(3)]
    with pytest.raises(ValueError, match="decoder 1 begins with 4 inputs and gets 3"):
        rp.Hierarchy(bits, pixels, [nn.Linear(6, 4), nn.Linear(4, 3)], [nn.Linear(4, 6), nn.Linear(4, 4)])
    with pytest.raises(ValueError, match="encoder 1 begins with 6 inputs and gets 4"):
        rp.Hierarchy(bits, pixels, [nn.Linear(6, 4), nn.Linear(6, 3)], [nn.Linear(4, 6), nn.Linear(3, 4)])
