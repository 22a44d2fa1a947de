"""Counts: probabilities, moments and divergences against SciPy, torch and samples."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers import assert_mean, double, validating
from laws import LAWS, Member, kl_agrees_with_samples, states
from torch.distributions import Independent, kl_divergence
from torch.distributions import Poisson as TorchPoisson

from reparam.distributions import Levels, NegativeBinomial, Poisson, ZeroInflated, joint_support

RATES = double(0.02, 1.7, 33.0).log()
MEANS, DISPERSIONS = double(0.5, 4.0, 21.0).log(), double(2.0, 1e-3, 0.4).log()


def negative_binomial_reference(x, log_mean, log_dispersion):
    r, m = np.exp(-log_dispersion), np.exp(log_mean)
    return scipy.stats.nbinom(r, r / (r + m)).logpmf(x)


def zero_inflated_reference(x, log_rate, logits):
    extra = scipy.special.expit(logits)
    return np.log(extra * (x == 0) + (1 - extra) * scipy.stats.poisson(np.exp(log_rate)).pmf(x))


MEMBERS = [
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
            validating(counts).log_prob(torch.tensor([x, 1.0]))


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
