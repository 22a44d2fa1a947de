"""KL(q || p) between two of torch's families: the negative entropy of q, and what p expects of q's moments.

Where p is concentrated the terms of its log-density are large and cancel; they are therefore taken around q's mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch import distributions as td

from reparam._tensors import at_least_float32
from reparam.distributions.continuous_bernoulli import ContinuousBernoulli
from reparam.distributions.conversion import ours
from reparam.distributions.dirichlet import Beta
from reparam.distributions.family_kl import Form
from reparam.distributions.gamma import Gamma
from reparam.distributions.laplace import Laplace
from reparam.distributions.moments import (
    HALF_LOG_2PI,
    Moments,
    jensen_of_uniform,
    of_beta,
    of_continuous_bernoulli,
    of_gamma,
    of_gumbel,
    of_interval,
    of_laplace,
    of_normal,
    of_pareto,
    of_uniform,
)
from reparam.distributions.ratios import expm1_gap, log_ratio, ratio_gap
from reparam.distributions.stirling import remainder


def _to_normal(q: Moments, p: td.Normal) -> Tensor:
    loc, scale = at_least_float32(p.loc), at_least_float32(p.scale)
    exists = q.stddev.isfinite()
    distance, stddev = torch.where(exists, q.beyond(loc), 0.0), torch.where(exists, q.stddev, 1.0)
    squares = (stddev / scale).square() + (distance / scale).square()
    return torch.where(exists, (scale.log() + HALF_LOG_2PI - q.entropy) + 0.5 * squares, torch.inf)


def _mean_gap(mean: Tensor, rate: Tensor, a: Tensor) -> Tensor:
    """`t - 1 - log t` of `t = mean rate / a`, also where t underflows."""
    t = mean * rate
    lost = t < torch.finfo(t.dtype).tiny
    far = a.log() - torch.where(lost, mean, 1.0).log() - torch.where(lost, rate, 1.0).log() - 1
    return torch.where(lost, far, ratio_gap(torch.where(lost, a, t), a))


def _to_gamma(q: Moments, p: Gamma) -> Tensor:
    """`-log p(x) = log x + remainder - log(a / 2 pi) / 2 + a (t - 1 - log t)`, with `t = rate x / a`."""
    assert q.jensen is not None
    a, rate = p._params()
    exists = q.mean.isfinite()
    mean, jensen = torch.where(exists, q.mean, 1.0), q.jensen()
    volume = mean.log() - jensen + remainder(a) - 0.5 * (a / (2 * math.pi)).log()
    return torch.where(exists, (volume - q.entropy) + a * (_mean_gap(mean, rate, a) + jensen), torch.inf)


def _to_gumbel(q: Moments, p: td.Gumbel) -> Tensor:
    """`-log p(x) = log scale + z + e^-z`, with `log E[e^-z]` around the mean where q is narrow beside p."""
    assert q.excess is not None
    assert q.log_laplace is not None
    loc, scale = at_least_float32(p.loc), at_least_float32(p.scale)
    z, excess, log_laplace = q.beyond(loc) / scale, q.excess(scale), q.log_laplace(loc, scale)
    near = excess < 1
    close = 1 + torch.where(near, excess, 0.0) + expm1_gap(torch.where(near, excess - z, 0.0))
    # e^u = 1 + u + (e^u - 1 - u), whose last term becomes infinite without NaN
    u = torch.where(near, 0.0, log_laplace)
    far = z + torch.where(u < -1, u.clamp_max(0.0).exp(), 1 + u + expm1_gap(u))
    return (scale.log() - q.entropy) + torch.where(near, close, far)


def _to_uniform(q: Moments, p: td.Uniform) -> Tensor:
    """Of a q on [0, 1]."""
    low, high = at_least_float32(p.low), at_least_float32(p.high)
    return torch.where((low <= 0) & (high >= 1), (high - low).log() - q.entropy, torch.inf)


def _to_continuous_bernoulli(q: Moments, p: ContinuousBernoulli) -> Tensor:
    if q.rest is None:
        raise NotImplementedError
    return -p.log_prob_of_mean(q.mean, q.rest) - q.entropy


def _to_exponential(q: Any, p: td.Exponential) -> Tensor:
    moments, rate = of_continuous_bernoulli(cast(ContinuousBernoulli, ours(q))), at_least_float32(p.rate)
    return rate * moments.mean - rate.log() - moments.entropy


def _normal_to_laplace(q: td.Normal, p: Laplace) -> Tensor:
    q_loc, q_scale, (loc, scale) = at_least_float32(q.loc), at_least_float32(q.scale), p._params()
    shift = q_loc - loc
    d = shift / q_scale
    distance = math.sqrt(2 / math.pi) * (q_scale / scale) * (-0.5 * d.square()).exp()
    distance = distance + (shift / scale) * torch.erf(d / math.sqrt(2))
    return distance - log_ratio(q_scale, scale) + (math.log(2) - 0.5 - HALF_LOG_2PI)


def _inside(q: td.Uniform, least: Tensor | float, most: float) -> tuple[Tensor, Tensor, Tensor]:
    """Whether q's interval lies within these ends, and the interval; where not, one that has all moments."""
    low, high = at_least_float32(q.low), at_least_float32(q.high)
    inside = (low >= least) & (high <= most)
    return inside, torch.where(inside, low, 0.25), torch.where(inside, high, 0.75)


def _uniform_to_gamma(q: td.Uniform, p: Gamma) -> Tensor:
    inside, low, high = _inside(q, 0.0, math.inf)
    return torch.where(inside, _to_gamma(of_interval(low, high), p), torch.inf)


def _uniform_to_continuous_bernoulli(q: td.Uniform, p: ContinuousBernoulli) -> Tensor:
    inside, low, high = _inside(q, 0.0, 1.0)
    return torch.where(inside, _to_continuous_bernoulli(of_interval(low, high), p), torch.inf)


def _uniform_to_pareto(q: td.Uniform, p: td.Pareto) -> Tensor:
    scale, alpha = at_least_float32(p.scale), at_least_float32(p.alpha)
    inside, low, high = _inside(q, scale, math.inf)
    scale = torch.where(inside, scale, 0.25)
    moments, jensen = of_interval(low, high), jensen_of_uniform(low, high)
    above = (moments.mean - scale) / scale
    log_mean = torch.where(above < 1, above.clamp_max(1.0).log1p(), log_ratio(moments.mean, scale))
    kl = alpha * (log_mean - jensen) + (moments.mean.log() - jensen) - alpha.log() - moments.entropy
    return torch.where(inside, kl, torch.inf)


def _uniform_to_beta(q: td.Uniform, p: Beta) -> Tensor:
    """As two gammas, of x and of 1 - x, less that of their sum."""
    a, b = p._params()
    inside, low, high = _inside(q, 0.0, 1.0)
    total, kl = a + b, -(high - low).log()
    for shape, start, end in ((a, low, high), (b, 1 - high, 1 - low)):
        mean, jensen = start + (end - start) / 2, jensen_of_uniform(start, end)
        kl = kl + (mean.log() - jensen) + remainder(shape) - 0.5 * (shape / (2 * math.pi)).log()
        kl = kl + shape * (ratio_gap(mean * total, shape) + jensen)
    kl = kl - remainder(total) + 0.5 * (total / (2 * math.pi)).log()
    return torch.where(inside, kl, torch.inf)


def _infinite(q: Any, p: Any) -> Tensor:
    """Where q draws values that p never does."""
    parameter = at_least_float32(getattr(q, next(iter(q.arg_constraints))))
    return torch.full(torch.broadcast_shapes(q.batch_shape, p.batch_shape), torch.inf).to(parameter)


def _from(moments: Callable[[Any], Moments], to: Callable[[Moments, Any], Tensor]) -> Form:
    return lambda q, p: to(moments(q), p)


_LINE = (td.Normal, Laplace, td.Gumbel)
_UNBOUNDED = (*_LINE, Gamma, td.Pareto)

FORMS: dict[tuple[type, type], Form] = {
    **{(q, p): _infinite for q in _LINE for p in (Gamma, td.Pareto)},
    **{(q, p): _infinite for q in _UNBOUNDED for p in (Beta, ContinuousBernoulli, td.Uniform)},
    **{(q, td.Pareto): _infinite for q in (Gamma, Beta, ContinuousBernoulli)},
    (Laplace, td.Normal): _from(of_laplace, _to_normal),
    (td.Gumbel, td.Normal): _from(of_gumbel, _to_normal),
    (Gamma, td.Normal): _from(of_gamma, _to_normal),
    (Beta, td.Normal): _from(of_beta, _to_normal),
    (ContinuousBernoulli, td.Normal): _from(of_continuous_bernoulli, _to_normal),
    (td.Pareto, td.Normal): _from(of_pareto, _to_normal),
    (td.Uniform, td.Normal): _from(of_uniform, _to_normal),
    (Beta, Gamma): _from(of_beta, _to_gamma),
    (td.Pareto, Gamma): _from(of_pareto, _to_gamma),
    (td.Uniform, Gamma): _uniform_to_gamma,
    (td.ContinuousBernoulli, td.Exponential): _to_exponential,
    (ContinuousBernoulli, td.Exponential): _to_exponential,
    (td.Normal, td.Gumbel): _from(of_normal, _to_gumbel),
    (Gamma, td.Gumbel): _from(of_gamma, _to_gumbel),
    (td.Uniform, td.Gumbel): _from(of_uniform, _to_gumbel),
    (td.Normal, Laplace): _normal_to_laplace,
    (Beta, td.Uniform): _from(of_beta, _to_uniform),
    (ContinuousBernoulli, td.Uniform): _from(of_continuous_bernoulli, _to_uniform),
    (Beta, ContinuousBernoulli): _from(of_beta, _to_continuous_bernoulli),
    (td.Uniform, ContinuousBernoulli): _uniform_to_continuous_bernoulli,
    (td.Uniform, Beta): _uniform_to_beta,
    (td.Uniform, td.Pareto): _uniform_to_pareto,
}
