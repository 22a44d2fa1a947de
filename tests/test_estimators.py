"""The law of every estimator, loss == -bound.mean(), and its gradient against exact enumeration."""

import inspect
import math

import pytest
import torch
from helpers import LinearGaussian, assert_mean, gradient, small_vae

import reparam as rp

ESTIMATORS = [
    (rp.Gaussian(3), rp.Pathwise(), "elbo"),
    (rp.Gaussian(3), rp.Pathwise(num_samples=4, kl="sampled"), "elbo"),
    (rp.Gaussian(3), rp.Pathwise(num_samples=5, bound=rp.iwae), "iwae_5"),
    (rp.Bernoulli(3), rp.Relaxed(0.5), "relaxed_elbo"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, num_samples=5, bound=rp.iwae), "relaxed_iwae_5"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, kl="exact"), "surrogate"),
    (rp.Bernoulli(3), rp.Relaxed(0.5, kl="exact", straight_through=True), "elbo"),
    (rp.Categorical(2, 3), rp.Relaxed(0.5, num_samples=3), "relaxed_elbo"),
    (rp.Categorical(2, 3), rp.RLOO(4), "elbo"),
    (rp.Gaussian(3), rp.RLOO(2), "elbo"),
    (rp.Categorical(2, 3), rp.Enumerate(), "elbo"),
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


def gradients(estimator, model, x, repeats):
    return torch.stack([gradient(estimator(model, x).loss, model) for _ in range(repeats)])


@pytest.mark.parametrize("latent", [rp.Bernoulli(4), rp.Categorical(2, 3)], ids=["Bernoulli", "Categorical"])
@pytest.mark.parametrize("num_samples", [2, 5])
def test_rloo_gradient_matches_enumeration(latent, num_samples, float64):
    model, x = small_vae(latent), torch.rand(4, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    # many coordinates share 4 standard errors as their common tolerance: 5 keeps the chance of a false alarm below 1e-4
    assert_mean(gradients(rp.RLOO(num_samples), model, x, 2000), exact, num_errors=5)


def test_a_biased_gradient_would_be_noticed(float64):
    """The test above has power: with the baseline's sign turned, it fails."""
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(4, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)

    def wrong(model, x):
        samples = rp.draw(model, x, 3)
        log_weight, log_q = samples.log_weight, samples.log_posterior
        baseline = (log_weight.sum(0) - log_weight) / 2
        surrogate = (log_weight + baseline).detach() * log_q + log_weight
        return rp.Estimate.of((surrogate + log_weight.mean(0)).mean(0), "wrong")

    def forgets_one_over_k_minus_one(model, x):
        samples = rp.draw(model, x, 3)
        signal = samples.log_weight.detach()
        surrogate = (signal - signal.mean(0)) * samples.log_posterior + samples.log_weight + samples.log_posterior
        return rp.Estimate.of(surrogate.mean(0), "wrong")

    for estimator in (wrong, forgets_one_over_k_minus_one):
        with pytest.raises(AssertionError, match="standard errors"):
            assert_mean(gradients(estimator, model, x, 2000), exact, num_errors=5)


def test_rloo_variance_falls_with_the_number_of_samples(float64):
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(4, 6)
    variances = [gradients(rp.RLOO(k), model, x, 400).var(0).sum() for k in (2, 4, 16)]
    assert variances[0] > variances[1] > variances[2]


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
    estimator = rp.Relaxed(0.7, straight_through=straight_through)
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


REFUSALS = [
    (
        lambda: rp.Pathwise()(small_vae(rp.Bernoulli(3)), torch.rand(2, 6)),
        ValueError,
        r"Bernoulli has no rsample.*RLOO",
    ),
    (lambda: rp.RLOO(num_samples=1), ValueError, r"num_samples is 1; it must be at least 2.*RLOO\(num_samples=4\)"),
    (lambda: rp.RLOO(num_samples=2.5), TypeError, r"num_samples is 2.5; it must be a whole number"),
    (lambda: rp.surrogates.rloo(torch.zeros(1, 3), torch.zeros(1, 3)), ValueError, r"received 1 sample; .* at least 2"),
    (lambda: rp.Pathwise(bound=rp.iwae, kl="analytic"), ValueError, r'kl="analytic" with the bound iwae.*kl="sampled"'),
    (lambda: rp.Pathwise(kl="exact"), ValueError, r"kl is 'exact'; it must be one of 'auto', 'analytic', 'sampled'"),
    (lambda: rp.Relaxed(0.5, kl="exact", bound=rp.iwae), ValueError, r'kl="exact" with the bound iwae.*kl="relaxed"'),
    (lambda: rp.Relaxed(0.0), ValueError, r"temperature is 0.0; it must be finite and above 0"),
    (
        lambda: rp.Relaxed(lambda step: -1.0).at(3),
        ValueError,
        r"the temperature that the schedule gives for step 3 is -1.0",
    ),
    (lambda: rp.relax(small_vae(rp.Bernoulli(2)), torch.tensor(-0.5)), ValueError, r"temperature is -0.5; .* above 0"),
    (lambda: rp.Pathwise(5, "iwae"), TypeError, r"bound is 'iwae'; it must be a function.*rp.iwae"),
    (lambda: rp.Pathwise(5, lambda w: w)(small_vae(rp.Gaussian(2)), torch.rand(3, 6)), ValueError, r"\(5, 3\).*Reduce"),
    (
        lambda: inspect.unwrap(rp.surrogates.rloo)(torch.zeros(3, 3), torch.zeros(3)),
        ValueError,
        r"log_weight has shape \(3, 3\) and log_q",
    ),
    (lambda: rp.exponential(0.1, 1.0, rate=1.0), ValueError, r"start is 0.1 and end 1.0; a decay ends below"),
    (lambda: rp.Relaxed(rp.linear(1.0, 0.5, 9))(small_vae(rp.Bernoulli(3)), torch.rand(2, 6)), ValueError, "schedule"),
    (
        lambda: rp.Relaxed(0.5)(small_vae(rp.Gaussian(3)), torch.rand(2, 6)),
        TypeError,
        r"Normal has no relaxation.*Pathwise",
    ),
    (lambda: rp.Enumerate()(small_vae(rp.Bernoulli(17)), torch.rand(2, 6)), ValueError, r"2\*\*17.*at most 65536"),
    (lambda: rp.Enumerate()(small_vae(rp.Gaussian(2)), torch.rand(2, 6)), TypeError, r"Normal cannot list its states"),
    (lambda: rp.relax(rp.relax(small_vae(rp.Bernoulli(2)), 0.5), 0.5), TypeError, r"relaxed already"),
    (lambda: rp.exponential(1.0, 0.1, rate=0.0), ValueError, "rate is 0.0"),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSALS, ids=[case[2][:40] for case in REFUSALS])
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message):
    with pytest.raises(error, match=message):
        act()


def test_an_unknown_kl_falls_back_to_samples_only_when_it_may():
    latent = rp.TorchFamily(torch.distributions.StudentT, 2)
    model, x = small_vae(latent), torch.rand(3, 6)
    assert rp.Pathwise()(model, x).name == "elbo"
    with pytest.raises(ValueError, match=r'kl="analytic", but .*StudentT.* Use kl="sampled"'):
        rp.Pathwise(kl="analytic")(model, x)


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
