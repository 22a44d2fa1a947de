"""Under a flow the bound reaches the likelihood, and each estimator's gradient is that of the integral."""

import pytest
import torch
from flows import KINDS
from helpers import LinearGaussian, gradient, gradients, largest_z
from hierarchies import randomise
from torch import nn
from torch.distributions import Independent

import reparam as rp
from reparam.families.flow import Flow, import_zuko

zuko = import_zuko()


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
    randomise(model.latent, 0.15)
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
    latent = Flow(rp.Gaussian(2), randomise(maf, 0.4).transform)
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
