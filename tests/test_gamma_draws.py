"""Draws made of gamma draws: where they lie at tiny concentrations, and how they move at tiny and at huge ones."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from helpers import assert_mean

from reparam.distributions import Beta, Dirichlet, Gamma, Kumaraswamy, NegativeBinomial, StudentT
from reparam.distributions.gamma_draws import following, gamma_draws

DTYPES = [torch.float32, torch.float64]
TINY = (1e-6, 4.5e-5, 1e-3, 0.05, 0.2, 0.3, 2.0)
POWERS = np.array([-37.0, -30.0, -20.0, -10.0, -4.0, -1.0, -0.01, 0.0, 0.5, 2.0, 10.0, 25.0, 37.0])
SHARES = np.concatenate([10 ** POWERS[:6], [0.4, 0.6, 0.999]])


def log_gamma_cdf(log_x, a):
    """P(X <= x), where x may be far below the smallest float."""
    far = np.exp(a * log_x - scipy.special.gammaln(a + 1))
    return np.where(log_x < -20, far, scipy.special.gammainc(a, np.exp(np.maximum(log_x, -20))))


def follows(draws, points, probabilities):
    """As many draws as should lie below each point, up to 5 standard errors of a binomial count."""
    below = (draws.double()[:, None] <= torch.as_tensor(points)).double().mean(0).numpy()
    error = np.sqrt(probabilities * (1 - probabilities) / len(draws)) + 1 / len(draws)
    assert (np.abs(below - probabilities) <= 5 * error).all(), np.abs(below - probabilities) / error


def members(kind, dtype, *params):
    return kind(*(torch.tensor(p, dtype=dtype) for p in params), validate_args=False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("a", TINY)
class TestWhereDrawsLie:
    n = (40_000,)

    def test_gamma(self, a, dtype):
        for rate in (1e-6, 1.0, 1e6):
            draws = members(Gamma, dtype, a, rate).sample(self.n)
            follows(draws, 10**POWERS, log_gamma_cdf(POWERS * math.log(10) + math.log(rate), a))

    def test_beta_and_dirichlet(self, a, dtype):
        for b in TINY:
            expected = scipy.stats.beta.cdf(SHARES, a, b)
            follows(members(Beta, dtype, a, b).sample(self.n), SHARES, expected)
            draws = members(Dirichlet, dtype, [a, b / 3, 2 * b / 3]).sample(self.n)
            follows(draws[:, 0], SHARES, expected)
            assert ((draws.sum(-1) - 1).abs() < 1e-6).all()

    def test_kumaraswamy(self, a, dtype):
        for b in (1e-3, 0.2, 2.0):
            expected = -np.expm1(b * np.log(-np.expm1(a * np.log(SHARES))))
            follows(members(Kumaraswamy, dtype, a, b).sample(self.n), SHARES, expected)

    def test_student(self, a, dtype):
        draws = members(StudentT, dtype, a, 0.0, 2.0).sample(self.n)
        assert draws.isfinite().all()
        normal = np.random.default_rng(0).standard_normal(100_000)
        # x^2 / 4 = normal^2 / precision, so P(|x| > t) is an average over normals of a gamma distribution function
        log_half = np.log(a / 2) + np.log(normal**2)
        above = [log_gamma_cdf(log_half - 2 * (p * math.log(10) - math.log(2)), a / 2).mean() for p in POWERS]
        follows(draws.abs(), 10**POWERS, 1 - np.array(above))

    def test_negative_binomial(self, a, dtype):
        for log_mean in (0.0, 40.0):
            counts = members(NegativeBinomial, dtype, log_mean, -math.log(a)).sample(self.n)
            m = math.exp(log_mean)
            points = np.array([0.0, 1.0, 3.0, 10.0, 1e4, 1e10, 1e15, 1e17, 1e18])
            follows(counts, points, scipy.special.betainc(a, points + 1, a / (a + m)))


def expectations(c, i):
    """Of the mean and of the mean logarithm of share i, the derivatives in the concentrations."""
    c, own = np.array(c), np.arange(len(c)) == i
    n = c.sum()
    return (own * n - c[i]) / n**2, own * scipy.special.polygamma(1, c) - scipy.special.polygamma(1, n)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "c",
    [
        (1e5, 3.0),
        (1e4, 1.0),
        (1e5, 0.1),
        (65536.0, 65536.0),
        (1e6, 0.3, 20.0),
        (0.1, 0.2),
        (0.02, 5.0),
        (0.3, 1.0, 7.0),
    ],
)
def test_gradients_of_shares_are_those_of_their_moments(c, dtype):
    leaf = torch.tensor(c, dtype=dtype).expand(40_000, -1).clone().requires_grad_()
    for i in range(len(c)):
        shares = [Dirichlet(leaf, validate_args=False).rsample()[:, i]]
        if len(c) == 2:
            shares.append(Beta(leaf[:, i], leaf[:, 1 - i], validate_args=False).rsample())
        of_mean, of_log = (torch.as_tensor(e) for e in expectations(c, i))
        for x in shares:
            (found,) = torch.autograd.grad(x.sum(), leaf, retain_graph=True)
            assert_mean(found.double(), of_mean)
            if max(c) < 10 and (dtype == torch.float64 or min(c) > 0.1):  # else too many are at the ends of the dtype
                (found,) = torch.autograd.grad(x.log().sum(), leaf)
                assert_mean(found.double(), of_log)


def agree_on_average(x, found, expected, noise):
    """At small, middle and large draws, up to the error of torch's implicit gradient; with `noise` times the variance."""
    for some in x.argsort().tensor_split(6):
        residual = found[some] - expected[some]
        error = residual.std() / math.sqrt(len(some))
        assert residual.mean().abs() < 4.5 * error + 5e-4 * expected[some].mean().abs()
    assert found.var() < noise * expected.var()


def implicit(x, a, b):
    """How a beta draw moves with a at a fixed value of its distribution function."""
    h = 1e-4 * a
    slope = scipy.stats.beta.cdf(x, a + h, b) - scipy.stats.beta.cdf(x, a - h, b)
    return torch.as_tensor(-slope / (2 * h) / scipy.stats.beta.pdf(x, a, b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.02, 2.0),
        (0.1, 2.0),
        (0.3, 2.0),
        (1.0, 2.0),
        (5.0, 2.0),
        (8.1, 2.0),
        (30.0, 30.0),
        (200.0, 2.0),
        (2.0, 2e4),
        (2e4, 2.0),
    ],
)
@pytest.mark.parametrize("kind", [Beta, Dirichlet])
def test_the_gradient_of_a_share_is_on_average_the_implicit_one_with_little_noise(kind, a, b):
    leaf = torch.full((20_000,), a, dtype=torch.float64, requires_grad=True)
    other = torch.full((20_000,), b, dtype=torch.float64)
    if kind is Beta:
        draws = kind(leaf, other).rsample()
    else:
        draws = kind(torch.stack([leaf, other / 4, 3 * other / 4], -1)).rsample()[:, 0]
    (found,) = torch.autograd.grad(draws.sum(), leaf)
    x = draws.detach()
    expected = implicit(x.numpy(), a, b)
    known = (x > 1e-6) & (x < 1 - 1e-6)
    agree_on_average(x[known], found[known], expected[known], 1.05 if a >= 0.15 else 1.6)


@pytest.mark.parametrize("a", [0.01, 0.05, 0.14])
def test_below_0_15_the_gradient_of_a_gamma_draw_is_on_average_the_implicit_one(a):
    leaf = torch.full((20_000,), a, dtype=torch.float64, requires_grad=True)
    x = Gamma(leaf, torch.ones((), dtype=torch.float64)).rsample()
    (found,) = torch.autograd.grad(x.log().sum(), leaf)
    x, h = x.detach(), 1e-4 * a
    log_x = x.log().numpy()
    slope = (log_gamma_cdf(log_x, a + h) - log_gamma_cdf(log_x, a - h)) / (2 * h)
    expected = torch.as_tensor(-slope / np.exp(a * log_x - x.numpy() - scipy.special.gammaln(a)))
    known = x > 1e-300
    agree_on_average(x[known], found[known], expected[known], 1.1)


@pytest.mark.parametrize("df", [0.3, 1.0, 8.0, 1e4])
def test_the_gradient_of_a_student_draw_is_that_of_its_mean_logarithm(df):
    leaf = torch.full((40_000,), df, dtype=torch.float64, requires_grad=True)
    x = StudentT(leaf, torch.zeros(()), torch.ones(())).rsample()
    (found,) = torch.autograd.grad(x.abs().log().sum(), leaf)
    assert_mean(found, 1 / (2 * df) - scipy.special.polygamma(1, df / 2) / 4)


def test_no_gradient_is_computed_where_none_is_asked_for():
    a = torch.tensor([0.1, 3.0], requires_grad=True)
    number, log_factor = gamma_draws(a, torch.Size([5, 2]))
    assert not number.requires_grad
    assert following(a.detach(), number, log_factor).shape == ()
    with torch.no_grad():
        assert following(a, number, log_factor).shape == ()
    assert following(a, number, log_factor).tolist() == [[0.0, 0.0]] * 5
