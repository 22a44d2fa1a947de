"""Directions and angles: normalisers, draws and their gradients, and the families that train on them."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from helpers import gradient, gradients, largest_z, small_vae
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, Member, line
from scipy.special import gammaln
from torch.distributions import kl_divergence

import reparam as rp
from reparam import families
from reparam.distributions import PowerSpherical, VonMises


def units(*shape, dtype=torch.float64, seed=1):
    return F.normalize(torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)), dim=-1)


def log_area(dim):
    """Of the unit sphere in R^dim."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def sphere(num_nodes=120):
    """Nodes `[N, 3]` on the sphere in R^3 and their log-weights: Gauss-Legendre in the polar angle, trapezoid around."""
    points, weights = np.polynomial.legendre.leggauss(num_nodes)
    polar = torch.as_tensor((points + 1) * math.pi / 2)[:, None]
    around = torch.arange(num_nodes, dtype=torch.float64) * (2 * math.pi / num_nodes)
    x = torch.stack(
        torch.broadcast_tensors(polar.sin() * around.cos(), polar.sin() * around.sin(), polar.cos()), -1
    ).flatten(0, 1)
    log_weights = torch.as_tensor(weights * math.pi / 2).log()[:, None] + polar.sin().log()
    return x, (log_weights + math.log(2 * math.pi / num_nodes)).expand(-1, num_nodes).flatten()


def on_sphere(_):
    x, log_weights = sphere()
    return x[:, None].expand(-1, 3, -1), log_weights


def on_circle(_):
    angle = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)[1:]
    x = torch.stack([angle.cos(), angle.sin()], -1)
    return x[:, None].expand(-1, 3, -1), torch.full((4000,), math.log(2 * math.pi / 4000), dtype=torch.float64)


def along_a_meridian(d):
    """The density depends on the angle from loc alone, whose parallel has radius sin and one dimension less."""
    points, weights = np.polynomial.legendre.leggauss(300)
    angle, dim = torch.as_tensor((points + 1) * math.pi / 2)[:, None], d.event_shape[0]
    across = torch.roll(d.loc, 1, -1)
    across = F.normalize(across - (across * d.loc).sum(-1, keepdim=True) * d.loc, dim=-1)
    log_weights = torch.as_tensor(weights * math.pi / 2).log()[:, None] + (dim - 2) * angle.sin().log()
    x = angle.cos()[..., None] * d.loc + angle.sin()[..., None] * across
    return x, log_weights + log_area(dim - 1)


def power_spherical_reference(x, loc, scale):
    dim = loc.shape[-1]
    beta = (dim - 1) / 2
    alpha = beta + scale
    log_normalizer = (alpha + beta) * np.log(2) + beta * np.log(np.pi) + gammaln(alpha) - gammaln(alpha + beta)
    return scale * np.log1p((x * loc).sum(-1)) - log_normalizer


def power_spherical(loc, scale):
    return PowerSpherical(loc, scale, validate_args=False)


def von_mises(loc, concentration):
    return VonMises(loc, concentration, validate_args=False)


SCALES = torch.tensor([0.0, 0.7, 25.0], dtype=torch.float64)
ANGLES = torch.tensor([0.3, -3.0, 2.0], dtype=torch.float64)
NODES = {2: on_circle, 3: on_sphere, 50: along_a_meridian}
EXTREMES = [0.0, 1e-6, 1.0, 1e3, 1e4, 1e6]
MEMBERS = [
    Member(
        f"PowerSpherical({dim})",
        power_spherical,
        (units(3, dim), SCALES + 0.5 * (dim == 2)),
        power_spherical_reference,
        NODES[dim],
        [[units(dim).tolist(), scale] for scale in EXTREMES],
        implicit=True,
    )
    for dim in (2, 3, 50)
] + [
    Member(
        "VonMises",
        von_mises,
        (ANGLES, SCALES),
        lambda z, loc, kappa: scipy.stats.vonmises.logpdf(z, np.maximum(kappa, 1e-300), loc),
        line(-math.pi, math.pi, 2_001),
        [[loc, kappa] for loc in (0.0, 3.1415, 40.0) for kappa in EXTREMES],
        moments=False,  # the circle has its own
        implicit=True,
    )
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.integers(2, 5),
)
def test_shapes_are_sample_then_batch_then_event(sample_shape, batch_shape, dim):
    direction = PowerSpherical(units(dim), torch.ones(batch_shape).double())
    angle = VonMises(torch.zeros(()), torch.ones(batch_shape))
    for d, event_shape in ((direction, (dim,)), (angle, ())):
        assert (*d.batch_shape, *d.event_shape) == (*batch_shape, *event_shape)
        z = d.rsample(sample_shape)
        assert z.shape == (*sample_shape, *batch_shape, *event_shape) == d.sample(sample_shape).shape
        assert d.log_prob(z).shape == (*sample_shape, *batch_shape)
        assert d.mean.shape == d.variance.shape == (*batch_shape, *event_shape)
        assert d.entropy().shape == d.batch_shape


def test_zero_parameters_are_uniform_and_so_is_the_default_prior(float64):
    zeros = torch.zeros(6)
    for family, log_volume in (
        (families.PowerSpherical(6), log_area(6)),
        (families.VonMises(3), 3 * math.log(2 * math.pi)),
    ):
        prior = family.standard(zeros)
        assert prior.event_shape == family.event_shape
        assert prior.batch_shape == ()
        z = prior.sample((50,))
        for d in (prior, family(zeros)):
            torch.testing.assert_close(d.log_prob(z), torch.full((50,), -log_volume))
        torch.testing.assert_close(kl_divergence(family(zeros), prior), torch.tensor(0.0))


def test_parameters_mean_what_the_docstring_says(float64):
    vector = torch.tensor([[0.0, 3.0, 4.0, 0.0, 0.0]])
    direction = families.PowerSpherical(5)(vector)
    torch.testing.assert_close(direction.loc, vector / 5)
    assert direction.scale.tolist() == [20.0]
    torch.testing.assert_close(direction.mean, vector / 6)
    family = families.VonMises((2, 2))
    angles = family(torch.tensor([[3.0, 0.0, -2.0, 1.0, 4.0, 1.0, 0.0, 1.0]]))
    assert angles.batch_shape == (1,)
    torch.testing.assert_close(angles.base_dist.concentration, torch.tensor([[[5.0, 1.0], [2.0, 2**0.5]]]))
    expected = torch.tensor([[[math.atan2(4, 3), math.pi / 2], [math.pi, math.pi / 4]]])
    torch.testing.assert_close(angles.base_dist.loc, expected)
    z = angles.sample((7,))
    features = family.features(z)
    assert features.shape == (7, 1, family.num_features) == (7, 1, 8)
    torch.testing.assert_close(features, torch.cat([z.flatten(-2).cos(), z.flatten(-2).sin()], -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "family", [families.PowerSpherical(3), families.PowerSpherical(20), families.VonMises(4)], ids=str
)
def test_gradients_are_bounded_where_there_is_no_direction(family, dtype):
    # |dz / dv| would grow as 1 / |v| if draws turned with loc; a network that starts with zeros must move, and not far
    for size in (0.0, 1e-4, 1e-2):
        params = (size * torch.randn(300, family.num_params)).to(dtype).requires_grad_()
        d = family(params)
        z = d.rsample()
        assert z.dtype == dtype
        features = family.features(z).float()
        (moved,) = torch.autograd.grad((features * torch.randn_like(features)).sum(), params, retain_graph=True)
        assert moved.isfinite().all()
        assert 0.01 < moved.float().norm(dim=-1).mean() < 100
        (score,) = torch.autograd.grad(d.log_prob(z.detach()).sum(), params, retain_graph=True)
        assert score.isfinite().all()
        kl = kl_divergence(d, family.standard(torch.zeros(family.num_params, dtype=dtype)))
        assert kl.shape == (300,)
        assert torch.autograd.grad(kl.sum(), params)[0].isfinite().all()


def test_a_direction_in_the_plane_is_an_angle():
    with pytest.raises(ValueError, match=r"dim is 2; it must be at least 3. .* use VonMises\(1\)"):
        families.PowerSpherical(2)
    with pytest.raises(TypeError, match=r"dim is 3\.5"):
        families.PowerSpherical(3.5)
    with pytest.raises(ValueError, match="takes 20 parameters"):
        families.PowerSpherical(20)(torch.zeros(4, 21))


def exact_gradient(model, x, z, log_weights):
    """Of the negative ELBO, with the expectation under q by quadrature."""
    z = z.unsqueeze(1).expand(-1, len(x), *z.shape[1:])
    weights = (model.posterior(x).log_prob(z) + log_weights[:, None]).exp()
    torch.testing.assert_close(weights.sum(0), torch.ones(len(x)), rtol=1e-5, atol=1e-5)
    reward = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - model.posterior(x).log_prob(z)
    return gradient(-(weights * reward).sum(0).mean(), model)


def angle_pairs(num_nodes=60):
    angle = (torch.arange(num_nodes) + 0.5) * (2 * math.pi / num_nodes) - math.pi
    z = torch.cartesian_prod(angle, angle)
    return z, torch.full((len(z),), 2 * math.log(2 * math.pi / num_nodes))


@pytest.mark.parametrize("estimator", [rp.Pathwise(), rp.Pathwise(kl="sampled"), rp.Pathwise(gradient="stl")], ids=str)
@pytest.mark.parametrize("name", ["PowerSpherical", "VonMises"])
def test_the_pathwise_gradient_is_that_of_the_elbo(name, estimator, float64):
    latent, nodes = {
        "PowerSpherical": (families.PowerSpherical(3), sphere(100)),
        "VonMises": (families.VonMises(2), angle_pairs()),
    }[name]
    model, x = small_vae(latent), torch.rand(3, 6)
    exact = exact_gradient(model, x, *nodes)
    z, limit = largest_z(gradients(estimator, model, x.repeat(64, 1), 100), exact)
    assert z < limit


@pytest.mark.parametrize("latent", [families.PowerSpherical(20), families.VonMises((2, 5))], ids=str)
def test_the_pathwise_and_the_score_function_gradient_have_one_mean(latent, float64):
    model, x = small_vae(latent), torch.rand(3, 6).repeat(64, 1)
    pathwise, score_function = (gradients(e, model, x, 80) for e in (rp.Pathwise(), rp.RLOO(4)))
    z, limit = largest_z(pathwise - score_function, torch.zeros(pathwise.shape[1]))
    assert z < limit
    assert pathwise.var(0).sum() < score_function.var(0).sum()


@pytest.mark.parametrize("latent", [families.PowerSpherical(4), families.VonMises(3)], ids=str)
def test_a_vae_trains_on_it(latent):
    pixels = rp.Bernoulli(24)
    model = rp.VAE(latent, pixels, rp.mlp(24, [16], latent.num_params), rp.mlp(latent.num_features, [16], 24))
    with torch.no_grad():  # zeros for a start: every posterior is the prior
        final = list(model.encoder.parameters())[-2:]
        for parameter in final:
            parameter.zero_()
    x = torch.eye(6).repeat_interleave(4, 1).repeat(20, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        estimate = rp.Pathwise()(model, x)
        estimate.loss.backward()
        optimizer.step()
        losses.append(estimate.loss.item())
    assert losses[0] > 14
    assert np.mean(losses[-20:]) < 8  # log 6 = 1.8 is the least; without a latent it is 10.8
