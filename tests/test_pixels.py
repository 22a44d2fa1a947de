"""The levels of pixels, free or by discretised logistics: probabilities against SciPy, mpmath and enumeration."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers import assert_mean, double, validating
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, Member, kl_agrees_with_samples, states
from torch.distributions import Independent, kl_divergence

import reparam as rp
from reparam.distributions import DiscretizedLogisticMixture, Levels, LevelSet, joint_support

LOGITS = double([0.3, -1.0, 2.0, 0.0, -4.0], [5.0, 5.0, 0.0, -9.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0])
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
            validating(pixel).log_prob(x)
    assert (
        torch.autograd.grad(Levels(logits, step=1 / 255, validate_args=False).log_prob(x), logits)[0].isfinite().all()
    )


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
