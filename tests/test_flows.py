"""Flows: the density of an image, what a remembered draw may be used for, and posteriors made of them."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import LinearGaussian, gradient, gradients, largest_z
from laws import LAWS, Member
from torch import nn
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    Independent,
    MultivariateNormal,
    Normal,
    SigmoidTransform,
    TanhTransform,
    constraints,
)

import reparam as rp
from reparam import distributions
from reparam.families.flow import Flow, import_zuko

zuko = import_zuko()


def lognormal(loc, scale):
    return distributions.Flow(Normal(loc, scale, validate_args=False), ExpTransform(), validate_args=False)


def skewed(loc, scale):
    """z = -2 exp(u) + 3 by two transforms."""
    return distributions.Flow(
        Normal(loc, scale, validate_args=False), ExpTransform(), AffineTransform(3.0, -2.0), validate_args=False
    )


generator = torch.Generator().manual_seed(3)
PARAMS = (
    torch.randn(3, generator=generator, dtype=torch.float64),
    (0.3 * torch.randn(3, generator=generator, dtype=torch.float64)).exp() / 2,
)


def positive_line(sign, shift):
    """Nodes in log(z): dense where the density of a lognormal is."""

    def nodes(_):
        u = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
        step = (u[1] - u[0]).log()
        return (shift + sign * u.exp())[:, None].expand(-1, 3), u + step + math.log(abs(sign))

    return nodes


MEMBERS = [
    Member(
        "Flow of one transform",
        lognormal,
        PARAMS,
        lambda z, m, s: scipy.stats.lognorm(s, scale=np.exp(m)).logpdf(z),
        positive_line(1, 0),
        extremes=[[0.0, 1e-6], [20.0, 1e-3], [-20.0, 1.0]],
        moments=False,
    ),
    Member(
        "Flow of two transforms",
        skewed,
        PARAMS,
        lambda z, m, s: scipy.stats.lognorm(s, scale=np.exp(m)).logpdf((3 - z) / 2) - np.log(2),
        positive_line(-2, 3),
        extremes=[[0.0, 0.1], [3.0, 1e-2]],
        moments=False,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


def randomize(module, scale=0.4):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)
    return module


def flow(kind, size=2, num_transforms=2):
    return randomize(Flow(rp.Gaussian(size), kind, num_transforms=num_transforms, hidden=[8]))


KINDS = ["maf", "nsf"]


@pytest.mark.parametrize("kind", KINDS)
def test_densities_integrate_to_one_and_are_those_of_the_draws(kind, float64):
    posterior = flow(kind)(torch.tensor([[0.0, 1.0, 0.0, -1.0], [1.0, -0.5, -2.0, 0.5]]))
    end = {"maf": 20, "nsf": 9}[kind]  # splines keep to [-5, 5]
    side = torch.linspace(-end, end, 321)
    z = torch.cartesian_prod(side, side)[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        density = posterior.log_prob(z).exp() * (side[1] - side[0]) ** 2
        draws = posterior.sample((40_000,))
    assert ((density.sum(0) - 1).abs() < 2e-3).all()  # the network's kinks are not on the grid
    for f in (lambda z: z, lambda z: z[..., :1] * z[..., 1:], lambda z: (z > 0.3).double()):
        expected, samples = (f(z) * density[..., None]).sum(0), f(draws)
        error = samples.std(0) / math.sqrt(len(samples))
        assert ((samples.mean(0) - expected).abs() < 4.5 * error + 5e-3).all()


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_begins_as_its_base(kind, size):
    base = rp.Gaussian(size)
    latent = Flow(base, kind)
    params = torch.randn(7, latent.num_params)
    z = 2 * torch.randn(3, 7, size)
    torch.testing.assert_close(latent(params).log_prob(z), base(params).log_prob(z))
    assert len(latent.transforms) == 2
    assert latent.event_shape == (size,)
    assert latent.num_params == 2 * size


def test_layers_alternate_the_order_of_the_variables():
    """Two of them let each variable depend on each other one; a single one does not."""

    def jacobian(latent):
        transforms = [t() for t in latent.transforms]

        def image(u):
            for t in transforms:
                u = t(u)
            return u

        return torch.autograd.functional.jacobian(image, torch.randn(3))

    assert (jacobian(flow("maf", 3, 1)).triu(1) == 0).all()
    assert (jacobian(flow("maf", 3, 2)) != 0).all()


# the remembered draw


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_of_a_draw_needs_no_inverse_and_is_the_same(kind, float64):
    latent = flow(kind, 5)
    params = torch.randn(4, 10, requires_grad=True)
    posterior = latent(params)
    z = posterior.rsample((3,))
    calls = []
    for transform in posterior.transforms:
        transform._inverse = lambda y: calls.append(1)
    fast = posterior.log_prob(z)
    assert calls == []
    slow = latent(params).log_prob(z)
    torch.testing.assert_close(fast, slow)
    leaves = [params, *latent.parameters()]
    for a, b in zip(*(torch.autograd.grad(s.sum(), leaves, retain_graph=True) for s in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)  # the total derivative: through z as well


def test_a_draw_without_a_gradient_is_not_taken_for_a_score_that_needs_one(float64):
    latent = flow("maf", 3)
    params = torch.randn(4, 6, requires_grad=True)
    posterior = latent(params)
    z = posterior.sample((3,))
    log_prob = posterior.log_prob(z)
    expected = latent(params).log_prob(z)
    leaves = [params, *latent.parameters()]
    for a, b in zip(*(torch.autograd.grad(s.sum(), leaves) for s in (log_prob, expected)), strict=True):
        torch.testing.assert_close(a, b)
        assert b.abs().max() > 1e-4
    with torch.no_grad():
        torch.testing.assert_close(posterior.log_prob(z), expected)


def test_only_the_very_last_draw_as_it_was_drawn_is_remembered(float64):
    latent = flow("nsf", 3)
    posterior = latent(torch.randn(4, 6))
    first, second = posterior.sample((3,)), posterior.sample((3,))
    fresh = latent(torch.cat([posterior.base.base_dist.loc, 2 * posterior.base.base_dist.scale.log()], -1))
    for z in (first, second, second.clone()):
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z))
    second.add_(0.5)
    with torch.no_grad():
        torch.testing.assert_close(posterior.log_prob(second), fresh.log_prob(second))
    with torch.inference_mode():
        z = posterior.sample((3,))
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z.clone()))


def test_an_alias_of_a_draw_has_the_partial_derivative(float64):
    posterior = flow("maf", 3)(torch.randn(4, 6))
    z = posterior.rsample((2,))
    assert torch.autograd.grad(posterior.log_prob(z).sum(), z, allow_unused=True) == (None,)
    (partial,) = torch.autograd.grad(posterior.log_prob(z.view_as(z)).sum(), z)
    eps = 1e-6 * torch.eye(3)
    with torch.no_grad():
        for i in range(3):
            slope = (posterior.log_prob(z + eps[i]) - posterior.log_prob(z - eps[i])) / 2e-6
            torch.testing.assert_close(partial[..., i], slope, rtol=1e-4, atol=1e-5)


def test_transforms_of_any_number_of_event_axes_are_added_up(float64):
    base = Independent(Normal(torch.zeros(4, 2, 3), torch.ones(2, 3)), 2)
    whole = distributions.Flow(base, ComposeTransform([TanhTransform(), AffineTransform(1.0, 2.0, event_dim=0)]))
    rows = distributions.Flow(base, TanhTransform(), AffineTransform(1.0, 2.0, event_dim=1))
    z = whole.sample((5,))
    u = ((z - 1) / 2).atanh()
    expected = base.log_prob(u) - (math.log(2) + (1 - u.tanh().square()).log()).sum((-1, -2))
    for d in (whole, rows):
        torch.testing.assert_close(d.log_prob(z.clone()), expected)
        assert d.log_prob(z).shape == (5, 4)
        assert d.support.event_dim == 2
        assert d.support.check(z).shape == (5, 4)
    sigmoid = distributions.Flow(Normal(0.0, 1.0), SigmoidTransform())
    assert isinstance(sigmoid.support, constraints.interval)
    assert distributions.Flow(Normal(0.0, 1.0)).log_prob(torch.tensor(0.3)) == Normal(0.0, 1.0).log_prob(
        torch.tensor(0.3)
    )


# posteriors


class WithFlow(LinearGaussian):
    """The linear Gaussian with its mean-field posterior under a flow."""

    def __init__(self, kind, num_latents=2):
        super().__init__(num_latents)
        self.latent = Flow(rp.Gaussian(num_latents), kind, num_transforms=2, hidden=[16])

    def posterior(self, x):
        base = super().posterior(x).base_dist
        return self.latent(torch.cat([base.loc, 2 * base.scale.log()], -1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_importance_weighted_bound_with_a_flow_approaches_the_likelihood(kind, float64):
    model = WithFlow(kind)
    randomize(model.latent, 0.15)
    x = model.marginal().sample((20,))
    found = rp.evaluate(model, x, num_samples=3000)
    exact = model.marginal().log_prob(x).mean().item()
    assert abs(found.log_likelihood.value - exact) < 4 * found.log_likelihood.monte_carlo_error + 1e-3
    assert abs(found.iwae.value - exact) < 0.01
    assert found.elbo.value < exact - 0.05
    assert found.active_units is None


class Learned(WithFlow):
    """The same with a linear encoder, at the start the best factorised posterior; with a flow it can be the true one."""

    def __init__(self, kind):
        super().__init__(kind)
        with torch.no_grad():
            self.weight.copy_(torch.tensor([[1.0, 1.0], [0.8, 1.2], [1.0, 0.9]]))
            self.bias.zero_()
            self.precision = torch.eye(2) + self.weight.T @ self.weight / self.scale**2
            self.encoder = nn.Linear(3, 4)
            self.encoder.weight[:2] = torch.linalg.inv(self.precision) @ self.weight.T / self.scale**2
            self.encoder.weight[2:] = 0
            self.encoder.bias[:2] = 0
            self.encoder.bias[2:] = -self.precision.diagonal().log()

    def posterior(self, x):
        return self.latent(self.encoder(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_takes_up_the_correlation_that_the_best_factorised_posterior_misses(kind):
    model = Learned(kind)
    x = model.marginal().sample((512,))
    exact = model.marginal().log_prob(x).mean().item()
    # KL of the product of 1 / precision_ii from the true posterior, the least that a factorised one can have
    gap = 0.5 * (model.precision.diagonal().log().sum() - model.precision.logdet()).item()
    before = rp.evaluate(model, x, num_samples=50).elbo
    assert exact - before.value == pytest.approx(gap, abs=4 * before.monte_carlo_error)
    optimizer = torch.optim.Adam([*model.latent.parameters(), *model.encoder.parameters()])
    schedule = rp.cosine(2e-2, num_steps=160)
    epochs = rp.fit(model, rp.Pathwise(4), x, epochs=20, batch_size=64, lr=schedule, optimizer=optimizer)
    assert epochs[-1].name == "elbo"
    after = rp.evaluate(model, x, num_samples=50).elbo
    assert exact - after.value < gap / 3
    assert after.value < exact + 4 * after.monte_carlo_error


@pytest.fixture
def flow_vae(float64):
    maf = zuko.flows.MAF(2, transforms=2, hidden_features=[8], activation=nn.Tanh)  # smooth, for the quadrature
    latent = Flow(rp.Gaussian(2), randomize(maf).transform)
    model = rp.VAE(latent, rp.Gaussian(3), rp.mlp(3, [4], 4, nn.Tanh), rp.mlp(2, [4], 6, nn.Tanh))
    with torch.no_grad():
        for network in (model.encoder, model.decoder):
            for parameter in network.parameters():
                parameter.normal_(0, 0.6)
    return model


def exact_elbo(model, x):
    """By quadrature over z in the plane."""
    side = torch.linspace(-24, 24, 241)
    z = torch.cartesian_prod(side, side)[:, None].expand(-1, len(x), -1)
    log_q = model.posterior(x).log_prob(z)
    log_weight = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - log_q
    return (log_q.exp() * log_weight).sum(0) * (side[1] - side[0]) ** 2


@pytest.mark.parametrize("gradient_kind", ["total", "stl"])
def test_pathwise_gradients_of_a_flow_are_those_of_the_integral(gradient_kind, flow_vae):
    x = torch.randn(2, 3)
    exact = gradient(-exact_elbo(flow_vae, x).mean(), flow_vae)
    assert (gradient(-exact_elbo(flow_vae, x).mean(), flow_vae.latent).abs() > 1e-4).any()
    estimated = gradients(rp.Pathwise(4, gradient=gradient_kind), flow_vae, x.repeat(100, 1), 60)
    z, limit = largest_z(estimated, exact)
    assert z < limit


def test_doubly_reparameterised_gradients_of_a_flow_are_those_of_the_bound(flow_vae):
    x = torch.randn(2, 3).repeat(100, 1)
    total, dreg = (gradients(rp.Pathwise(3, rp.iwae, gradient=kind), flow_vae, x, 60) for kind in ("total", "dreg"))
    z, limit = largest_z(total - dreg, torch.zeros(total.shape[1]))
    assert z < limit
    assert dreg.std(0).norm() < total.std(0).norm()


def test_a_score_function_works_on_a_flow_too(flow_vae):
    x = torch.randn(2, 3).repeat(100, 1)
    path, score = (gradients(e, flow_vae, x, 40) for e in (rp.Pathwise(4), rp.RLOO(4)))
    z, limit = largest_z(path - score, torch.zeros(path.shape[1]))
    assert z < limit


def test_the_default_prior_is_the_standard_member_of_the_base(flow_vae):
    prior = flow_vae.prior()
    assert isinstance(prior, Independent)
    assert prior.mean.tolist() == [0.0, 0.0]
    assert prior.variance.tolist() == [1.0, 1.0]


def test_a_flow_is_a_part_of_the_model():
    def build():
        return rp.VAE(Flow(rp.Gaussian(3), "nsf", hidden=[8]), rp.Bernoulli(6), rp.mlp(6, [4], 6), rp.mlp(3, [4], 6))

    model, x = build(), torch.rand(20, 6)
    rp.fit(model, rp.Pathwise(2), x, epochs=2, lr=0.01)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.latent.parameters())
    other = build()
    other.load_state_dict(model.state_dict())
    z = model.posterior(x).sample()
    for twin in (other, copy.deepcopy(model)):
        torch.testing.assert_close(twin.posterior(x).log_prob(z), model.posterior(x).log_prob(z))
    assert model.double().posterior(x.double()).sample().dtype == torch.float64
    assert "Flow(Gaussian(shape=3))" in f"{model.latent!s}"
    nowhere = model.to("meta")
    estimate = rp.Pathwise(2, rp.iwae)(nowhere, torch.rand(5, 6, device="meta", dtype=torch.float64))
    estimate.loss.backward()
    assert estimate.bound.device.type == "meta"


def test_a_transform_of_ones_own_and_one_of_zuko_serve_as_well(float64):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = nn.Parameter(torch.tensor(0.3))

        def forward(self):
            return AffineTransform(1.0, self.log_scale.exp())

    latent = Flow(rp.Gaussian(2), Scaled())
    z = torch.randn(5, 2)
    scale = math.exp(0.3)
    torch.testing.assert_close(
        latent(torch.zeros(4)).log_prob(z), MultivariateNormal(torch.ones(2), scale**2 * torch.eye(2)).log_prob(z)
    )
    latent = Flow(rp.Gaussian(2), randomize(zuko.flows.NSF(2, transforms=2, hidden_features=[8])).transform)
    posterior = latent(torch.randn(3, 4))
    z = posterior.rsample((6,))
    torch.testing.assert_close(posterior.log_prob(z), posterior.log_prob(z.clone()))
    nested = Flow(Flow(rp.Gaussian(2), Scaled()), Scaled())
    assert nested(torch.zeros(4)).sample((3,)).shape == (3, 2)


def test_flows_of_many_numbers_stay_finite():
    for kind in KINDS:
        latent = flow(kind, 20)
        params = torch.cat([10 * torch.randn(64, 20), 4 * torch.randn(64, 20)], -1).requires_grad_()
        posterior = latent(params)
        z = posterior.rsample((8,))
        log_prob = posterior.log_prob(z)
        (gradient,) = torch.autograd.grad(log_prob.sum() + z.sum(), params)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()


# refusals


class Makes(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self):
        return self.made


REFUSED = [
    (lambda: Flow(20, "maf"), TypeError, "base is 20; it must be a family"),
    (lambda: Flow(rp.Bernoulli(3), "maf"), TypeError, r"base is Bernoulli\(shape=3\), whose draws are not real numbers .*AutoregressivePrior"),
    (lambda: Flow(rp.TorchFamily(torch.distributions.Gamma, 3), "maf"), TypeError, "whose draws are not real numbers"),
    (lambda: Flow(rp.Gaussian(3), "iaf"), ValueError, "transform is 'iaf'; it must be one of 'maf', 'nsf'"),
    (lambda: Flow(rp.Gaussian((1, 4, 4)), "maf"), ValueError, r'draws of shape \(1, 4, 4\); "maf" takes one axis. Give the family the shape 16'),
    (lambda: Flow(rp.Gaussian(3), "maf", num_transforms=0), ValueError, "num_transforms is 0; it must be at least 1"),
    (lambda: Flow(rp.Gaussian(3), "maf", hidden=[2.5]), TypeError, "a hidden width is 2.5"),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(3)), TypeError, r"makes a NormalizingFlow; it must make a torch Transform.*zuko.flows.MAF\(20\).transform"),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(3).transform, hidden=[8]), TypeError, 'are for "maf" and "nsf"'),
    (lambda: Flow(rp.Gaussian(3), zuko.flows.MAF(4).transform), ValueError, r"cannot take a draw of Gaussian\(shape=3\), of shape \(3,\): mat1"),
    (lambda: Flow(rp.Gaussian(3), nn.Linear(3, 3)), TypeError, r"whose forward\(\) cannot be called without arguments"),
    (lambda: Flow(rp.Gaussian(3), Makes(torch.distributions.StickBreakingTransform())), ValueError, r"makes \(4,\) of a draw .* keep the shape"),
    (lambda: Flow(rp.Gaussian(3), Makes(AffineTransform(0.0, 1.0, event_dim=2))), ValueError, "event axes"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def test_without_zuko_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"zuko, which is not installed: pip install reparam\[flows\]"):
        Flow(rp.Gaussian(3), "maf")


SWITCH = """
from torch.distributions import Distribution
import reparam
from reparam.families.flow import Flow
before = Distribution._validate_args
Flow(reparam.Gaussian(3), "maf")
print(before, Distribution._validate_args)
"""


def test_using_a_flow_leaves_the_validation_of_torch_as_it_was():
    """The import of zuko switches it off for every distribution of the process."""
    done = subprocess.run([sys.executable, "-c", SWITCH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
