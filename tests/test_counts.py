"""Counts and the levels of pixels: probabilities against SciPy and mpmath, families against enumeration."""

import copy
import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers import assert_mean
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, Member, kl_agrees_with_samples, states
from torch.distributions import Independent, kl_divergence
from torch.distributions import Poisson as TorchPoisson

import reparam as rp
from reparam.distributions import (
    DiscretizedLogisticMixture,
    Levels,
    LevelSet,
    NegativeBinomial,
    Poisson,
    ZeroInflated,
    joint_support,
)
from reparam.distributions.stirling import remainder


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


LOGITS = double([0.3, -1.0, 2.0, 0.0, -4.0], [5.0, 5.0, 0.0, -9.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0])
RATES = double(0.02, 1.7, 33.0).log()
MEANS, DISPERSIONS = double(0.5, 4.0, 21.0).log(), double(2.0, 1e-3, 0.4).log()
WEIGHTS = double([0.0, 1.0], [2.0, -1.0], [0.0, -3.0])
LOCS, SCALES = double([0.1, 0.8], [0.5, 0.3], [1.4, -0.2]), double([0.05, 0.2], [0.01, 0.3], [0.3, 1.0])


def levels_reference(x, logits):
    log_probs = scipy.special.log_softmax(logits, -1)
    return np.stack([log_probs[i, np.rint(4 * x[:, i]).astype(int)] for i in range(3)], 1)


def logistic_mixture_reference(x, logits, loc, scale, num_levels):
    x, half = x[..., None], 0.5 / (num_levels - 1)
    low = np.where(x == 0, -np.inf, (x - half - loc) / scale)
    high = np.where(x == 1, np.inf, (x + half - loc) / scale)
    mass = scipy.special.expit(high) - scipy.special.expit(low)
    return np.log((scipy.special.softmax(logits, -1) * mass).sum(-1))


def negative_binomial_reference(x, log_mean, log_dispersion):
    r, m = np.exp(-log_dispersion), np.exp(log_mean)
    return scipy.stats.nbinom(r, r / (r + m)).logpmf(x)


def zero_inflated_reference(x, log_rate, logits):
    extra = scipy.special.expit(logits)
    return np.log(extra * (x == 0) + (1 - extra) * scipy.stats.poisson(np.exp(log_rate)).pmf(x))


def mixture(num_levels):
    return lambda logits, loc, scale: DiscretizedLogisticMixture(
        logits, loc, scale, num_levels=num_levels, validate_args=False
    )


MEMBERS = [
    Member(
        "Levels",
        lambda logits: Levels(logits, step=0.25, validate_args=False),
        (LOGITS,),
        levels_reference,
        states([0.0, 0.25, 0.5, 0.75, 1.0]),
        extremes=[[[[1e4, -1e4, 0.0]]], [[[-math.inf, 0.0, -math.inf]]], [[[1e4, 1e4, 1e4]]]],
        discrete=True,
    ),
    Member(
        "DiscretizedLogisticMixture",
        mixture(17),
        (WEIGHTS, LOCS, SCALES),
        lambda x, *params: logistic_mixture_reference(x, *params, 17),
        states(torch.arange(17) / 16),
        extremes=[
            [[[0.0, -1e4]], [[0.5, 1e4]], [[scale, other]]]
            for scale, other in itertools.product((1e-6, 1.0, 1e6), repeat=2)
        ],
        discrete=True,
    ),
    Member(
        "Poisson",
        lambda log_rate: Poisson(log_rate, validate_args=False),
        (RATES,),
        lambda x, log_rate: scipy.stats.poisson(np.exp(log_rate)).logpmf(x),
        states(torch.arange(200)),
        extremes=[[-1e4], [-14.0], [14.0], [40.0]],
        discrete=True,
    ),
    Member(
        "NegativeBinomial",
        lambda *params: NegativeBinomial(*params, validate_args=False),
        (MEANS, DISPERSIONS),
        negative_binomial_reference,
        states(torch.arange(1000)),
        extremes=[*itertools.product([-1e4, -14.0, 14.0, 40.0], [-1e4, -14.0, 0.0, 14.0, 1e4])],
        discrete=True,
    ),
    Member(
        "ZeroInflated",
        lambda log_rate, logits: ZeroInflated(Poisson(log_rate, validate_args=False), logits, validate_args=False),
        (RATES, double(-2.0, 0.5, 3.0)),
        zero_inflated_reference,
        states(torch.arange(200)),
        extremes=[*itertools.product([-1e4, 0.0, 14.0], [-1e4, 0.0, 1e4])],
        discrete=True,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


# Levels


@given(
    num_levels=st.integers(2, 300), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
)
@settings(deadline=None, max_examples=40)
def test_every_level_is_found_after_rounding_to_any_dtype(num_levels, dtype):
    num_levels = min(num_levels, 256) if dtype == torch.bfloat16 else num_levels
    support = LevelSet(num_levels, 1 / (num_levels - 1))
    k = torch.arange(num_levels)
    for x in (k.to(dtype) / (num_levels - 1), support.numbers(k, dtype)):
        assert support.check(x).all()
        assert torch.equal(support.index(x)[0], k)


def test_the_levels_of_bytes_are_the_numbers_that_bytes_become():
    data = rp.Data(torch.arange(256, dtype=torch.uint8)[None])[:1]
    assert torch.equal(Levels(torch.zeros(256), step=1 / 255).enumerate_support(), data[0])
    in_float64 = LevelSet(256, 1 / 255).index(data.double())
    assert in_float64[1].all()
    assert torch.equal(in_float64[0][0], torch.arange(256))


@pytest.mark.parametrize("x", [-1 / 255, 256 / 255, 0.5, 1e-4, 1 + 1e-4, math.nan, math.inf, -math.inf])
def test_what_is_no_level_has_probability_zero(x):
    logits, x = torch.zeros(256, requires_grad=True), torch.tensor(x)
    mixture_ = DiscretizedLogisticMixture(torch.zeros(1), torch.zeros(1), torch.ones(1), validate_args=False)
    for pixel in (Levels(logits, step=1 / 255, validate_args=False), mixture_):
        assert pixel.log_prob(x) == -torch.inf
        assert not pixel.support.check(x)
        with pytest.raises(ValueError, match=r"256 levels from 0 to 1 in steps of 0\.003922"):
            _validating(pixel).log_prob(x)
    assert (
        torch.autograd.grad(Levels(logits, step=1 / 255, validate_args=False).log_prob(x), logits)[0].isfinite().all()
    )


def _validating(distribution):
    distribution = copy.copy(distribution)
    distribution._validate_args = True
    return distribution


@pytest.mark.parametrize("x", [-1.0, 0.5, math.nan, math.inf, -math.inf])
def test_what_is_no_count_has_probability_zero(x):
    zeros = torch.zeros(2, requires_grad=True)
    poisson = Poisson(zeros, validate_args=False)
    negative_binomial = NegativeBinomial(zeros, zeros, validate_args=False)
    for counts in (poisson, negative_binomial, ZeroInflated(poisson, zeros, validate_args=False)):
        log_prob = counts.log_prob(torch.tensor([x, 1.0]))
        assert log_prob[0] == -torch.inf
        assert log_prob[1].isfinite()
        assert torch.autograd.grad(log_prob.sum(), zeros)[0].isfinite().all()
        with pytest.raises(ValueError, match="within the support"):
            _validating(counts).log_prob(torch.tensor([x, 1.0]))


def test_moments_and_entropy_of_levels_against_scipy(float64):
    d = Levels(LOGITS, step=0.25)
    for i in range(3):
        reference = scipy.stats.rv_discrete(values=(np.arange(5), LOGITS[i].softmax(-1).numpy()))
        assert d.mean[i].item() == pytest.approx(0.25 * reference.mean(), rel=1e-12)
        assert d.variance[i].item() == pytest.approx(0.0625 * reference.var(), rel=1e-9)
        assert d.entropy()[i].item() == pytest.approx(reference.entropy(), rel=1e-12)
    assert d.mode.tolist() == [0.5, 0.0, 0.0]


def test_levels_ruled_out_leave_no_nan():
    p = torch.tensor([0.0, -math.inf, 1.0], requires_grad=True)
    q = torch.tensor([0.5, -math.inf, 0.0], requires_grad=True)
    one, two = Levels(p, validate_args=False), Levels(q, validate_args=False)
    total = kl_divergence(one, two) + one.entropy() + one.mean + one.variance + one.log_prob(torch.tensor(2.0))
    for gradient_ in torch.autograd.grad(total, (p, q)):
        assert gradient_.isfinite().all()
    assert set(one.sample((200,)).tolist()) == {0.0, 2.0}
    assert one.log_prob(torch.tensor(1.0)) == -torch.inf
    assert kl_divergence(Levels(torch.zeros(3)), two) == torch.inf


def test_kl_of_levels_against_samples_and_only_at_equal_levels(float64):
    q, p = Levels(LOGITS), Levels(LOGITS.roll(1, 0) / 3)
    kl_agrees_with_samples(q, p)
    by_hand = (q.log_probs.exp() * (q.log_probs - p.log_probs)).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), by_hand)
    for other in (Levels(LOGITS, step=0.5), Levels(LOGITS[:, :4])):
        with pytest.raises(NotImplementedError, match="equal levels"):
            kl_divergence(q, other)


def test_states_of_independent_levels_are_listed():
    d = Independent(Levels(torch.zeros(7, 2, 3), step=0.5), 1)
    found = joint_support(d)
    assert found.tolist() == [[a, b] for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(d.log_prob(found[:, None].expand(9, 7, 2)).logsumexp(0), torch.zeros(7))


# Discretised logistics


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_levels", [2, 3, 256])
def test_discretised_logistics_sum_to_one_at_any_scale(num_levels, dtype):
    exponents = torch.arange(-6, 7).to(dtype)
    for loc in (-1e4, -0.3, 0.0, 0.5, 0.50196, 1.0, 7.0):
        scale = (10**exponents).unsqueeze(-1).requires_grad_()
        centre = torch.full_like(scale, loc, requires_grad=True)
        d = DiscretizedLogisticMixture(torch.zeros_like(scale), centre, scale, num_levels=num_levels)
        log_probs = d.log_prob(d.enumerate_support())
        assert log_probs.isfinite().all()
        tolerance = 1e-5 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(log_probs.logsumexp(0), torch.zeros(13, dtype=dtype), rtol=0, atol=tolerance)
        torch.testing.assert_close(d.levels().log_probs.exp().sum(-1), torch.ones(13, dtype=dtype))
        for g in torch.autograd.grad(log_probs.sum(), (centre, scale)):
            assert g.isfinite().all()


def test_discretised_logistics_against_mpmath_far_in_the_tails():
    for loc, scale, k in (
        (0.2, 1e-3, 255),
        (0.2, 1e-3, 254),
        (0.2, 1e-3, 0),
        (0.9, 1e-2, 3),
        (-3.0, 0.02, 100),
        (0.5, 1e6, 7),
    ):
        parts = (torch.tensor([value], dtype=torch.float64) for value in (0.0, loc, scale))
        found = DiscretizedLogisticMixture(*parts).log_prob(torch.tensor(k / 255, dtype=torch.float64)).item()
        with mpmath.workdps(400):
            low, high = (
                (mpmath.mpf(k) / 255 + side * mpmath.mpf(1) / 510 - mpmath.mpf(loc)) / scale for side in (-1, 1)
            )
            mass = (1 if k == 255 else 1 / (1 + mpmath.exp(-high))) - (0 if k == 0 else 1 / (1 + mpmath.exp(-low)))
            assert found == pytest.approx(float(mpmath.log(mass)), rel=1e-11)


def test_a_mixture_of_one_is_the_plain_discretised_logistic_and_a_value_is_found_as_in_the_list(float64):
    d = DiscretizedLogisticMixture(WEIGHTS, LOCS, SCALES)
    x = d.enumerate_support(expand=False)
    torch.testing.assert_close(d.log_prob(x).T, d.levels().log_probs)
    one = DiscretizedLogisticMixture(torch.zeros(3, 2), LOCS[:, :1], SCALES[:, :1])
    torch.testing.assert_close(
        one.log_prob(x), DiscretizedLogisticMixture(torch.zeros(3, 1), LOCS[:, :1], SCALES[:, :1]).log_prob(x)
    )
    kl_agrees_with_samples(d, DiscretizedLogisticMixture(WEIGHTS, LOCS + 0.1, SCALES * 2))
    assert_mean(-d.log_prob(d.sample((50_000,))), d.entropy())


# Counts in float32


def test_the_error_of_stirlings_formula_against_mpmath():
    x = double(1e-30, 1e-6, 0.3, 1.0, 14.9, 15.0, 15.1, 40.0, 1e5, 1e300)
    with mpmath.workdps(400):
        formula = [mpmath.log(2 * mpmath.pi * v) / 2 + v * mpmath.log(v) - v for v in map(mpmath.mpf, x.tolist())]
        expected = [float(mpmath.loggamma(mpmath.mpf(v) + 1) - f) for v, f in zip(x.tolist(), formula, strict=True)]
    torch.testing.assert_close(remainder(x), double(*expected), rtol=1e-14, atol=5e-14)


def poisson_reference(log_rate, x):
    log_rate = mpmath.mpf(log_rate)
    return float(x * log_rate - mpmath.exp(log_rate) - mpmath.loggamma(x + 1))


def negative_binomial_in_mpmath(log_mean, log_dispersion, x):
    m, r = mpmath.exp(mpmath.mpf(log_mean)), mpmath.exp(-mpmath.mpf(log_dispersion))
    gammas = mpmath.loggamma(r + x) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
    return float(gammas - r * mpmath.log1p(m / r) - x * mpmath.log1p(r / m))


def counts_around(mean, deviation):
    near = {max(0, round(mean + step * deviation)) for step in (-4, -1, 0, 1, 4)}
    return sorted({float(np.float32(x)) for x in near | {0, 1, 14, 15, 16}})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-11)])
@pytest.mark.parametrize("mean", [1e-6, 0.3, 5.0, 15.0, 1e3, 1e6])
def test_poisson_against_mpmath(mean, dtype, tolerance):
    log_rate = torch.tensor(math.log(mean), dtype=dtype)
    x = counts_around(mean, math.sqrt(mean))
    found = Poisson(log_rate).log_prob(torch.tensor(x, dtype=dtype))
    with mpmath.workdps(50):
        expected = [poisson_reference(log_rate.item(), value) for value in x]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-11)])
@pytest.mark.parametrize("dispersion", [1e-30, 1e-8, 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("mean", [1e-6, 0.3, 5.0, 1e3, 1e6])
def test_negative_binomial_against_mpmath(mean, dispersion, dtype, tolerance):
    params = torch.tensor([math.log(mean), math.log(dispersion)], dtype=dtype)
    x = counts_around(mean, math.sqrt(mean + dispersion * mean**2))
    found = NegativeBinomial(*params).log_prob(torch.tensor(x, dtype=dtype))
    with mpmath.workdps(80):
        expected = [negative_binomial_in_mpmath(*params.tolist(), value) for value in x]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=tolerance, atol=tolerance)


def test_torch_is_wrong_in_float32_where_counts_or_total_counts_are_large():
    """Why there are two classes of our own; should torch be right one day, they may go."""
    r, m, x = torch.tensor(1e8), torch.tensor(5.0), torch.tensor(3.0)
    torchs = torch.distributions.NegativeBinomial(r, logits=(m / r).log()).log_prob(x)
    ours = NegativeBinomial(m.log(), -r.log()).log_prob(x)
    assert ours.item() == pytest.approx(-1.963445, abs=1e-5)
    assert abs(torchs - ours) > 50
    million = torch.tensor(1e6)
    assert abs(TorchPoisson(million).log_prob(million) - Poisson(million.log()).log_prob(million)) > 0.8


@pytest.mark.parametrize("log_dispersion", [-30.0, -80.0, -1e4])
def test_a_negative_binomial_without_dispersion_is_poisson(log_dispersion):
    log_mean = torch.tensor([-3.0, 0.0, 5.0], requires_grad=True)
    limit = NegativeBinomial(log_mean, torch.full((3,), log_dispersion), validate_args=False)
    poisson = Poisson(log_mean, validate_args=False)
    x = poisson.sample((50,))
    torch.testing.assert_close(limit.log_prob(x), poisson.log_prob(x), rtol=1e-5, atol=1e-5)
    found, expected = (torch.autograd.grad(d.log_prob(x).sum(), log_mean)[0] for d in (limit, poisson))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_negative_binomial_is_torchs_in_torchs_terms(float64):
    ours = NegativeBinomial(MEANS, DISPERSIONS)
    torchs = torch.distributions.NegativeBinomial((-DISPERSIONS).exp(), logits=MEANS + DISPERSIONS)
    torch.testing.assert_close(ours.mean, torchs.mean)
    torch.testing.assert_close(ours.variance, torchs.variance)
    x = torch.arange(60.0)[:, None]
    torch.testing.assert_close(ours.log_prob(x), torchs.log_prob(x), rtol=1e-9, atol=1e-9)


def test_samples_at_the_ends_of_the_range_follow_their_probabilities():
    for log_mean, log_dispersion in ((0.0, 8.0), (14.0, -25.0), (2.0, -1e4)):
        d = NegativeBinomial(torch.tensor(log_mean), torch.tensor(log_dispersion))
        z = d.sample((100_000,))
        assert_mean((z == 0).double(), d.log_prob(torch.tensor(0.0)).exp().double())
        assert_mean((z.double() - math.exp(log_mean)) / math.exp(log_mean), 0.0, num_errors=6)
    rates = double(10.0, 1e12, 1e20, 1e30)  # torch.poisson counts in 64 bits on a CPU and in 32 on a GPU
    huge = Poisson(rates.log()).sample((20_000,))
    assert_mean(huge / rates, 1.0, num_errors=5)
    spread = ((huge / rates - 1) ** 2 * rates)[:, :3]  # at 1e30 it is below the resolution of a float64
    assert_mean(spread, 1.0, num_errors=5)


def test_kl_of_poissons_against_samples_and_at_both_ends(float64):
    q, p = Poisson(RATES), Poisson(RATES + double(0.5, -2.0, 0.01))
    kl_agrees_with_samples(q, p)
    far = torch.tensor([-1e4, 0.0, 3.0], requires_grad=True)
    kl = kl_divergence(Poisson(far), Poisson(torch.zeros(3)))
    torch.testing.assert_close(kl, torch.tensor([1.0, 0.0, 3 * math.exp(3) - math.exp(3) + 1]))
    assert torch.autograd.grad(kl.sum(), far)[0].isfinite().all()


def test_kl_of_poissons_does_not_cancel_in_float32():
    log_rate = torch.tensor(14.0)
    delta = torch.tensor(2.0**-9)
    expected = math.exp(14) * (math.expm1(2.0**-9) - 2.0**-9)
    assert kl_divergence(Poisson(log_rate), Poisson(log_rate + delta)).item() == pytest.approx(expected, rel=1e-3)


def test_zero_inflation_takes_any_counts_and_refuses_the_rest():
    for base in (TorchPoisson(torch.tensor([2.0, 3.0])), Levels(torch.zeros(2, 5))):
        d = ZeroInflated(base, torch.zeros(4, 2))
        assert d.batch_shape == (4, 2)
        assert d.sample((3,)).shape == (3, 4, 2)
        zero = d.log_prob(torch.zeros(()))
        torch.testing.assert_close(zero.exp(), (0.5 + base.log_prob(torch.zeros(2)).exp() / 2).expand(4, 2))
    inflated = ZeroInflated(Levels(torch.randn(3, 5)), torch.randn(3))
    listed = joint_support(Independent(inflated, 0))
    torch.testing.assert_close(inflated.log_prob(listed[:, None]).logsumexp(0), torch.zeros(3))
    assert not ZeroInflated(Poisson(torch.zeros(2)), torch.zeros(2)).has_enumerate_support
    for base in (torch.distributions.Normal(0.0, 1.0), Independent(TorchPoisson(torch.ones(2)), 1)):
        with pytest.raises(
            ValueError, match=r"base is a .*must be one over counts with event shape \(\), such as Poisson"
        ):
            ZeroInflated(base, torch.zeros(2))
