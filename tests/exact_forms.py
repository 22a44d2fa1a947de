"""The table of closed forms: each distribution with its grid and its forms in mpmath."""

import exact as of
import mpmath as mp
import torch
import torch.nn.functional as F
from closed_forms import Exact
from exact import FEW, KAPPAS, LOGITS, LOGS, SIZES, SYMBOLS, directions, first, grid, location_scale, pairs, stacked
from mpmath import digamma, exp, expm1, log, log1p, loggamma, mpf
from torch import distributions as td

from reparam import distributions as ours

UNIT = (1e-30, 1e-3, 0.3, 0.99)
SIMPLEX = grid((1e-6, 0.2, 1e4), (1e-3, 3.7, 1e6), (1e-3, 55.0, 1e6))
THREE = grid(SYMBOLS, (-50.0, 0.3), (0.0, 20.0))
MIXED = grid((-30.0, 0.0, 2.0), (0.0, 1e3), (-1.0, 1e3), (1e-2, 1.0))


def three_levels(*logits):
    return ours.Levels(stacked(*logits), step=0.5, validate_args=False)


def three_symbols(*logits):
    return ours.OneHotCategorical(stacked(*logits), validate_args=False)


def normals(w, m, n, s):
    components = td.Normal(stacked(m, n), stacked(s, 2 * s), validate_args=False)
    return ours.Mixture(stacked(w, 0 * w), components, validate_args=False)


def eight_levels(loc, scale):
    params = (torch.zeros_like(loc), loc, scale)
    return ours.DiscretizedLogisticMixture(*(p[..., None] for p in params), num_levels=8, validate_args=False)


def inflated(log_rate, logits):
    return ours.ZeroInflated(ours.Poisson(log_rate, validate_args=False), logits, validate_args=False)


def of_simplex(kind):
    return lambda *params: kind(stacked(*params), validate_args=False)


EXACT = [
    location_scale(
        ours.Logistic,
        lambda s: -abs(s) - 2 * log1p(exp(-abs(s))),
        of.sigmoid,
        lambda u: log(u) - log1p(-u),
        lambda: mp.pi**2 / 3,
        lambda: 2,
    ),
    location_scale(
        ours.Laplace,
        lambda s: -abs(s) - log(2),
        lambda s: exp(s) / 2 if s < 0 else 1 - exp(-s) / 2,
        lambda u: log(2 * u) if u < 0.5 else -log(2 * (1 - u)),
        lambda: 2,
        lambda: 1 + log(2),
        forms={"kl": of.laplace_kl},
        pairs=pairs(grid((0.0, 0.5, 50.0), (1e-4, 1.0, 20.0))),
    ),
    Exact(
        ours.LogNormal,
        grid((-80.0, -1.0, 0.5, 30.0), (1e-4, 0.3, 1.0, 5.0)),
        {
            "mean": lambda m, s: exp(m + s**2 / 2),
            "variance": lambda m, s: expm1(s**2) * exp(2 * m + s**2),
            "entropy": lambda m, s: m + log(s) + (1 + log(2 * mp.pi)) / 2,
            "log_prob": lambda x, m, s: -(((log(x) - m) / s) ** 2) / 2 - log(s * x) - log(2 * mp.pi) / 2,
            "cdf": lambda x, m, s: mp.ncdf((log(x) - m) / s),
            "icdf": lambda u, m, s: exp(m + s * mp.sqrt(2) * mp.erfinv(2 * u - 1)),
            "kl": of.log_normal_kl,
        },
        values=(1e-30, 0.3, 1.0001, 77.0, 1e20),
        pairs=pairs(grid((-80.0, 0.5), (1e-4, 1.0, 5.0))),
    ),
    Exact(
        ours.StudentT,
        grid((1e-6, 1e-3, 0.2, 1.0, 2.5, 9.99, 55.0, 1e4, 1e7, 1e10), (0.3,), (1e-3, 2.0)),
        {
            "mean": lambda df, m, s: m if df > 1 else None,
            "variance": lambda df, m, s: s**2 * df / (df - 2) if df > 2 else None,
            "entropy": of.student_entropy,
            "log_prob": of.student_log_prob,
        },
        values=(0.3001, -5.0, 1e4, 1e25),
    ),
    Exact(
        ours.Gamma,
        grid(SIZES, (1e-3, 0.7, 1e6)),
        {
            "mean": lambda a, r: a / r,
            "variance": lambda a, r: a / r**2,
            "entropy": lambda a, r: a - log(r) + loggamma(a) + (1 - a) * digamma(a),
            "log_prob": lambda x, a, r: a * log(r) + (a - 1) * log(x) - r * x - loggamma(a),
            "cdf": lambda x, a, r: mp.gammainc(a, 0, r * x, regularized=True) if a < 1e3 and r * x < 1e3 else None,
            "kl": of.gamma_kl,
        },
        values=(1e-30, 1e-3, 0.5, 7.0, 78.0, 1e4),
        pairs=pairs(grid(FEW, (0.7, 2.0))),
        slack={"cdf": 1e5},  # torch's gammainc in float64 next to its mean
    ),
    Exact(
        ours.Beta,
        grid(SIZES, SIZES),
        {
            "mean": lambda a, b: a / (a + b),
            "variance": lambda a, b: a * b / (a + b) ** 2 / (a + b + 1),
            "entropy": of.dirichlet_entropy,
            "log_prob": lambda x, a, b: (a - 1) * log(x) + (b - 1) * log1p(-x) - of.log_beta(a, b),
            "kl": of.dirichlet_kl,
        },
        values=UNIT,
        pairs=pairs(grid((1e-4, 1.0, 1e4, 1e6), (1e-4, 1.0, 1e4, 1e6))),
    ),
    Exact(
        ours.Dirichlet,
        SIMPLEX,
        {
            "mean": lambda *a: a[0] / sum(a),
            "variance": lambda *a: a[0] * (a[1] + a[2]) / sum(a) ** 2 / (sum(a) + 1),
            "entropy": of.dirichlet_entropy,
            "log_prob": lambda x, *a: (
                sum((c - 1) * log(y) for c, y in zip(a, (x, x, 1 - 2 * x), strict=True)) - of.log_beta(*a)
            ),
            "kl": of.dirichlet_kl,
        },
        values=(2.0**-90, 0.125, 0.46875),
        pairs=pairs(grid((1e-4, 1.0), (0.2, 1e4), (1e-4, 1e4)), [(0, 0, 0), (1e-5, 0, 1e-2)]),
        make=of_simplex(ours.Dirichlet),
        event=lambda x: stacked(x, x, 1 - 2 * x),
        part=first,
    ),
    Exact(
        ours.Kumaraswamy,
        grid((1e-6, 1e-3, 0.2, 1.0, 9.99, 1e3, 1e6), (1e-6, 1e-3, 0.2, 1.0, 10.0, 1e3, 1e6)),
        {
            "mean": lambda a, b: of.kumaraswamy_moment(1, a, b),
            "variance": lambda a, b: of.kumaraswamy_moment(2, a, b) - of.kumaraswamy_moment(1, a, b) ** 2,
            "entropy": lambda a, b: 1 - 1 / b + (1 - 1 / a) * (digamma(b + 1) + mp.euler) - log(a) - log(b),
            "log_prob": lambda x, a, b: log(a * b) + (a - 1) * log(x) + (b - 1) * of.log_rest(x, a),
            "cdf": lambda x, a, b: -expm1(b * of.log_rest(x, a)),
            "icdf": lambda u, a, b: exp(log(-expm1(log1p(-u) / b)) / a),
        },
        values=UNIT,
    ),
    Exact(
        ours.ContinuousBernoulli,
        grid((*LOGITS, -0.24, 0.26, -0.99, 1.01)),
        {
            "mean": of.continuous_bernoulli_mean,
            "variance": lambda logit: 1 / logit**2 - 1 / (4 * mp.sinh(logit / 2) ** 2) if logit else mpf(1) / 12,
            "entropy": lambda logit: of.log_normalizer(logit) - logit * of.continuous_bernoulli_mean(logit),
            "log_prob": lambda x, logit: logit * x - of.log_normalizer(logit),
            "cdf": lambda x, logit: expm1(logit * x) / expm1(logit) if logit else x,
            "icdf": lambda u, logit: log1p(u * expm1(logit)) / logit if logit else u,
            "kl": lambda p, q: (p - q) * of.continuous_bernoulli_mean(p) - of.log_normalizer(p) + of.log_normalizer(q),
        },
        values=(0.0, 1e-6, 0.3, 0.9, 1.0),
        pairs=pairs(grid(LOGITS)),
    ),
    Exact(
        ours.LogisticNormal,
        grid((-30.0, 0.2), (0.0, 5.0), (1e-2, 1.0, 30.0), (0.5,)),
        {
            "log_prob": of.logistic_normal_log_prob,
            "kl": lambda m, n, s, t, i, j, u, v: of.log_normal_kl(m, s, i, u) + of.log_normal_kl(n, t, j, v),
        },
        values=(-60.0, -0.5, 7.0),
        pairs=pairs(grid((-30.0, 0.2), (5.0,), (1e-2, 30.0), (0.5,)), [(0, 1e-2, 1e-5, 0)]),
        make=lambda m, n, s, t: ours.LogisticNormal(stacked(m, n), stacked(s, t), validate_args=False),
        event=lambda y: stacked(y, torch.full_like(y, 0.5), torch.zeros_like(y)).softmax(-1),
    ),
    Exact(
        ours.VonMises,
        grid((0.3,), (*KAPPAS[:-1], 0.99, 1.01, 5.0, 29.9, 30.1)),
        {
            "mean": lambda m, k: m,
            "variance": lambda m, k: 1 - of.bessel_ratio(k),
            "entropy": lambda m, k: log(2 * mp.pi * mp.besseli(0, k)) - k * of.bessel_ratio(k),
            "log_prob": lambda z, m, k: k * mp.cos(z - m) - log(2 * mp.pi * mp.besseli(0, k)),
            "kl": of.von_mises_kl,
        },
        values=(0.3001, 1.0, -3.0),
        pairs=pairs(grid((0.3, 1.3), (0.0, 1e-3, 1.0, 29.9, 30.1, 1e3))),
        slack={"variance": 4, "entropy": 4, "kl": 4},  # 1 - I1 / I0 next to kappa = 30, a difference of torch's
    ),
    Exact(
        ours.Poisson,
        grid(LOGS),
        {
            "mean": exp,
            "variance": exp,
            "log_prob": of.poisson_log_prob,
            "kl": lambda p, q: exp(q) - exp(p) - exp(p) * (q - p),
        },
        values=(0.0, 1.0, 3.0, 14.0, 15.0, 1088.0, 1_201_000.0),
        pairs=pairs(grid(LOGS)),
    ),
    Exact(
        ours.NegativeBinomial,
        grid(LOGS, (-80.0, -30.0, -14.0, -3.0, 0.2, 3.0, 14.0)),
        {
            "mean": lambda m, a: exp(m),
            "variance": lambda m, a: exp(m) + exp(a + 2 * m),
            "log_prob": of.negative_binomial_log_prob,
        },
        values=(0.0, 1.0, 15.0, 1088.0, 1_201_000.0),
    ),
    Exact(
        ours.ZeroInflated,
        grid(LOGS, (-40.0, -3.0, 0.2, 40.0)),
        {
            "mean": lambda logit, z: of.sigmoid(-z) * exp(logit),
            "variance": lambda logit, z: of.sigmoid(-z) * (exp(logit) + of.sigmoid(z) * exp(2 * logit)),
            "log_prob": of.zero_inflated_log_prob,
        },
        values=(0.0, 1.0, 15.0),
        make=inflated,
    ),
    Exact(
        ours.Bernoulli,
        grid(LOGITS),
        {
            "mean": of.sigmoid,
            "variance": lambda logit: of.sigmoid(logit) * of.sigmoid(-logit),
            "entropy": lambda logit: of.softplus(logit) - logit * of.sigmoid(logit),
            "log_prob": lambda x, logit: x * logit - of.softplus(logit),
            "kl": lambda p, q: of.sigmoid(p) * (p - q) - of.softplus(p) + of.softplus(q),
        },
        values=(0.0, 1.0),
        pairs=pairs(grid(LOGITS)),
    ),
    Exact(
        ours.OneHotCategorical,
        THREE,
        {
            "mean": lambda *logits: exp(of.log_softmax(*logits)[0]),
            "variance": lambda *logits: of.variance(of.log_softmax(*logits), (1, 0, 0)),
            "entropy": lambda *logits: -of.mean(of.log_softmax(*logits), of.log_softmax(*logits)),
            "log_prob": lambda k, *logits: of.log_softmax(*logits)[int(k)],
            "kl": lambda *logits: of.kl(of.log_softmax(*logits[:3]), of.log_softmax(*logits[3:])),
        },
        values=(0.0, 1.0, 2.0),
        pairs=pairs(grid((-50.0, 0.3), (0.0, 20.0), (0.0,)), [(0, 1e-6, 0), (1e-2, 0, 0)]),
        make=three_symbols,
        event=lambda k: F.one_hot(k.long(), 3).to(k.dtype),
        part=first,
    ),
    Exact(
        ours.Levels,
        THREE,
        {
            "mean": lambda *logits: of.mean(of.log_softmax(*logits), (0, mpf(0.5), 1)),
            "variance": lambda *logits: of.variance(of.log_softmax(*logits), (0, mpf(0.5), 1)),
            "entropy": lambda *logits: -of.mean(of.log_softmax(*logits), of.log_softmax(*logits)),
            "log_prob": lambda x, *logits: of.log_softmax(*logits)[int(2 * x + 0.5)],
            "kl": lambda *logits: of.kl(of.log_softmax(*logits[:3]), of.log_softmax(*logits[3:])),
        },
        values=(0.0, 0.5, 1.0),
        pairs=pairs(grid((-50.0, 0.3), (0.0, 20.0), (0.0,)), [(0, 1e-6, 0)]),
        make=three_levels,
    ),
    Exact(
        ours.DiscretizedLogisticMixture,
        grid((-3.0, 0.3, 0.52, 1.5), (1e-2, 0.05, 0.5, 10.0)),
        {
            "mean": lambda m, s: of.mean(of.levels_of(m, s), [mpf(k) / 7 for k in range(8)]),
            "variance": lambda m, s: of.variance(of.levels_of(m, s), [mpf(k) / 7 for k in range(8)]),
            "entropy": lambda m, s: -of.mean(of.levels_of(m, s), of.levels_of(m, s)),
            "log_prob": lambda x, m, s: of.levels_of(m, s)[int(x * 7 + 0.5)],
            "kl": lambda m, s, n, t: of.kl(of.levels_of(m, s), of.levels_of(n, t)),
        },
        values=(0.0, 1 / 7, 3 / 7, 1.0),
        pairs=pairs(grid((-3.0, 0.3), (0.05, 10.0))),
        make=eight_levels,
    ),
    Exact(
        ours.LogitRelaxedBernoulli,
        grid((1e-3, 0.1, 1.0, 10.0), (-1e3, -30.0, -0.5, 0.0, 1e-3, 88.0)),
        {
            "mean": lambda t, logit: logit / t,
            "variance": lambda t, logit: (mp.pi / t) ** 2 / 3,
            "entropy": lambda t, logit: 2 - log(t),
            "log_prob": of.relaxed_log_prob,
            "cdf": lambda y, t, logit: of.sigmoid(t * y - logit),
            "icdf": lambda u, t, logit: (logit + log(u) - log1p(-u)) / t,
            "kl": of.relaxed_kl,
        },
        values=(-1e4, -0.5, 3.0, 200.0),
        pairs=pairs(grid((0.5,), (-1e3, -0.24, -1e-3, 0.0, 0.24, 0.26, 88.0)), [(0, 0), (0, 1e-2), (0, 1e-6)]),
    ),
    Exact(
        ours.LogRelaxedCategorical,
        grid((0.1, 1.0, 10.0), (-30.0, 0.2), (0.0, 9.0)),
        {"log_prob": of.concrete_log_prob},
        values=(-200.0, -0.5, 3.0),
        make=lambda t, p, q: ours.LogRelaxedCategorical(t, stacked(p, q, 0 * p), validate_args=False),
        event=lambda y: stacked(y, torch.full_like(y, -1.0), torch.full_like(y, 2.0)).log_softmax(-1),
    ),
    Exact(  # of two categories the closed form of the logit is known
        ours.LogRelaxedCategorical,
        grid((0.5,), (-30.0, 0.2, 9.0)),
        {"kl": of.relaxed_kl},
        pairs=pairs(grid((0.5,), (-30.0, -0.5, 0.2, 9.0)), [(0, 0), (0, 1e-2)]),
        make=lambda t, p: ours.LogRelaxedCategorical(0.5, stacked(p, 0 * p), validate_args=False),
    ),
    Exact(
        ours.Mixture,
        MIXED,
        {
            "mean": lambda w, m, n, s: of.sigmoid(w) * m + of.sigmoid(-w) * n,
            "variance": of.mixture_variance,
            "log_prob": of.mixture_log_prob,
        },
        values=(-3.0, 0.1, 999.0),
        make=normals,
    ),
    *(case for dim in (2, 3, 10, 100, 1000) for case in directions(dim)),
]
