"""Gamma, Beta, Dirichlet and Student's t where log-gammas cancel, against mpmath; the ends of float32."""

import math

import mpmath
import pytest
import scipy.stats
import torch
from helpers import assert_mean
from mpmath import digamma, log, loggamma
from torch import distributions as td
from torch.distributions import kl_divergence

from reparam.distributions import Beta, Dirichlet, Gamma, Kumaraswamy, Laplace, LogisticNormal, LogNormal, StudentT
from reparam.distributions.stirling import excess, log_beta, remainder, remainder_slope

CONCENTRATIONS = [1e-6, 1e-3, 0.2, 1.0, 3.7, 9.99, 10.01, 55.0, 1e3, 1e4, 1e6]
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 3e-6)]


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(50):
        yield


def exact(x):
    return [mpmath.mpf(v) for v in x.double().flatten().tolist()]


@pytest.mark.parametrize(("dtype", "rel"), PRECISIONS)
@pytest.mark.parametrize("a", CONCENTRATIONS)
def test_stirlings_remainder_and_its_derivatives(a, dtype, rel):
    leaf = torch.tensor(a, dtype=dtype, requires_grad=True)
    (v,) = exact(leaf.detach())
    expected = loggamma(v) - (v - 0.5) * log(v) + v - log(2 * mpmath.pi) / 2
    slope = digamma(v) - log(v) + 1 / (2 * v)
    curvature = mpmath.polygamma(1, v) - 1 / v - 1 / (2 * v**2)
    assert remainder(leaf).item() == pytest.approx(float(expected), rel=rel, abs=rel)
    assert remainder_slope(leaf).item() == pytest.approx(float(slope), rel=rel, abs=rel)
    (g,) = torch.autograd.grad(remainder(leaf), leaf)
    assert g.item() == pytest.approx(float(slope), rel=rel, abs=rel)
    (g,) = torch.autograd.grad(remainder_slope(leaf), leaf)
    assert g.item() == pytest.approx(float(curvature), rel=rel, abs=1e-8 + 10 * rel)  # the digits of torch.polygamma
    for b in (0.5, 7.0, 1e5):
        other = torch.tensor(b, dtype=dtype)
        beta = loggamma(v) + loggamma(b) - loggamma(v + b)
        assert log_beta(leaf, other).item() == pytest.approx(float(beta), rel=rel, abs=2 * rel)
    assert excess(torch.tensor(1 + 1e-6, dtype=torch.float64)).item() == pytest.approx(5e-13, rel=1e-3)


@pytest.mark.parametrize(("dtype", "rel"), PRECISIONS)
@pytest.mark.parametrize("a", CONCENTRATIONS)
def test_gamma_density_entropy_and_kl_keep_their_digits(a, dtype, rel):
    p, q = (Gamma(torch.tensor(c, dtype=dtype), torch.tensor(r, dtype=dtype)) for c, r in ((a, 0.7), (1.3, 2.0)))
    (v, r), (w, s) = (exact(torch.stack([d.concentration, d.rate])) for d in (p, q))
    x = p.sample((100,))
    expected = [v * log(r) + (v - 1) * log(y) - r * y - loggamma(v) for y in exact(x)]
    slack = rel * (5 + 0.1 * math.sqrt(a))  # of x itself, whose last digit counts sqrt(a) times
    torch.testing.assert_close(
        p.log_prob(x).double(), torch.tensor(expected, dtype=torch.float64), rtol=rel, atol=slack
    )
    entropy = v - log(r) + loggamma(v) + (1 - v) * digamma(v)
    assert p.entropy().item() == pytest.approx(float(entropy), rel=rel, abs=2 * rel)
    for first, second, (c, d), (e, f) in ((p, q, (v, r), (w, s)), (q, p, (w, s), (v, r))):
        kl = (c - e) * digamma(c) - loggamma(c) + loggamma(e) + e * log(d / f) + c * (f - d) / d
        assert kl_divergence(first, second).item() == pytest.approx(float(kl), rel=2 * rel, abs=2 * rel)


@pytest.mark.parametrize(("dtype", "rel"), PRECISIONS)
@pytest.mark.parametrize("a", CONCENTRATIONS)
def test_dirichlet_density_entropy_and_kl_keep_their_digits(a, dtype, rel):
    p, q = (Dirichlet(torch.tensor(c, dtype=dtype)) for c in ([a, 2 * a, 0.5 * a], [1.0, 3.0, 0.4]))
    v, w = exact(p.concentration), exact(q.concentration)

    def log_volume(c):
        return sum(map(loggamma, c)) - loggamma(sum(c))

    x = p.sample((50,))
    for point, ours in zip(x, p.log_prob(x), strict=True):
        shares = exact(point)
        shares = [share / sum(shares) for share in shares]
        expected = sum((c - 1) * log(share) for c, share in zip(v, shares, strict=True)) - log_volume(v)
        assert ours.item() == pytest.approx(float(expected), rel=10 * rel, abs=rel * (10 + math.sqrt(a)))
    entropy = log_volume(v) + (sum(v) - 3) * digamma(sum(v)) - sum((c - 1) * digamma(c) for c in v)
    assert p.entropy().item() == pytest.approx(float(entropy), rel=2 * rel, abs=10 * rel)
    for first, second, c, d in ((p, q, v, w), (q, p, w, v)):
        kl = (
            log_volume(d)
            - log_volume(c)
            + sum((e - f) * (digamma(e) - digamma(sum(c))) for e, f in zip(c, d, strict=True))
        )
        assert kl_divergence(first, second).item() == pytest.approx(float(kl), rel=5 * rel, abs=5 * rel)
    beta, pair = Beta(p.concentration[:1], p.concentration[1:2]), Dirichlet(p.concentration[None, :2])
    y = beta.sample()
    torch.testing.assert_close(beta.log_prob(y), pair.log_prob(torch.stack([y, 1 - y], -1)))
    torch.testing.assert_close(beta.entropy(), pair.entropy())
    uniform = [Beta(torch.ones(1, dtype=dtype), torch.ones(1, dtype=dtype)), Dirichlet(torch.ones(1, 2, dtype=dtype))]
    torch.testing.assert_close(kl_divergence(beta, uniform[0]), kl_divergence(pair, uniform[1]))


def test_kl_of_dirichlets_has_its_derivatives_broadcasts_and_goes_through_vmap():
    a = torch.tensor([[0.3, 3.0, 0.5], [12.0, 0.9, 40.0], [2.0, 2.0, 2.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.3, 20.0, 1.5], dtype=torch.float64, requires_grad=True)

    def divergence(a, b):
        return kl_divergence(Dirichlet(a, validate_args=False), Dirichlet(b, validate_args=False))

    assert torch.autograd.gradcheck(divergence, (a, b))
    assert torch.autograd.gradgradcheck(divergence, (a, b), eps=1e-4, rtol=1e-3)  # torch's trigamma has nine digits
    one_by_one = torch.stack([divergence(row, b) for row in a])
    torch.testing.assert_close(divergence(a, b), one_by_one)
    torch.testing.assert_close(torch.vmap(divergence, (0, None))(a, b), one_by_one)
    beta = kl_divergence(Beta(a[:, 0], a[:, 1]), Beta(b[0], b[1]))
    torch.testing.assert_close(beta, divergence(a[:, :2], b[:2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_of_the_kl_of_betas_keep_their_digits(dtype):
    sizes = (1e-3, 1.0, 1e6)
    rows = [(a, b, c * 1.01, d) for a in sizes for b in sizes for c in sizes for d in sizes]
    params = [torch.tensor(column, dtype=dtype, requires_grad=True) for column in zip(*rows, strict=True)]
    divergence = kl_divergence(Beta(*params[:2], validate_args=False), Beta(*params[2:], validate_args=False))
    found = torch.autograd.grad(divergence.sum(), params)
    # torch's trigamma has nine digits in float64
    resolution = max(torch.finfo(dtype).eps, 1e-10)
    for index, row in enumerate(zip(*(exact(p.detach()) for p in params), strict=True)):
        p, q = row[:2], row[2:]
        n, m = sum(p), sum(q)
        for i in range(2):
            by_p = (p[i] - q[i]) * mpmath.polygamma(1, p[i]) - (n - m) * mpmath.polygamma(1, n)
            by_q = digamma(q[i]) - digamma(m) - digamma(p[i]) + digamma(n)
            change = abs(p[i] - q[i]) + q[i]  # what a rounding of a parameter changes, times the parameter
            for value, expected, size in ((found[i][index], by_p, p[i]), (found[2 + i][index], by_q, q[i])):
                allowed = 40 * resolution * (size * abs(expected) + divergence[index].item() + 1 + change)
                assert abs(value.item() - expected) * size < allowed, (row, value, expected)


def test_gamma_density_far_below_the_mean_does_not_underflow():
    x = torch.tensor(1e-37)
    for a, rate in ((1e6, 1e-6), (1e3, 1e-3)):
        single, double = (
            Gamma(torch.tensor(a).to(t), torch.tensor(rate).to(t)) for t in (torch.float32, torch.float64)
        )
        torch.testing.assert_close(single.log_prob(x).double(), double.log_prob(x.double()), rtol=1e-5, atol=0)


def test_kumaraswamy_density_keeps_the_digits_of_a_small_power():
    x = torch.tensor([0.01, 0.03, 0.06])
    single, double = (
        Kumaraswamy(torch.tensor(5.0).to(t), torch.tensor(1e6).to(t)) for t in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single.log_prob(x).double(), double.log_prob(x.double()), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("loc", "scale"), [(95.0, 1.0), (-150.0, 5.0), (0.0, 60.0)])
def test_log_normal_draws_beyond_float32_are_finite_with_finite_gradients(loc, scale):
    params = [torch.full((1000,), v, requires_grad=True) for v in (loc, scale)]
    z = LogNormal(*params).rsample()
    log_prob = LogNormal(*params).log_prob(z)
    assert log_prob.isfinite().all()
    gradients = [*torch.autograd.grad(z.sum(), params, retain_graph=True), *torch.autograd.grad(log_prob.sum(), params)]
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [Gamma, Beta, Kumaraswamy, Dirichlet, LogNormal, LogisticNormal])
def test_draws_of_half_precision_stay_off_the_ends(kind, dtype):
    small = torch.full((400, 3), 0.05, dtype=dtype)
    wide = torch.full((400, 3), 40.0, dtype=dtype)
    params = {Dirichlet: [small], LogNormal: [0 * wide, wide], LogisticNormal: [0 * wide, wide]}.get(
        kind, [small, small]
    )
    d = kind(*params, validate_args=False)  # torch's check of a simplex allows 1e-6, less than half precision has
    z = d.sample()
    assert z.dtype == dtype
    assert (z > 0).all()
    assert d.log_prob(z).isfinite().all()


def oracle_slope(cdf, pdf, x, c):
    """dx/dc at a fixed value of the cumulative distribution function."""
    h = 1e-4 * c
    return -(cdf(x, c + h) - cdf(x, c - h)) / (2 * h) / pdf(x, c)


@pytest.mark.parametrize("a", [0.3, 1.0, 5.0, 8.1, 200.0])
def test_implicit_gradients_of_draws_agree_with_scipys_cdf(a):
    """Of each gamma draw; those of Beta and Dirichlet are implicit on average: see test_gamma_draws.py."""
    b = 2.0
    leaf = torch.full((3000,), a, dtype=torch.float64, requires_grad=True)
    draws = Gamma(leaf, torch.full((3000,), b, dtype=torch.float64)).rsample()
    (gradients,) = torch.autograd.grad(draws.sum(), leaf)
    x = draws.detach().numpy()
    expected = oracle_slope(
        lambda x, c: scipy.stats.gamma.cdf(x * b, c), lambda x, c: b * scipy.stats.gamma.pdf(x * b, c), x, a
    )
    expected = torch.as_tensor(expected)
    known = draws.detach() > 1e-6
    torch.testing.assert_close(gradients[known], expected[known], rtol=2e-3, atol=0)
    assert abs(gradients[known].mean() / expected[known].mean() - 1) < 5e-4


@pytest.mark.parametrize("concentration", [0.05, 0.1, 0.3])
def test_as_many_draws_meet_the_ends_of_float32_as_its_docstrings_say(concentration):
    c, one, n = torch.tensor(concentration), torch.tensor(1.0), (400_000,)
    low, high = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2
    below = math.exp(concentration * math.log(low))
    assert_mean((Gamma(c, one).sample(n) == low).double(), below / math.gamma(1 + concentration), num_errors=5)
    assert_mean((Beta(c, one).sample(n) == low).double(), below, num_errors=5)
    assert_mean((Kumaraswamy(c, one).sample(n) <= 1.01 * low).double(), below, num_errors=5)
    above = (1.5 * (1 - high)) ** concentration  # half of the next cell is rounded there, too
    assert_mean((Beta(one, c).sample(n) == high).double(), above, num_errors=5)
    assert_mean((Kumaraswamy(one, c).sample(n) == high).double(), above, num_errors=5)


def test_bounds_from_samples_in_float32_agree_with_the_closed_kl_where_the_docstrings_say():
    one = torch.ones(6)
    small = torch.tensor([0.2, 0.3, 0.5, 1.0, 30.0, 1e4])
    z = Gamma(small, one).sample((200_000,))
    assert_mean(
        Gamma(small, one).log_prob(z) - Gamma(one, one).log_prob(z), kl_divergence(Gamma(small, one), Gamma(one, one))
    )
    small = small.clamp_min(0.5)
    q, p = Beta(one, small), Beta(one, one)
    z = q.sample((200_000,))
    assert_mean(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p))


def test_torch_is_measurably_wrong_where_ours_is_used():
    n, big = (5000,), torch.tensor(1e6)
    for ours, theirs in ((Gamma, td.Gamma), (Beta, td.Beta)):
        x = ours(big, big).sample(n)
        exact = theirs(big.double(), big.double()).log_prob(x.double())
        assert (theirs(big, big).log_prob(x) - exact).abs().max() > 0.5
        assert (ours(big, big).log_prob(x) - exact).abs().max() < 1e-2
    assert td.Gamma(torch.tensor(1.0), torch.tensor(1.0), validate_args=False).log_prob(torch.tensor(-3.0)) == 3
    with pytest.raises(RuntimeError, match="not implemented for 'BFloat16'"):
        td.Gamma(torch.ones(2).bfloat16(), torch.ones(2).bfloat16()).sample()
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    draws = td.Laplace(zero.bfloat16(), one.bfloat16()).sample((1_000_000,)).double()
    assert draws.max() < 5.6
    assert abs(draws.mean()) > 5 * draws.std() / 1000
    draws = Laplace(zero.bfloat16(), one.bfloat16()).sample((1_000_000,)).double()
    assert draws.max() > 10
    assert_mean(draws, 0.0)
    wide = torch.full((9,), 30.0)
    stick = td.LogisticNormal(torch.zeros(9), wide, validate_args=False)
    assert (~stick.log_prob(stick.sample(n)).isfinite()).double().mean() > 0.1
    ratio = LogisticNormal(torch.zeros(9), wide)
    assert ratio.log_prob(ratio.sample(n)).isfinite().all()
    theirs, ours = (kind(torch.tensor(90.0), one, validate_args=False) for kind in (td.LogNormal, LogNormal))
    assert not theirs.log_prob(theirs.sample(n)).isfinite().all()
    assert ours.log_prob(ours.sample(n)).isfinite().all()
    far = torch.tensor(1e25)
    assert td.StudentT(4.0, zero, one).log_prob(far) == -math.inf
    expected = scipy.stats.t(4.0).logpdf(1e25)
    assert StudentT(torch.tensor(4.0), zero, one).log_prob(far).item() == pytest.approx(expected, rel=1e-6)
    u = torch.tensor(0.05)
    coin = td.Kumaraswamy(u, u, validate_args=False)
    assert not coin.log_prob(coin.sample(n)).isfinite().all()
    coin = Kumaraswamy(u, u)
    assert coin.log_prob(coin.sample(n)).isfinite().all()
