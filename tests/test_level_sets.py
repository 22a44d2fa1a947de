"""Distributions over a set of levels, which are built for enumeration alone: their cost does not depend on how many."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers import double
from laws import LAWS, Member, states
from torch.distributions import kl_divergence

import reparam as rp
from reparam.distributions import Binomial, DiscretizedLogisticMixture, Levels, LogisticBins, TruncatedPoisson
from reparam.distributions.levels import OnLevels

LARGE = 10_000


def truncated_poisson_reference(x, log_rate):
    terms = np.arange(8) * log_rate[:, None] - scipy.special.gammaln(np.arange(8) + 1)
    return np.take_along_axis(scipy.special.log_softmax(terms, 1), x.astype(int).T, 1).T


def logistic_bins_reference(x, loc, scale):
    with np.errstate(divide="ignore"):
        low, high = (np.log(i / (5 - i)) for i in (x, x + 1))
    return np.log(scipy.stats.logistic.cdf(high, loc, scale) - scipy.stats.logistic.cdf(low, loc, scale))


MEMBERS = [
    Member(
        "Binomial",
        lambda logits: Binomial(9, logits, validate_args=False),
        (double(-3.0, 0.4, 2.0),),
        lambda x, logits: scipy.stats.binom(9, scipy.special.expit(logits)).logpmf(x),
        states(torch.arange(10)),
        extremes=[[-1e4], [-20.0], [20.0], [1e4]],
        discrete=True,
    ),
    Member(
        "TruncatedPoisson",
        lambda log_rate: TruncatedPoisson(log_rate, 7, validate_args=False),
        (double(0.3, 7.5, 60.0).log(),),
        truncated_poisson_reference,
        states(torch.arange(8)),
        extremes=[[-1e4], [-14.0], [1.9], [2.0], [14.0], [1e4]],
        discrete=True,
        moments=False,  # they are checked against mpmath and by the frequencies of the levels
    ),
    Member(
        "LogisticBins",
        lambda loc, scale: LogisticBins(loc, scale, num_levels=5, validate_args=False),
        (double(0.0, 1.3, -2.0), double(1.0, 0.4, 3.0)),
        logistic_bins_reference,
        states(torch.arange(5)),
        extremes=[*itertools.product([-1e4, 0.3, 1e4], [1e-6, 1.0, 1e6])],
        discrete=True,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


@pytest.mark.parametrize("family", [rp.Binomial(3, 5), rp.Poisson(3, largest=9)], ids=str)
def test_few_levels_are_listed_and_score_as_the_formulas_do(family, float64):
    raw = torch.randn(9, 3, requires_grad=True)
    listed = family(raw).base_dist
    formula = Binomial(5, raw) if isinstance(family, rp.Binomial) else TruncatedPoisson(raw, 9)
    assert type(listed) is Levels
    z = formula.enumerate_support()
    scores = listed.log_prob(z), formula.log_prob(z)
    torch.testing.assert_close(*scores)
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), raw)[0] for each in scores))


@pytest.mark.parametrize(
    "family",
    [rp.Binomial(20, 10**6), rp.Poisson(20, largest=10**6), rp.Ordinal(20, 10**6), rp.DiscretizedLogistic(20)],
    ids=str,
)
def test_no_level_is_built_to_draw_or_to_score(family, monkeypatch):
    """With all levels a batch would take 10 GB."""

    def built(self):
        raise AssertionError("the levels were built")

    for kind in (Binomial, TruncatedPoisson, LogisticBins, DiscretizedLogisticMixture):
        monkeypatch.setattr(kind, "levels", built)
    model = rp.VAE(family, rp.Bernoulli(6), rp.mlp(6, [5], family.num_params), rp.mlp(family.num_features, [5], 6))
    estimate = rp.RLOO(4)(model, torch.rand(128, 6))
    estimate.loss.backward()
    assert estimate.bound.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    params = torch.randn(700, family.num_params)
    observed = family(params).sample()
    assert family.likelihood(params).log_prob(observed).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_score_is_that_of_the_list_of_levels(dtype):
    many = [
        Binomial(LARGE, torch.tensor([-9.0, -1.0, 0.2, 7.0], dtype=dtype)),
        TruncatedPoisson(torch.tensor([-3.0, 6.0, math.log(LARGE), 9.5, 30.0], dtype=dtype), LARGE),
        LogisticBins(torch.tensor([0.0, 5.0, -20.0], dtype=dtype), torch.tensor(0.3, dtype=dtype), num_levels=LARGE),
    ]
    for each in many:
        z = each.sample((50,))
        torch.testing.assert_close(each.log_prob(z), each.levels().log_prob(z), rtol=1e-4, atol=2e-4)
        if not isinstance(each, LogisticBins):
            torch.testing.assert_close(each.mean, each.levels().mean, rtol=1e-4, atol=1e-4)


def truncated_poisson_in_mpmath(log_rate, largest, x):
    """log of a probability and the mean, by adding up the terms on both sides of the largest."""
    log_rate = mpmath.mpf(log_rate)
    rate = mpmath.exp(log_rate)
    start = int(min(rate, mpmath.mpf(largest)))
    total, first_moment = mpmath.mpf(1), mpmath.mpf(start)
    for step in (-1, 1):
        term, k = mpmath.mpf(1), start
        while 0 <= k + step <= largest and term > total * mpmath.mpf(10) ** -30:
            term *= k / rate if step < 0 else rate / (k + 1)
            k += step
            total, first_moment = total + term, first_moment + k * term
    log_total = start * log_rate - mpmath.loggamma(start + 1) + mpmath.log(total)
    return float(x * log_rate - mpmath.loggamma(x + 1) - log_total), float(first_moment / total)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("largest", [1, 30, LARGE])
def test_truncated_poisson_at_all_rates_against_mpmath(largest, dtype, tolerance):
    """Below, near and above the largest count, where three formulas meet."""
    steps = [-1e3, -30, -1, -1e-3, 0, 1, 2.9, 3.1, 10, 1e3, 1e6]
    for log_rate in (math.log(largest) + step / math.sqrt(largest) for step in steps):
        raw = torch.tensor(log_rate, dtype=dtype, requires_grad=True)
        counts = TruncatedPoisson(raw, largest)
        for x in sorted({0, largest // 2, max(0, largest - 2), largest}):
            expected, mean = truncated_poisson_in_mpmath(raw.item(), largest, x)
            log_prob = counts.log_prob(torch.tensor(float(x), dtype=dtype))
            assert log_prob.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
            (slope,) = torch.autograd.grad(log_prob, raw)
            assert slope.item() == pytest.approx(x - mean, rel=10 * tolerance, abs=1e-6 + tolerance * largest)
        assert counts.mean.item() == pytest.approx(mean, rel=10 * tolerance)


def test_truncated_poisson_has_second_derivatives(float64):
    log_rate = torch.tensor([0.5, 1.9, 2.0, 3.0, 4.5], requires_grad=True)
    x = torch.tensor([0.0, 3.0, 7.0, 2.0, 6.0])
    assert torch.autograd.gradgradcheck(lambda raw: TruncatedPoisson(raw, 7).log_prob(x), log_rate)


FREQUENCIES = [
    *[TruncatedPoisson(torch.tensor(rate).log(), 128) for rate in (5.0, 120.0, 128.0, 129.0, 140.0, 170.0, 1e4)],
    TruncatedPoisson(torch.tensor(2.0), 7),
    *[Binomial(20, torch.tensor(logit)) for logit in (-3.0, 0.0, 1.0)],
    *[
        LogisticBins(torch.tensor(loc), torch.tensor(s), num_levels=20)
        for loc, s in ((0.0, 1.0), (2.0, 0.2), (-1.0, 3))
    ],
]


@pytest.mark.parametrize("distribution", FREQUENCIES, ids=str)
def test_draws_have_the_probabilities_of_the_levels(distribution):
    drawn = distribution.sample((40_000,))
    observed = torch.bincount(drawn.long(), minlength=distribution.num_levels).double()
    expected = 40_000 * distribution.levels().log_probs.double().exp()
    often = expected > 5
    observed = [*observed[often].tolist(), observed[~often].sum().item()]
    expected = [*expected[often].tolist(), expected[~often].sum().item()]
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True) if e > 1)
    assert scipy.stats.chi2(len(expected) - 1).sf(statistic) > 1e-4


def test_an_event_that_is_all_but_impossible_does_not_happen():
    """One false draw of an event of e^-60 would dominate every importance-weighted bound."""
    for logit, expected in ((-60.0, 0), (60.0, 50)):
        assert (Binomial(50, torch.tensor(logit)).sample((100_000,)) == expected).all()
    narrow = LogisticBins(torch.tensor(0.7), torch.tensor(1e-7), num_levels=LARGE)
    assert (narrow.log_prob(narrow.sample((10_000,))) > -20).all()


def test_binomials_with_infinite_logits():
    certain = Binomial(5, torch.tensor([math.inf, -math.inf], requires_grad=True))
    assert certain.sample((9,)).eq(torch.tensor([5.0, 0.0])).all()
    assert certain.log_prob(torch.tensor([5.0, 0.0])).tolist() == [0.0, 0.0]
    log_prob = certain.log_prob(torch.tensor([4.0, 5.0]))
    assert log_prob.tolist() == [-math.inf, -math.inf]
    assert torch.autograd.grad(certain.log_prob(torch.tensor([5.0, 0.0])).sum(), certain.logits)[0].isfinite().all()


def test_kl_between_distributions_on_levels(float64):
    q, p = torch.tensor([-2.0, 0.5]), torch.tensor([1.0, 0.3])
    for kind in (lambda raw: Binomial(6, raw), lambda raw: TruncatedPoisson(raw, 6)):
        found = kl_divergence(kind(q), kind(p))
        torch.testing.assert_close(found, kl_divergence(kind(q).levels(), kind(p).levels()))
        torch.testing.assert_close(found, kl_divergence(kind(q), kind(p).levels()))
    bins = LogisticBins(torch.zeros(2), torch.ones(2), num_levels=7)
    assert kl_divergence(Binomial(6, q), bins).isfinite().all()
    with pytest.raises(NotImplementedError, match="equal levels"):
        kl_divergence(Binomial(5, q), bins)
    with pytest.raises(NotImplementedError, match="larger total_count"):
        kl_divergence(Binomial(5, q), Binomial(6, p))
    assert (kl_divergence(Binomial(6, q), Binomial(5, p)) == math.inf).all()
    never = Binomial(6, torch.tensor(-math.inf))
    assert kl_divergence(never, Binomial(5, torch.tensor(0.0))).item() == pytest.approx(5 * math.log(2))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Binomial(0, torch.zeros(1)), "total_count is 0; it must be at least 1"),
        (lambda: TruncatedPoisson(torch.zeros(1), 0), "largest is 0; it must be at least 1"),
        (lambda: LogisticBins(torch.zeros(1), torch.ones(1), num_levels=1), "num_levels is 1; it must be at least 2"),
    ],
)
def test_refusals(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_levels_are_distributions_on_levels():
    assert issubclass(Levels, OnLevels)
    levels = Levels(torch.zeros(3))
    assert levels.levels() is levels
