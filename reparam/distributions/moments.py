"""Entropies and moments of torch's families, and of this library's in their place, for divergences between two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from reparam._tensors import at_least_float32
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.dirichlet import Beta
from reparam.distributions.gamma import Gamma
from reparam.distributions.ratios import log1p_gap, log_ratio
from reparam.distributions.stirling import remainder_slope

EULER = 0.57721566490153286
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Moments:
    """What is known of q.

    Attributes:
        entropy: in nats.
        mean, stddev: infinite where q has none.
        rest: 1 - mean, of a q on [0, 1].
        beyond_of: of a number c: E[x] - c, where the mean has not all digits of that.
        jensen: `log E[x] - E[log x]` for positive x, at least 0.
        excess: of a scale s above 0: `log E[exp(-(x - mean) / s)]`, at least 0.
        log_laplace: of a number c and a scale s: `log E[exp(-(x - c) / s)]`.
    """

    entropy: Tensor
    mean: Tensor
    stddev: Tensor
    rest: Tensor | None = None
    beyond_of: Callable[[Tensor], Tensor] | None = None
    jensen: Callable[[], Tensor] | None = None
    excess: Callable[[Tensor], Tensor] | None = None
    log_laplace: Callable[[Tensor, Tensor], Tensor] | None = None

    def beyond(self, c: Tensor) -> Tensor:
        return self.mean - c if self.beyond_of is None else self.beyond_of(c)


def of_normal(q: td.Normal) -> Moments:
    loc, scale = at_least_float32(q.loc), at_least_float32(q.scale)

    def excess(s: Tensor) -> Tensor:
        return 0.5 * (scale / s).square()

    def log_laplace(c: Tensor, s: Tensor) -> Tensor:
        return excess(s) - (loc - c) / s

    entropy = scale.log() + (0.5 + HALF_LOG_2PI)
    return Moments(entropy, loc, scale, excess=excess, log_laplace=log_laplace)


def of_laplace(q: Any) -> Moments:
    loc, scale = at_least_float32(q.loc), at_least_float32(q.scale)
    return Moments(scale.log() + (1 + math.log(2)), loc, math.sqrt(2) * scale)


def of_gumbel(q: td.Gumbel) -> Moments:
    loc, scale = at_least_float32(q.loc), at_least_float32(q.scale)

    def beyond(c: Tensor) -> Tensor:
        return (loc - c) + EULER * scale

    return Moments(scale.log() + (1 + EULER), loc + EULER * scale, math.pi / math.sqrt(6) * scale, beyond_of=beyond)


def of_gamma(q: Gamma) -> Moments:
    a, rate = q._params()

    def excess(s: Tensor) -> Tensor:
        return a * log1p_gap(1 / rate / s)

    def log_laplace(c: Tensor, s: Tensor) -> Tensor:
        return c / s - a * torch.log1p(1 / rate / s)

    def jensen() -> Tensor:
        return 0.5 / a - remainder_slope(a)

    return Moments(q.entropy(), a / rate, a.sqrt() / rate, jensen=jensen, excess=excess, log_laplace=log_laplace)


def of_beta(q: Beta) -> Moments:
    a, b = q._params()

    def jensen() -> Tensor:
        return 0.5 / a - remainder_slope(a) - 0.5 / (a + b) + remainder_slope(a + b)

    return Moments(q.entropy(), a / (a + b), q.variance.sqrt(), rest=b / (a + b), jensen=jensen)


def of_continuous_bernoulli(q: ContinuousBernoulli) -> Moments:
    return Moments(q.entropy(), q.mean, q.variance.sqrt())


def of_pareto(q: td.Pareto) -> Moments:
    scale, alpha = at_least_float32(q.scale), at_least_float32(q.alpha)
    has_mean, has_variance = alpha > 1, alpha > 2
    over_one, over_two = torch.where(has_mean, alpha, 2.0), torch.where(has_variance, alpha, 3.0)
    mean = torch.where(has_mean, scale * (over_one / (over_one - 1)), torch.inf)
    stddev = torch.where(has_variance, scale * (over_two / (over_two - 2)).sqrt() / (over_two - 1), torch.inf)

    def jensen() -> Tensor:
        return log1p_gap(-1 / over_one)

    return Moments(log_ratio(scale, alpha) + 1 + 1 / alpha, mean, stddev, jensen=jensen)


def of_uniform(q: td.Uniform) -> Moments:
    low, high = at_least_float32(q.low), at_least_float32(q.high)
    return of_interval(low, high)


def of_interval(low: Tensor, high: Tensor) -> Moments:
    width, mean = high - low, low + (high - low) / 2

    def excess(s: Tensor) -> Tensor:
        return _log_sinhc(width / (2 * s))

    def log_laplace(c: Tensor, s: Tensor) -> Tensor:
        in_scales = width / s
        return (-torch.expm1(-in_scales)).log() - in_scales.log() - (low - c) / s

    def jensen() -> Tensor:
        return jensen_of_uniform(low, high)

    def beyond(c: Tensor) -> Tensor:
        return ((low - c) + (high - c)) / 2

    rest = ((1 - low) + (1 - high)) / 2
    return Moments(width.log(), mean, width / math.sqrt(12), rest, beyond, jensen, excess, log_laplace)


def jensen_of_uniform(low: Tensor, high: Tensor) -> Tensor:
    """`log E[x] - E[log x]` on an interval above 0."""
    half = (high - low) / (high + low)  # the half-width in units of the mean
    near = half < 0.25
    small, large = torch.where(near, half, 0.0), torch.where(near, 0.5, half)
    square = small.square()
    series = torch.zeros_like(half)
    for n in range(12, 0, -1):
        series = (series + 1 / (2 * n * (2 * n + 1))) * square
    at_end = large == 1
    inner = torch.where(at_end, 0.5, large)
    lower = torch.where(at_end, 0.0, (1 - large) * torch.log1p(-inner))
    far = 1 - ((1 + large) * torch.log1p(large) - lower) / (2 * large)
    return torch.where(near, series, far)


def _log_sinhc(t: Tensor) -> Tensor:
    """`log(sinh(t) / t)` for t >= 0."""
    near = t < 0.5
    small, large = torch.where(near, t, 0.0).square(), torch.where(near, 1.0, t)
    close = small / 6 * (1 + small / 20 * (1 + small / 42 * (1 + small / 72 * (1 + small / 110 * (1 + small / 156)))))
    far = large + torch.log1p(-(-2 * large).exp()) - (2 * large).log()
    return torch.where(near, close.log1p(), far)
