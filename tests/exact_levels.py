"""The table of closed forms, continued: level sets that build no levels, and the low-rank normal."""

from itertools import pairwise

import exact as of
import mpmath as mp
import torch
from closed_forms import Exact
from exact import LOGITS, LOGS, first, grid, pairs, sigmoid, softplus, stacked
from mpmath import log, loggamma, mpf

from reparam import distributions as ours

COINS, LARGEST, BINS = 30, 8, 5
CORRELATED = grid((0.0, 0.7), (1e-3, 0.5, 30.0), (-2.0,), (1e-2, 1.0), (0.3, 1e3))


def coins(logit):
    """Log-probabilities of 0 to 30 ones."""
    numbers = range(COINS + 1)
    return [log(mp.binomial(COINS, x)) - x * softplus(-logit) - (COINS - x) * softplus(logit) for x in numbers]


def few_counts(log_rate):
    """Log-probabilities of 0 to 8."""
    return of.log_softmax(*[x * log_rate - loggamma(x + 1) for x in range(LARGEST + 1)])


def bins(loc, scale):
    """Log-probabilities of the five bins of a logistic."""
    edges = [-mp.inf, *[log(mpf(i) / (BINS - i)) for i in range(1, BINS)], mp.inf]
    ends = [(edge - loc) / scale for edge in edges]
    # of both tails the smaller one, so that no difference is of two numbers near 1
    masses = [sigmoid(b) - sigmoid(a) if a + b < 0 else sigmoid(-a) - sigmoid(-b) for a, b in pairwise(ends)]
    return [log(mass) for mass in masses]


def of_levels(kind, log_probs, rows, more, make):
    """All forms of a distribution over 0, 1, 2, ... from the log-probabilities of its numbers."""
    size = len(rows[0])

    def values(*params):
        return range(len(log_probs(*params)))

    return Exact(
        kind,
        rows,
        {
            "mean": lambda *p: of.mean(log_probs(*p), values(*p)),
            "variance": lambda *p: of.variance(log_probs(*p), values(*p)),
            "entropy": lambda *p: -of.mean(log_probs(*p), log_probs(*p)),
            "log_prob": lambda x, *p: log_probs(*p)[int(x + 0.5)],
            "kl": lambda *p: of.kl(log_probs(*p[:size]), log_probs(*p[size:])),
        },
        values=(0.0, 1.0, 3.0, float(len(log_probs(*map(mpf, rows[0]))) - 1)),
        pairs=more,
        make=make,
    )


def covariance(w, v, s, t):
    """Entries and determinant of the covariance of two normals with one common column (w, v)."""
    return w**2 + s**2, w * v, v**2 + t**2, w**2 * t**2 + v**2 * s**2 + s**2 * t**2


def square(x, y, w, v, s, t):
    a, b, c, det = covariance(w, v, s, t)
    return (c * x**2 - 2 * b * x * y + a * y**2) / det


def two_normals(m, w, v, s, t):
    return ours.LowRankNormal(
        stacked(m, torch.zeros_like(m)), stacked(w, v)[..., None], stacked(s, t), validate_args=False
    )


def kl_normals(m, w, v, s, t, n, *q):
    a, b, c, det = covariance(w, v, s, t)
    d, e, f, det_q = covariance(*q)
    trace = (f * a - 2 * e * b + d * c) / det_q
    return (trace + square(m - n, 0, *q) - 2 + log(det_q / det)) / 2


LEVELS_AND_LOW_RANK = [
    of_levels(
        ours.Binomial,
        coins,
        grid([logit for logit in LOGITS if abs(logit) < 300]),
        pairs(grid((-30.0, -0.5, 1e-5, 10.0))),
        lambda logit: ours.Binomial(COINS, logit, validate_args=False),
    ),
    of_levels(
        ours.TruncatedPoisson,
        few_counts,
        grid(LOGS),
        pairs(grid((-14.0, 0.3, 7.0))),
        lambda log_rate: ours.TruncatedPoisson(log_rate, LARGEST, validate_args=False),
    ),
    of_levels(
        ours.LogisticBins,
        bins,
        grid((-30.0, 0.0, 0.4, 5.0), (1e-1, 1.0, 20.0)),
        pairs(grid((-3.0, 0.4), (0.3, 20.0))),
        lambda loc, scale: ours.LogisticBins(loc, scale, num_levels=BINS, validate_args=False),
    ),
    Exact(
        ours.LowRankNormal,
        CORRELATED,
        {
            "mean": lambda m, *_: m,
            "variance": lambda _, w, v, s, t: w**2 + s**2,
            "entropy": lambda _, *q: 1 + log(2 * mp.pi) + log(covariance(*q)[3]) / 2,
            "log_prob": lambda x, m, *q: -log(2 * mp.pi) - (log(covariance(*q)[3]) + square(x - m, -x, *q)) / 2,
            "kl": kl_normals,
        },
        values=(0.0, 0.3, 5.0),
        pairs=pairs(grid((0.0, 0.7), (0.5,), (-2.0,), (1e-2, 1.0), (0.3,)), [(0, 1e-2, 0, 1e-5, 0)]),
        make=two_normals,
        event=lambda x: stacked(x, -x),
        part=first,
    ),
]
