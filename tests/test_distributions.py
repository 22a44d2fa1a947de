"""Laws of our distributions: they integrate to one, score their own samples, and stay finite."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from helpers import assert_mean
from torch.distributions import Independent, kl_divergence

from reparam.distributions import (
    Bernoulli,
    LogitRelaxedBernoulli,
    LogRelaxedCategorical,
    OneHotCategorical,
    joint_support,
)

TEMPERATURES = [0.05, 0.3, 1.0, 5.0]
LOGITS = [-100.0, -5.0, 0.0, 2.0, 30.0, 100.0]


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit", LOGITS)
def test_relaxed_bernoulli_integrates_to_one(logit, temperature, float64):
    relaxed = LogitRelaxedBernoulli(temperature, torch.tensor(logit))
    y = torch.linspace((logit - 60) / temperature, (logit + 60) / temperature, 200_001)
    total = torch.trapezoid(relaxed.log_prob(y).exp(), y).item()
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit", LOGITS)
def test_relaxed_categorical_integrates_to_one(logit, temperature, float64):
    logits = torch.tensor([logit, 0.0, -logit / 2])
    relaxed = LogRelaxedCategorical(temperature, logits)
    # the density lives on the log-ratios u_k = y_k - y_3, whose centre is (logits_k - logits_3) / T; T u has scale 1
    grid = torch.linspace(-60, 60, 1501)
    u1 = (grid + logit - logits[2]) / temperature
    u2 = (grid - logits[2]) / temperature
    y = torch.stack([*torch.meshgrid(u1, u2, indexing="ij"), torch.zeros(1501, 1501)], -1).log_softmax(-1)
    total = torch.trapezoid(torch.trapezoid(relaxed.log_prob(y).exp(), u2), u1).item()
    assert total == pytest.approx(1, abs=1e-8)


def test_relaxed_categorical_of_two_is_the_relaxed_bernoulli(float64):
    logits, y = torch.randn(50), torch.randn(50) * 5
    two = LogRelaxedCategorical(0.4, torch.stack([logits, torch.zeros(50)], -1))
    pair = torch.stack([y, torch.zeros(50)], -1).log_softmax(-1)
    torch.testing.assert_close(two.log_prob(pair), LogitRelaxedBernoulli(0.4, logits).log_prob(y))


def test_relaxed_bernoulli_agrees_with_scipys_logistic(float64):
    logits, y, t = torch.randn(20) * 4, torch.randn(20) * 9, 0.3
    relaxed, reference = LogitRelaxedBernoulli(t, logits), scipy.stats.logistic(logits / t, 1 / t)
    torch.testing.assert_close(relaxed.log_prob(y), torch.as_tensor(reference.logpdf(y)))
    torch.testing.assert_close(relaxed.cdf(y), torch.as_tensor(reference.cdf(y)))
    torch.testing.assert_close(relaxed.entropy(), torch.as_tensor(reference.entropy()).expand(20))
    torch.testing.assert_close(relaxed.variance, torch.as_tensor(reference.var()).expand(20))
    torch.testing.assert_close(relaxed.icdf(relaxed.cdf(relaxed.mean + 1)), relaxed.mean + 1)


def test_samples_follow_their_distribution(float64):
    relaxed = LogitRelaxedBernoulli(0.5, torch.tensor([-3.0, 0.0, 4.0]))
    samples = relaxed.rsample((20_000,))
    for i in range(3):
        column = LogitRelaxedBernoulli(0.5, relaxed.logits[i])
        assert (
            scipy.stats.kstest(samples[:, i].numpy(), lambda y, d=column: d.cdf(torch.tensor(y)).numpy()).pvalue > 1e-3
        )
    logits = torch.tensor([1.0, -1.0, 0.5, 3.0])
    # the argmax of a relaxed draw is the categorical draw, at any temperature
    hard = torch.nn.functional.one_hot(LogRelaxedCategorical(0.7, logits).rsample((20_000,)).argmax(-1), 4).double()
    assert_mean(hard, logits.softmax(-1))
    assert_mean(OneHotCategorical(logits).sample((20_000,)), logits.softmax(-1))
    assert_mean(Bernoulli(logits).sample((20_000,)), logits.sigmoid())


def test_a_density_is_the_expectation_of_nothing_else(float64):
    # E_p[q / p] = 1 ties sampling and scoring of the relaxed categorical together
    p = LogRelaxedCategorical(0.6, torch.tensor([0.3, -0.2, 0.1, 0.0]))
    q = LogRelaxedCategorical(0.6, torch.tensor([0.0, 0.2, -0.1, 0.4]))
    y = p.rsample((50_000,))
    assert_mean((q.log_prob(y) - p.log_prob(y)).exp(), 1.0)


@pytest.mark.parametrize("temperatures", [0.05, 1.0])
@pytest.mark.parametrize(("p", "q"), [(0.0, 0.0), (0.001, 0.0), (0.2, 0.3), (4.0, -2.0), (-30.0, 5.0)])
def test_kl_of_relaxed_bernoullis_against_monte_carlo(p, q, temperatures, float64):
    first, second = (LogitRelaxedBernoulli(temperatures, torch.tensor(logit)) for logit in (p, q))
    y = first.rsample((100_000,))
    assert_mean(first.log_prob(y) - second.log_prob(y), kl_divergence(first, second))


def test_kl_of_relaxed_bernoullis_against_quadrature(float64):
    for d in (1e-6, 1e-3, 0.1, 0.2499, 0.2501, 1.0, 10.0, 300.0):
        s = np.linspace(-400, 400, 2_000_001)
        p, q = scipy.stats.logistic(0).logpdf(s), scipy.stats.logistic(d).logpdf(s)
        expected = scipy.integrate.trapezoid(np.exp(p) * (p - q), s)
        kl = kl_divergence(LogitRelaxedBernoulli(1.0, torch.tensor(0.0)), LogitRelaxedBernoulli(1.0, torch.tensor(d)))
        assert kl.item() == pytest.approx(expected, rel=1e-8, abs=1e-15)


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_kl_of_relaxed_categoricals_against_monte_carlo(scale, temperature, float64):
    p, q = (LogRelaxedCategorical(temperature, scale * torch.randn(6, 5)) for _ in range(2))
    y = p.rsample((40_000,))
    assert_mean(p.log_prob(y) - q.log_prob(y), kl_divergence(p, q))


def test_kl_of_relaxed_categoricals_of_two_is_the_closed_form(float64):
    p, q = torch.randn(2, 40) * 10
    two = [LogRelaxedCategorical(0.3, torch.stack([x, torch.zeros(40)], -1)) for x in (p, q)]
    one = [LogitRelaxedBernoulli(0.3, x) for x in (p, q)]
    torch.testing.assert_close(kl_divergence(*two), kl_divergence(*one), rtol=1e-10, atol=1e-10)


def test_kl_of_relaxed_distributions_of_different_temperatures_is_refused():
    with pytest.raises(NotImplementedError, match="different temperatures"):
        kl_divergence(LogitRelaxedBernoulli(0.5, torch.zeros(2)), LogitRelaxedBernoulli(0.6, torch.zeros(2)))


def test_kl_of_hard_distributions_against_the_sum_over_states(float64):
    p, q = torch.randn(2, 30) * 20
    states = torch.tensor([0.0, 1.0])[:, None]
    first, second = Bernoulli(p), Bernoulli(q)
    summed = (first.log_prob(states).exp() * (first.log_prob(states) - second.log_prob(states))).sum(0)
    torch.testing.assert_close(kl_divergence(first, second), summed)
    p, q = OneHotCategorical(torch.randn(30, 4) * 5), OneHotCategorical(torch.randn(30, 4) * 5)
    states = p.enumerate_support()
    summed = (p.log_prob(states).exp() * (p.log_prob(states) - q.log_prob(states))).sum(0)
    torch.testing.assert_close(kl_divergence(p, q), summed)
    torch.testing.assert_close(p.entropy(), -(p.log_prob(states).exp() * p.log_prob(states)).sum(0))
    torch.testing.assert_close(first.entropy(), torch.distributions.Bernoulli(logits=first.logits).entropy())


def test_impossible_categories_add_nothing(float64):
    logits = torch.tensor([0.0, -math.inf, 1.0], requires_grad=True)
    p, q = OneHotCategorical(logits), OneHotCategorical(torch.zeros(3))
    value = kl_divergence(p, q) + p.entropy() + p.log_prob(torch.tensor([1.0, 0.0, 0.0]))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    assert (p.sample((1000,))[:, 1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_relaxed_distributions_score_their_own_samples_in_every_precision(dtype, temperature):
    scale = torch.tensor([0.0, 1.0, 100.0, 4000.0], dtype=dtype)
    for relaxed in (
        LogitRelaxedBernoulli(temperature, (torch.randn(4, 500) * scale[:, None]).to(dtype)),
        LogRelaxedCategorical(temperature, (torch.randn(4, 500, 10) * scale[:, None, None]).to(dtype)),
    ):
        relaxed.logits.requires_grad_()
        y = relaxed.rsample((20,))
        log_prob = relaxed.log_prob(y)
        assert y.dtype == dtype
        assert log_prob.dtype == torch.promote_types(dtype, torch.float32)
        assert y.isfinite().all()
        assert log_prob.isfinite().all()
        (grad,) = torch.autograd.grad(log_prob.float().mean() + (y.float() * temperature).mean(), relaxed.logits)
        assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_densities_agree_with_double(dtype):
    logits = (torch.randn(1000, 10) * 3).to(dtype)
    y = LogRelaxedCategorical(0.05, logits).rsample()
    low, exact = (
        LogRelaxedCategorical(0.05, logits.to(d), validate_args=False).log_prob(y.to(d)) for d in (dtype, torch.float64)
    )
    torch.testing.assert_close(low.double(), exact, rtol=1e-5, atol=1e-3)  # computed in float32


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_gradients_agree_with_finite_differences(family, float64):
    def density(logits, y):
        if family == "bernoulli":
            return LogitRelaxedBernoulli(0.3, logits).log_prob(y)
        return LogRelaxedCategorical(0.3, logits).log_prob(y.log_softmax(-1))

    def divergence(p, q):
        kind = LogitRelaxedBernoulli if family == "bernoulli" else LogRelaxedCategorical
        return kl_divergence(kind(0.3, p), kind(0.3, q))

    p, q = (torch.randn(5, 4, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(density, (p, q))
    assert torch.autograd.gradcheck(divergence, (p, q))
    hard = Bernoulli if family == "bernoulli" else OneHotCategorical
    assert torch.autograd.gradcheck(lambda p, q: kl_divergence(hard(p), hard(q)), (p, q))
    assert torch.autograd.gradcheck(lambda p: hard(p).entropy(), (p,))


def test_expand_and_batch_shapes():
    for distribution, event in (
        (Bernoulli(torch.randn(3, 1)), ()),
        (OneHotCategorical(torch.randn(3, 1, 4)), (4,)),
        (LogitRelaxedBernoulli(0.5, torch.randn(3, 1)), ()),
        (LogRelaxedCategorical(0.5, torch.randn(3, 1, 4)), (4,)),
    ):
        wide = distribution.expand((2, 3, 5))
        assert type(wide) is type(distribution)
        sample = wide.sample((7,))
        assert sample.shape == (7, 2, 3, 5, *event)
        assert wide.log_prob(sample).shape == (7, 2, 3, 5)
        torch.testing.assert_close(wide.log_prob(sample), distribution.log_prob(sample))


@pytest.mark.parametrize("kind", [LogitRelaxedBernoulli, LogRelaxedCategorical])
def test_relaxed_distributions_under_vmap(kind):
    logits = torch.randn(6, 4)
    sample = torch.vmap(lambda row: kind(0.5, row, validate_args=False).rsample(), randomness="different")
    score = torch.vmap(lambda row, y: kind(0.5, row, validate_args=False).log_prob(y))
    samples = sample(logits)
    assert len(samples.unique(dim=0)) == 6
    torch.testing.assert_close(score(logits, samples), kind(0.5, logits).log_prob(samples))


def test_joint_support_lists_each_state_once():
    states = joint_support(Independent(OneHotCategorical(torch.zeros(7, 3, 2, 3)), 2))
    assert states.shape == (3**6, 3, 2, 3)
    assert len(states.flatten(1).unique(dim=0)) == 3**6
    assert (states.sum(-1) == 1).all()
    assert joint_support(torch.distributions.Binomial(3, torch.tensor(0.5))).tolist() == [0, 1, 2, 3]


def test_joint_support_refuses_what_it_cannot_list():
    with pytest.raises(TypeError, match=r"Normal cannot list its states.*Pathwise for a continuous one"):
        joint_support(torch.distributions.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"17 variables of 2 values have 2\*\*17 joint states; .* at most 65536"):
        joint_support(Independent(Bernoulli(torch.zeros(17)), 1))


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(ValueError, match=r"temperature is .*; it must be finite and above 0"):
        LogitRelaxedBernoulli(temperature, torch.zeros(3))
    with pytest.raises(ValueError, match="temperature"):
        LogRelaxedCategorical(torch.tensor(-1.0), torch.zeros(3), validate_args=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rare_bits_are_neither_drawn_too_often_nor_never(dtype):
    # a float32 uniform is 0 once in 2^24 draws: compared with "<", that would be a draw of an event of e^-60
    logits = torch.tensor([-60.0, 60.0], dtype=dtype)
    draws = Bernoulli(logits).sample((30_000_000,))
    assert draws[:, 0].sum() == 0
    assert draws[:, 1].min() == 1
    for logit in (6.5, -6.5):
        draws = Bernoulli(torch.tensor(logit, dtype=dtype)).sample((1_000_000,)).double()
        assert_mean(draws, 1 / (1 + math.exp(-logit)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kl_in_half_precision_agrees_with_double(dtype):
    p, q = (torch.randn(2, 500, 10) * 3).to(dtype)
    for kind in (
        Bernoulli,
        OneHotCategorical,
        lambda logits: LogitRelaxedBernoulli(0.1, logits),
        lambda logits: LogRelaxedCategorical(0.1, logits),
    ):
        low, exact = (kl_divergence(kind(p.to(d)), kind(q.to(d))).double() for d in (dtype, torch.float64))
        torch.testing.assert_close(low, exact, rtol=1e-4, atol=1e-4)
        assert (low > -1e-5).all()
        assert kl_divergence(kind(p), kind(p)).abs().max() < 1e-5


def test_a_one_hot_value_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"value has shape \(2, 1\); its last axis must be 4 categories"):
        OneHotCategorical(torch.zeros(2, 4), validate_args=False).log_prob(torch.ones(2, 1))
