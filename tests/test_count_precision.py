"""Counts keep their precision in float32 and float64 over the whole range, against mpmath and where torch's do not."""

import math

import mpmath
import numpy as np
import pytest
import torch
from helpers import double
from torch.distributions import Poisson as TorchPoisson
from torch.distributions import kl_divergence

from reparam.distributions import NegativeBinomial, Poisson
from reparam.distributions.stirling import remainder


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


def test_kl_of_poissons_does_not_cancel_in_float32():
    log_rate = torch.tensor(14.0)
    delta = torch.tensor(2.0**-9)
    expected = math.exp(14) * (math.expm1(2.0**-9) - 2.0**-9)
    assert kl_divergence(Poisson(log_rate), Poisson(log_rate + delta)).item() == pytest.approx(expected, rel=1e-3)
