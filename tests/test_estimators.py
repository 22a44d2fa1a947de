"""The law of every estimator, loss == -bound.mean(), and its gradient against exact enumeration."""

import math

import pytest
import torch
from helpers import LinearGaussian, assert_mean, gradient, gradients, small_vae
from torch import nn

import reparam as rp

ESTIMATORS = [
    (rp.Gaussian(3), rp.Pathwise(), "elbo"),
    (rp.Gaussian(3), rp.Pathwise(num_samples=4, kl="sampled"), "elbo"),
    (rp.Gaussian(3), rp.Pathwise(num_samples=5, bound=rp.iwae), "iwae_5"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, kl="relaxed"), "relaxed_elbo"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, num_samples=5, kl="relaxed", bound=rp.iwae), "relaxed_iwae_5"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, kl="exact"), "surrogate"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, kl="exact", straight_through=True), "elbo"),
    (rp.Categorical(2, 3), rp.Relaxed(0.5, num_samples=3, kl="relaxed"), "relaxed_elbo"),
    (rp.Categorical(2, 3), rp.RLOO(4), "elbo"),
    (rp.Gaussian(3), rp.RLOO(2), "elbo"),
    (rp.Categorical(2, 3), rp.Enumerate(), "elbo"),
    (rp.Bernoulli(3), rp.Enumerate(2, rp.iwae), "iwae_2"),
    (rp.Gaussian(3), rp.Pathwise(2, gradient="stl"), "elbo"),
    (rp.Gaussian(3), rp.Pathwise(3, rp.iwae, gradient="dreg"), "iwae_3"),
    (rp.Gaussian(3), rp.Pathwise(3, rp.renyi(0.5)), "renyi_0.5_3"),
    (rp.Gaussian(3), rp.Pathwise(3, rp.tvo()), "tvo_3_3"),
    (rp.Gaussian(3), rp.Pathwise(bound=rp.free_bits(0.2)), "free_bits_0.2"),
    (rp.Gaussian(3), rp.REINFORCE(), "elbo"),
    (rp.Gaussian(3), rp.NVIL(rp.mlp(6, [4], 1)), "elbo"),
    (rp.Gaussian(3), rp.VIMCO(3), "iwae_3"),
    (rp.Gaussian(3), rp.TVO(3), "tvo_3_3"),
    (rp.Gaussian(3), rp.WakeSleep(), "elbo"),
    (rp.Gaussian(3), rp.RWS(3, "both"), "iwae_3"),
    (rp.Bernoulli((1, 3)), rp.ARM(2), "elbo"),
    (rp.Bernoulli((1, 3)), rp.DisARM(), "elbo"),
    (rp.Categorical((2, 1), 5), rp.DisARMTree(), "elbo"),
    (rp.Categorical((2, 1), 5), rp.MuProp(), "elbo"),
    (rp.Categorical((2, 1), 5), rp.REBAR(2), "elbo"),
    (rp.Categorical((2, 1), 3), rp.RELAX(rp.mlp(12, [4], 1, nn.Tanh)), "elbo"),
    (rp.Categorical((2, 1), 5), rp.LocalExpectation(2), "elbo"),
    (rp.Categorical((2, 1), 5), rp.UnorderedSet(3), "elbo"),
    (rp.Categorical((2, 1), 5), rp.StraightThrough(0.7), "elbo"),
    (rp.Categorical((2, 1), 5), rp.GumbelRao(0.7, 2), "elbo"),
    (rp.Bernoulli((2, 1)), rp.ReinMax(), "elbo"),
]
IDS = [f"{type(family).__name__}-{type(estimator).__name__}-{name}" for family, estimator, name in ESTIMATORS]


@pytest.mark.parametrize(("latent", "estimator", "name"), ESTIMATORS, ids=IDS)
def test_loss_is_minus_the_mean_bound_and_the_name_says_of_what(latent, estimator, name):
    model = small_vae(latent)
    estimate = estimator.at(0)(model, torch.rand(7, 6))
    assert estimate.name == name
    assert estimate.bound.shape == (7,)
    assert not estimate.bound.requires_grad
    torch.testing.assert_close(estimate.loss.detach(), -estimate.bound.mean())
    estimate.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        assert estimator.at(0)(model, torch.rand(7, 6)).name == name


DISCRETE = [
    (rp.Bernoulli(3), [rp.ARM(), rp.DisARM(), rp.MuProp(), rp.REBAR(), rp.UnorderedSet(3), rp.LocalExpectation()]),
    (rp.Bernoulli(3), [rp.StraightThrough(), rp.GumbelRao(0.1), rp.ReinMax(), rp.RLOO(2), rp.VIMCO(3), rp.RWS(3)]),
    (rp.Categorical(2, 3), [rp.DisARMTree(), rp.MuProp(), rp.REBAR(), rp.UnorderedSet(3), rp.LocalExpectation()]),
    (rp.Categorical(2, 3), [rp.StraightThrough(), rp.GumbelRao(0.1), rp.ReinMax(), rp.RLOO(2), rp.VIMCO(3), rp.TVO(3)]),
]


@pytest.mark.parametrize("scale", [0.0, 20.0, 300.0])
@pytest.mark.parametrize(("latent", "estimators"), DISCRETE, ids=range(4))
def test_a_nearly_certain_posterior_stays_finite_in_single_precision(latent, estimators, scale):
    """At 300 the other states have probability e^-300, which float32 cannot tell from none."""
    model, x = small_vae(latent), torch.rand(7, 6)
    with torch.no_grad():
        model.encoder[-1].bias.add_(scale * torch.tensor([1.0, 0, 0, 0, 1, 0])[: latent.num_params])
    for estimator in estimators:
        model.zero_grad()
        estimate = estimator(model, x)
        estimate.loss.backward()
        assert estimate.bound.isfinite().all(), estimator
        assert all(p.grad.isfinite().all() for p in model.parameters()), estimator


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("latent", [rp.Bernoulli(3), rp.Categorical(2, 3), rp.Gaussian(3)], ids=str)
def test_the_whole_catalogue_works_in_half_precision(dtype, latent):
    model, x = small_vae(latent).to(dtype), torch.rand(5, 6).to(dtype)
    for name, estimator in rp.estimators_for(model, x).items():
        if isinstance(estimator, nn.Module):
            estimator.to(dtype)
        model.zero_grad()
        estimate = estimator(model, x)
        estimate.loss.backward()
        assert estimate.bound.dtype == torch.float32, name
        assert all(p.grad.isfinite().all() for p in model.parameters()), name


class RuledOut(nn.Module):
    """Two symbols of which the posterior rules a category out, by a logit of -inf."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, 3))
        self.decoder = nn.Linear(6, 6)

    def prior(self):
        return torch.distributions.Independent(rp.distributions.OneHotCategorical(torch.zeros(2, 3)), 1)

    def posterior(self, x):
        mask = torch.tensor([[0, 0, -math.inf], [-math.inf, 0, 0]])
        return torch.distributions.Independent(
            rp.distributions.OneHotCategorical((self.logits + mask).expand(len(x), 2, 3)), 1
        )

    def likelihood(self, z):
        return rp.Bernoulli(6).likelihood(self.decoder(z.flatten(-2)))


def test_a_category_that_is_ruled_out_makes_no_nan():
    model, x = RuledOut(), torch.rand(5, 6)
    for name, estimator in rp.estimators_for(model, x).items():
        if name in ("Relaxed(temperature=0.5, kl='relaxed')", "WakeSleep()", "RWS(num_samples=4, update='both')"):
            continue  # a relaxed KL, and one from p to q, are infinite where q rules out what p does not
        model.zero_grad()
        estimate = estimator(model, x)
        estimate.loss.backward()
        assert estimate.bound.isfinite().all(), name
        assert model.logits.grad.isfinite().all(), name


def test_the_control_loss_is_the_squared_gradient_with_respect_to_the_logits(float64):
    """For one example that is the gradient of the encoder's last bias, without the part of the closed-form KL."""
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(1, 6)
    bias = model.encoder[-1].bias
    for estimator in (rp.REBAR(2), rp.RELAX(rp.mlp(10, [5], 1, nn.Tanh), 2)):
        estimator.double()
        torch.manual_seed(1)
        estimate = estimator(model, x)
        (total,) = torch.autograd.grad(estimate.loss, bias)
        (of_kl,) = torch.autograd.grad(rp.draw(model, x).kl.sum(), bias)
        torch.testing.assert_close(estimate.control_loss.detach(), (total - of_kl).square().sum())

        def loss_at(log_temperature, estimator=estimator):
            with torch.no_grad():
                estimator.log_temperature.fill_(log_temperature)
            torch.manual_seed(1)
            return estimator(model, x).control_loss

        here, step = estimator.log_temperature.item(), 1e-6
        (slope,) = torch.autograd.grad(loss_at(here), estimator.log_temperature)
        torch.testing.assert_close(
            slope.item(), (loss_at(here + step) - loss_at(here - step)).item() / (2 * step), rtol=1e-4, atol=1e-6
        )


def test_the_running_average_by_hand_and_a_batch_that_is_not_finite():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    reinforce, means = rp.REINFORCE(decay=0.75), []
    for _ in range(3):
        means.append(reinforce(model, x).bound.mean().item())
    expected = 0.75 * (0.75 * means[0] + 0.25 * means[1]) + 0.25 * means[2]
    assert reinforce.average.value.item() == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        reinforce(model, x)  # an evaluation does not count
    before = reinforce.average.value.clone()
    broken = small_vae(rp.Bernoulli(3))
    with torch.no_grad():
        broken.decoder[-1].bias.fill_(math.nan)
    reinforce(broken, x)
    assert torch.equal(reinforce.average.value, before)
    assert reinforce.average.batches_seen == 3


def test_the_tvo_gradient_by_hand(float64):
    log_q, noise = torch.randn(4, 1, requires_grad=True), torch.randn(4, 1)
    log_weight = noise - log_q
    (found,) = torch.autograd.grad(rp.surrogates.tvo(log_weight, log_q, (0.0, 0.3)).sum(), log_q)
    w, expected = log_weight.detach(), torch.zeros(4, 1)
    for beta, width in ((0.0, 0.3), (0.3, 0.7)):
        share = (beta * w).softmax(0)
        centred = w - (share * w).sum()
        unbiased = share * centred / (1 - (share**2).sum())
        expected += width * (unbiased * (1 - beta) - share)  # d log w / d log q = -1
    torch.testing.assert_close(found, expected)


def test_rloo_surrogate_takes_plain_tensors(float64):
    logits = torch.randn(5, 3, requires_grad=True)
    coins = torch.distributions.Independent(rp.distributions.Bernoulli(logits), 1)
    z = coins.sample((4,))
    log_q = coins.log_prob(z)
    log_weight = z.sum(-1) - log_q
    bound = rp.surrogates.rloo(log_weight, log_q)
    torch.testing.assert_close(bound, log_weight.mean(0))
    (grad,) = torch.autograd.grad(bound.sum(), logits)
    by_hand = torch.zeros(5, 3)
    for k in range(4):
        others = [log_weight[j].detach() for j in range(4) if j != k]
        advantage = log_weight[k].detach() - sum(others) / 3
        by_hand += advantage[:, None] * (z[k] - logits.detach().sigmoid()) / 4
    torch.testing.assert_close(grad, by_hand)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_pathwise_matches_the_exact_gradient_of_a_linear_gaussian_model(kl, float64):
    model, x = LinearGaussian(), torch.randn(4, 3)
    likelihood = -0.5 * (x - model.bias) ** 2 / model.scale**2 - math.log(model.scale * math.sqrt(2 * math.pi))
    q = model.posterior(x).base_dist
    second = (q.loc @ model.weight.T) * (x - model.bias) - 0.5 * (q.loc @ model.weight.T) ** 2
    second = second - 0.5 * (q.variance @ (model.weight.T**2))
    kl_exact = 0.5 * (q.variance + q.loc**2 - 1 - q.variance.log()).sum(-1)
    elbo = likelihood.sum(-1) + second.sum(-1) / model.scale**2 - kl_exact
    exact = gradient(-elbo.mean(), model)
    estimator = rp.Pathwise(num_samples=3, kl=kl)
    assert_mean(gradients(estimator, model, x, 2000), exact, num_errors=5)
    values = torch.stack([estimator(model, x).bound for _ in range(2000)])
    assert_mean(values, elbo.detach())


@pytest.mark.parametrize("latent", [rp.Bernoulli(3), rp.Categorical(2, 3)], ids=["Bernoulli", "Categorical"])
@pytest.mark.parametrize("straight_through", [False, True])
def test_relaxed_with_relaxed_kl_is_a_monte_carlo_elbo_of_the_relaxed_model(latent, straight_through, float64):
    model, x = small_vae(latent), torch.rand(5, 6)
    estimator = rp.Relaxed(0.7, kl="relaxed", straight_through=straight_through)
    values = torch.stack([estimator(model, x).bound for _ in range(2000)])
    relaxed = rp.relax(model, 0.7, straight_through=straight_through)
    prior, posterior = relaxed.prior(), relaxed.posterior(x)
    y = posterior.sample((40_000,))
    squashed = y.sigmoid() if isinstance(latent, rp.Bernoulli) else y.exp()
    if straight_through:
        one_hot = torch.nn.functional.one_hot
        squashed = squashed.round() if isinstance(latent, rp.Bernoulli) else one_hot(squashed.argmax(-1), 3).double()
    # KL by its closed form (Bernoulli) or quadrature (Categorical), independent of the log-weights in the estimator
    kl = torch.distributions.kl_divergence(posterior, prior)
    reference = model.likelihood(squashed).log_prob(x) - kl
    error = (values.var(0) / len(values) + reference.var(0) / len(reference)).sqrt()
    assert ((values.mean(0) - reference.mean(0)).abs() < 4 * error).all()


def test_straight_through_with_exact_kl_has_the_value_of_the_exact_elbo(float64):
    model, x = small_vae(rp.Categorical(2, 3)), torch.rand(5, 6)
    estimator = rp.Relaxed(0.7, kl="exact", straight_through=True)
    assert_mean(torch.stack([estimator(model, x).bound for _ in range(2000)]), rp.Enumerate()(model, x).bound.detach())


def test_relaxed_gradient_nears_the_exact_one_as_the_temperature_falls(float64):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(4, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    bias = [
        (gradients(rp.Relaxed(t, num_samples=50, kl="exact"), model, x, 300).mean(0) - exact).norm()
        for t in (2.0, 0.5, 0.1)
    ]
    assert bias[0] > bias[1] > bias[2]


def test_enumeration_is_the_sum_over_states(float64):
    model, x = small_vae(rp.Bernoulli(2)), torch.rand(3, 6)
    total = torch.zeros(3)
    posterior = model.posterior(x)
    for state in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        z = torch.tensor(state).expand(3, 2)
        log_q = posterior.log_prob(z)
        total += log_q.exp() * (model.likelihood(z).log_prob(x) + math.log(0.25) - log_q)
    torch.testing.assert_close(rp.Enumerate()(model, x).bound, total.detach())


def test_enumeration_survives_a_state_that_the_posterior_excludes():
    class Certain:
        def prior(self):
            return torch.distributions.Independent(rp.distributions.OneHotCategorical(torch.zeros(1, 2)), 1)

        def posterior(self, x):
            logits = torch.tensor([0.0, -math.inf]).expand(len(x), 1, 2)
            return torch.distributions.Independent(rp.distributions.OneHotCategorical(logits), 1)

        def likelihood(self, z):
            return torch.distributions.Independent(torch.distributions.Normal(z[..., 0, :1], 1.0), 1)

    estimate = rp.Enumerate()(Certain(), torch.ones(3, 1))
    expected = -0.5 * math.log(2 * math.pi) + math.log(0.5)
    torch.testing.assert_close(estimate.bound, torch.full((3,), expected))


def test_an_unknown_kl_falls_back_to_samples_only_when_it_may():
    latent = rp.TorchFamily(torch.distributions.StudentT, 2)
    model, x = small_vae(latent), torch.rand(3, 6)
    assert rp.Pathwise()(model, x).name == "elbo"
    with pytest.raises(ValueError, match=r'kl="analytic", but .*StudentT.* Use kl="sampled"'):
        rp.Pathwise(kl="analytic")(model, x)


def test_every_schedulable_argument_follows_the_step():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(4, 6)
    grows = rp.linear(2, 6, num_steps=8)
    assert [rp.RLOO(grows).at(step).num_samples for step in (0, 4, 8)] == [2, 4, 6]
    assert rp.VIMCO(grows).at(8)(model, x).name == "iwae_6"
    nvil = rp.NVIL(rp.mlp(6, [4], 1), num_samples=grows)
    fixed = nvil.at(8)
    assert fixed.num_samples == 6
    assert callable(nvil.num_samples)
    fixed(model, x)
    assert nvil.average.batches_seen == 1  # the baseline is shared with the one that has the schedule
    warm = rp.RLOO(3, rp.beta_elbo(rp.linear(0.5, 1.0, 10)))
    assert [warm.at(step)(model, x).name for step in (0, 10)] == ["beta_elbo_0.5", "beta_elbo_1"]
    assert rp.GumbelRao(rp.geometric(1.0, 0.1, 10)).at(10).temperature == pytest.approx(0.1)
    assert rp.RLOO(4).at(7) == rp.RLOO(4)


def test_stages_follow_one_another():
    stages = rp.Stages((0, rp.Relaxed(rp.linear(1.0, 0.0 + 0.5, 10))), (10, rp.RLOO(8)))
    assert stages.at(5) == rp.Relaxed(0.75)
    assert stages.at(9).temperature == pytest.approx(0.55)
    assert stages.at(10) == rp.RLOO(8)
    assert stages.at(10**6) == rp.RLOO(8)


def test_an_estimator_is_printed_as_it_is_written():
    assert str(rp.RLOO(8)) == "RLOO(num_samples=8)"
    assert str(rp.Pathwise(5, rp.iwae, gradient="dreg")) == "Pathwise(num_samples=5, bound=iwae, gradient='dreg')"
    assert str(rp.REINFORCE(baseline="none")) == "REINFORCE(baseline='none')"


def test_schedules_reach_their_ends():
    for schedule in (rp.linear(2.0, 0.5, 10), rp.geometric(2.0, 0.5, 10)):
        assert [schedule(0), schedule(10), schedule(99)] == pytest.approx([2.0, 0.5, 0.5])
    assert rp.geometric(4.0, 1.0, 10)(5) == pytest.approx(2.0)


def test_a_bound_of_a_relaxed_model_is_named_so_whatever_the_estimator():
    relaxed, x = rp.relax(small_vae(rp.Bernoulli(3)), 0.5), torch.rand(4, 6)
    assert rp.Pathwise()(relaxed, x).name == "relaxed_elbo"
    assert rp.Pathwise(5, rp.iwae)(relaxed, x).name == "relaxed_iwae_5"
    assert rp.RLOO(2)(relaxed, x).name == "relaxed_elbo"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_value_of_rloo_is_the_bound_to_the_last_digit(dtype):
    log_q = -200 * torch.rand(4, 50, dtype=dtype)
    log_weight = (100 * torch.randn(4, 50)).to(dtype) - log_q
    assert torch.equal(rp.surrogates.rloo(log_weight, log_q), log_weight.mean(0))
