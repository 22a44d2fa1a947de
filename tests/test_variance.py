"""Which estimator has less variance than which, as proven or claimed where it was published."""

import math

import pytest
import torch
from helpers import gradient, gradients, small_vae
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.laboratory.meter import warmed_up


def total_variance(estimator, model, x, repeats=400):
    return gradients(estimator, model, x, repeats).var(0).sum().item()


def test_disarm_is_better_than_arm_and_rloo_better_with_more_samples(float64):
    model, x = small_vae(rp.Bernoulli(6)), torch.rand(4, 6)
    assert total_variance(rp.DisARM(), model, x) < 0.9 * total_variance(rp.ARM(), model, x)
    falling = [total_variance(rp.RLOO(k), model, x) for k in (2, 4, 16)]
    assert falling[0] > 1.5 * falling[1] > 2.25 * falling[2]


def test_averaging_the_noise_of_arm_gives_disarm(float64):
    """Dong et al., 2020, section 3: DisARM is the mean of ARM given both draws."""
    logits = torch.tensor([[0.8, -1.3]])
    noise = rp.distributions.noise.logistic(logits.expand(2_000_000, 1, 2))
    coins, others = ((logits + sign * noise > 0).double() for sign in (1, -1))
    f, g = (3 * z[..., 0] * z[..., 1] - z[..., 0] for z in (coins, others))
    for first in (0, 1):
        for second in (0, 1):
            chosen = ((coins[..., 0] == first) & (others[..., 0] == second)).squeeze(-1)
            if chosen.sum() == 0:
                continue
            # the other coin's states are averaged too: both sides are means over the same draws
            arm = rp.surrogates.arm(f[chosen], g[chosen], noise[chosen])[0, 0]
            disarm = rp.surrogates.disarm(f[chosen], g[chosen], coins[chosen], others[chosen], logits)[0, 0]
            assert abs(arm - disarm) < 0.01


@pytest.mark.parametrize("latent", [rp.Bernoulli(4), rp.Categorical(2, 3)], ids=["Bernoulli", "Categorical"])
def test_rebar_and_relax_are_better_than_reinforce_with_a_baseline(latent, float64):
    model, x = small_vae(latent), torch.rand(8, 6)
    relax = rp.RELAX(rp.mlp(latent.num_features + 6, [8], 1, nn.Tanh))
    baseline = min(
        total_variance(warmed_up(e, model, x, 200, 1e-2), model, x)
        for e in (rp.REINFORCE(), rp.NVIL(rp.mlp(6, [8], 1)))
    )
    for estimator in (rp.REBAR(), relax):
        assert total_variance(warmed_up(estimator, model, x, 200, 1e-2), model, x) < 0.8 * baseline


def test_distinct_samples_are_better_than_independent_ones_where_the_posterior_is_peaked(float64):
    model, x = small_vae(rp.Categorical(2, 3)), torch.rand(8, 6)
    with torch.no_grad():
        model.encoder[-1].bias.add_(torch.tensor([4.0, 0.0, 0.0, 4.0, 0.0, 0.0]))
    assert total_variance(rp.UnorderedSet(4), model, x) < 0.5 * total_variance(rp.RLOO(4), model, x)


class ExactPosterior(nn.Module):
    """z ~ N(0, 1), x|z ~ N(z, 1): the posterior is N(x/2, 1/2), and the network starts there."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))
        self.log_scale = nn.Parameter(torch.tensor(math.log(0.5) / 2))

    def prior(self):
        return Independent(Normal(torch.zeros(1), torch.ones(1)), 1)

    def posterior(self, x):
        return Independent(Normal(self.slope * x, self.log_scale.exp().expand(x.shape)), 1)

    def likelihood(self, z):
        return Independent(Normal(z, 1.0), 1)


def signal_to_noise(estimator, model, x):
    found = gradients(estimator, model, x, 2000)
    return (found.mean(0).abs() / found.std(0)).mean().item()


def test_the_encoders_signal_to_noise_falls_with_k_for_iwae_and_does_not_for_dreg(float64):
    """Rainforth et al., 2018, arXiv 1802.04537, and Tucker et al., 2018, figure 1."""
    model, x = ExactPosterior(), torch.randn(5, 1)
    with torch.no_grad():
        model.slope.add_(0.2)
        model.log_scale.add_(0.2)
    total = [signal_to_noise(rp.Pathwise(k, rp.iwae), model, x) for k in (2, 16, 128)]
    doubly = [signal_to_noise(rp.Pathwise(k, rp.iwae, gradient="dreg"), model, x) for k in (2, 16, 128)]
    assert total[0] > 1.5 * total[1] > 2.25 * total[2]
    assert doubly[2] > 0.9 * doubly[1] > 0.81 * doubly[0]


def agree(first, second):
    error = ((first.var(0) + second.var(0)) / len(first)).sqrt()
    z = (first.mean(0) - second.mean(0)).abs() / error.clamp_min(1e-12)
    return z[error > 1e-10].max() < 5


def test_total_derivative_sticking_the_landing_and_dreg_agree_in_expectation(float64):
    model, x = small_vae(rp.Gaussian(3)), torch.rand(3, 6).repeat(30, 1)
    stl = gradients(rp.Pathwise(2, gradient="stl"), model, x, 300)
    assert agree(gradients(rp.Pathwise(2), model, x, 300), stl)
    assert agree(gradients(rp.Pathwise(2, kl="sampled"), model, x, 300), stl)
    assert agree(gradients(rp.Pathwise(1, rp.iwae, gradient="dreg"), model, x, 300), stl)
    total = gradients(rp.Pathwise(5, rp.iwae), model, x, 300)
    assert agree(total, gradients(rp.Pathwise(5, rp.iwae, gradient="dreg"), model, x, 300))
    assert not agree(total, gradients(rp.Pathwise(2, rp.iwae), model, x, 300))


def test_at_the_true_posterior_sticking_the_landing_and_dreg_have_no_variance(float64):
    model, x = ExactPosterior(), torch.randn(5, 1)
    for estimator in (rp.Pathwise(gradient="stl"), rp.Pathwise(4, rp.iwae, gradient="dreg")):
        assert gradients(estimator, model, x, 20).abs().max() < 1e-12
    assert gradients(rp.Pathwise(kl="sampled"), model, x, 20).std(0).min() > 0.01


@pytest.mark.parametrize(
    ("distribution", "num_pixels"),
    [(torch.distributions.Gamma, 2), (torch.distributions.Beta, 2), (torch.distributions.Dirichlet, 3)],
)
def test_implicit_reparameterisation_agrees_with_the_score_function(distribution, num_pixels, float64):
    """Figurnov et al., 2018: torch's rsample of these differentiates the inverse of their CDF."""
    model, x = small_vae(rp.TorchFamily(distribution, num_pixels)), torch.rand(3, 6).repeat(50, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert agree(gradients(rp.Pathwise(4), model, x, 200), gradients(rp.RLOO(8), model, x, 200))


def test_dreg_leaves_the_generative_gradient_as_it_is(float64):
    model, x = small_vae(rp.Gaussian(2)), torch.rand(4, 6)
    decoder = torch.cat([torch.full((p.numel(),), "decoder" in name) for name, p in model.named_parameters()])
    found = []
    for way in ("total", "dreg"):
        torch.manual_seed(2)
        found.append(gradient(rp.Pathwise(6, rp.iwae, gradient=way)(model, x).loss, model))
    torch.testing.assert_close(found[0][decoder], found[1][decoder])
    assert not torch.allclose(found[0][~decoder], found[1][~decoder])
