"""Closed forms in mpmath, functions of the parameters in the order of each distribution, and grids of parameters."""

from itertools import pairwise, product

import mpmath as mp
import torch
import torch.nn.functional as F
from closed_forms import Exact
from mpmath import digamma, exp, expm1, log, log1p, loggamma, mpf

from reparam import distributions as ours

SIZES = (1e-6, 1e-3, 0.2, 1.0, 3.7, 9.99, 55.0, 1e4, 1e6)
FEW = (1e-4, 0.2, 1.0, 55.0, 1e4, 1e6)
LOGITS = (-300.0, -30.0, -3.0, -0.5, -1e-3, -1e-8, 0.0, 1e-5, 0.2, 1.0, 10.0, 88.0, 1e3)
LOGS = (-80.0, -14.0, -1.0, 0.3, 3.0, 7.0, 14.0)
SYMBOLS = (-50.0, -1.0, 0.0, 0.3, 20.0)
KAPPAS = (0.0, 1e-6, 1e-3, 0.5, 1.0, 19.0, 1e3, 1e6)
CHANGES = ((0, 0), (1e-5, 0), (0, 1e-2), (1e-2, 1e-5))


def grid(*columns):
    return list(product(*columns))


def pairs(rows, changes=CHANGES):
    """All pairs of rows, and each row with itself a little changed."""
    close = [(*row, *(x * (1 + d) for x, d in zip(row, change, strict=False))) for row in rows for change in changes]
    return [(*p, *q) for p in rows for q in rows] + close


def stacked(*params):
    return torch.stack(params, -1)


def first(moment):
    return moment[..., 0]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def softplus(x):
    return log1p(exp(x)) if x < 0 else x + log1p(exp(-x))


def log_softmax(*logits):
    total = log(sum(map(exp, logits)))
    return [logit - total for logit in logits]


def log_beta(*a):
    return sum(map(loggamma, a)) - loggamma(sum(a))


def mean(log_probs, values):
    return sum(exp(p) * v for p, v in zip(log_probs, values, strict=True))


def variance(log_probs, values):
    centre = mean(log_probs, values)
    return mean(log_probs, [(v - centre) ** 2 for v in values])


def kl(log_p, log_q):
    return mean(log_p, [p - q for p, q in zip(log_p, log_q, strict=True)])


def location_scale(kind, log_density, cdf, quantile, square, entropy, **more):
    """With parameters loc and scale: of the standard member log-density, cdf, quantile, variance and entropy.

    The last two are functions without arguments, so that they are computed with all digits.
    """
    forms = {
        "mean": lambda m, s: m,
        "variance": lambda m, s: square() * s**2,
        "entropy": lambda m, s: entropy() + log(s),
        "log_prob": lambda x, m, s: log_density((x - m) / s) - log(s),
        "cdf": lambda x, m, s: cdf((x - m) / s),
        "icdf": lambda u, m, s: m + s * quantile(u),
        **more.pop("forms", {}),
    }
    rows = grid((-1e3, -1.0, 0.0, 0.5, 50.0), (1e-4, 0.3, 1.0, 20.0))
    return Exact(kind, rows, forms, values=(-1e4, -0.99, 0.0, 0.5001, 77.0), **more)


def laplace_kl(m, s, n, t):
    far = abs(m - n)
    return log(t / s) + far / t + s / t * exp(-far / s) - 1


def log_normal_kl(m, s, n, t):
    return log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - mpf(0.5)


def student_entropy(df, loc, scale):
    rise = digamma((df + 1) / 2) - digamma(df / 2)
    return (df + 1) / 2 * rise + log(df) / 2 + log_beta(mpf(0.5), df / 2) + log(scale)


def student_log_prob(x, df, loc, scale):
    power = log1p(((x - loc) / scale) ** 2 / df)
    return -(df + 1) / 2 * power - log(scale) - log(df) / 2 - log_beta(mpf(0.5), df / 2)


def gamma_kl(a, r, b, s):
    return (a - b) * digamma(a) - loggamma(a) + loggamma(b) + b * log(r / s) + a * (s - r) / r


def dirichlet_entropy(*a):
    n = sum(a)
    return log_beta(*a) + (n - len(a)) * digamma(n) - sum((c - 1) * digamma(c) for c in a)


def dirichlet_kl(*both):
    a, b = both[: len(both) // 2], both[len(both) // 2 :]
    rest = sum((c - d) * (digamma(c) - digamma(sum(a))) for c, d in zip(a, b, strict=True))
    return log_beta(*b) - log_beta(*a) + rest


def kumaraswamy_moment(power, a, b):
    return b * exp(log_beta(1 + power / a, b))


def log_rest(x, a):
    """`log(1 - x^a)`"""
    return log(-expm1(a * log(x)))


def log_normalizer(logit):
    """Of the continuous Bernoulli."""
    return log(expm1(logit) / logit) if logit else mpf(0)


def continuous_bernoulli_mean(logit):
    return -1 / expm1(-logit) - 1 / logit if logit else mpf(0.5)


def bessel_ratio(k):
    return mp.besseli(1, k) / mp.besseli(0, k)


def von_mises_kl(m, k, n, j):
    return bessel_ratio(k) * (k - j * mp.cos(m - n)) + log(mp.besseli(0, j) / mp.besseli(0, k))


def poisson_log_prob(x, log_rate):
    return x * log_rate - exp(log_rate) - loggamma(x + 1)


def negative_binomial_log_prob(x, log_mean, log_dispersion):
    m, r = exp(log_mean), exp(-log_dispersion)
    gammas = loggamma(r + x) - loggamma(r) - loggamma(x + 1)
    return gammas - r * log1p(m / r) - x * log1p(r / m)


def zero_inflated_log_prob(x, log_rate, logit):
    count = poisson_log_prob(x, log_rate)
    return log(sigmoid(logit) + sigmoid(-logit) * exp(count)) if x == 0 else count - softplus(logit)


def levels_of(loc, scale):
    """Log-probabilities of eight levels of a discretised logistic."""
    edges = [-mp.inf, *((mpf(k) + 0.5) / 7 for k in range(7)), mp.inf]
    at = [(edge - loc) / scale for edge in edges]
    masses = [sigmoid(high) * sigmoid(-low) * -expm1(low - high) for low, high in pairwise(at)]
    return [log(mass) if mass else mpf(-1e300) for mass in masses]


def relaxed_log_prob(y, temperature, logit):
    far = abs(logit - temperature * y)
    return log(temperature) - far - 2 * log1p(exp(-far))


def relaxed_kl(t, p, s, q):
    d = p - q
    return d * mp.coth(d / 2) - 2 if d else mpf(0)


def concrete_log_prob(y, temperature, p, q):
    """Of three categories with logits (p, q, 0) at the point softmax(y, -1, 2)."""
    point = log_softmax(y, mpf(-1), mpf(2))
    scores = [logit - temperature * x for logit, x in zip((p, q, mpf(0)), point, strict=True)]
    return log(2) + 2 * log(temperature) + sum(log_softmax(*scores))


def logistic_normal_log_prob(y, m, n, s, t):
    """At the point softmax(y, 1/2, 0)."""
    point = log_softmax(y, mpf(0.5), mpf(0))
    ratios = zip((y, mpf(0.5)), (m, n), (s, t), strict=True)
    return sum(-(((z - loc) / scale) ** 2) / 2 - log(scale) - log(2 * mp.pi) / 2 for z, loc, scale in ratios) - sum(
        point
    )


def mixture_variance(w, m, n, s):
    return sigmoid(w) * s**2 + sigmoid(-w) * 4 * s**2 + sigmoid(w) * sigmoid(-w) * (m - n) ** 2


def mixture_log_prob(x, w, m, n, s):
    def normal(loc, scale):
        return -(((x - loc) / scale) ** 2) / 2 - log(scale) - log(2 * mp.pi) / 2

    return log(sigmoid(w) * exp(normal(m, s)) + sigmoid(-w) * exp(normal(n, 2 * s)))


def directions(dim):
    half, axis = mpf(dim - 1) / 2, torch.zeros(dim).index_fill(0, torch.tensor(0), 1)

    def area():
        return log(2) + mpf(dim) / 2 * log(mp.pi) - loggamma(mpf(dim) / 2)

    def peak(k):
        return loggamma(k + 2 * half) - loggamma(k + half) - half * log(4 * mp.pi)

    def entropy(k):
        return k * (digamma(k + 2 * half) - digamma(k + half)) - peak(k)

    def uniform(like):
        return ours.HypersphericalUniform(dim, like.shape, dtype=like.dtype, validate_args=False)

    return [
        Exact(
            ours.PowerSpherical,
            grid(KAPPAS),
            {
                "mean": lambda k: k / (k + 2 * half),
                "variance": lambda k: 4 * (k + half) * half / ((k + 2 * half) ** 2 * (k + 2 * half + 1)),
                "entropy": entropy,
                "log_prob": lambda t, k: peak(k) + k * log((1 + t) / 2),
                "kl": lambda k, _: area() - entropy(k),
            },
            values=(1.0, -0.5, -0.96875),
            pairs=grid(KAPPAS, (1.0,)),
            make=lambda k: ours.PowerSpherical(axis.to(k), k, validate_args=False),
            other=lambda params: uniform(params[0]),
            event=lambda t: F.pad(stacked(t, (1 - t.square()).sqrt()), (0, dim - 2)),
            part=first,
        ),
        Exact(
            ours.HypersphericalUniform,
            [(1.0,)],
            {
                "mean": lambda _: mpf(0),
                "variance": lambda _: 1 / mpf(dim),
                "entropy": lambda _: area(),
                "log_prob": lambda t, _: -area(),
                "kl": lambda _, __: mpf(0),
            },
            values=(1.0, -0.5),
            pairs=[(1.0, 1.0)],
            make=uniform,
            event=lambda t: F.pad(stacked(t, (1 - t.square()).sqrt()), (0, dim - 2)),
            part=first,
        ),
    ]
