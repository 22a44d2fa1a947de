"""KL(q || p) between two members of one continuous family of torch's, without cancellation or underflow.

Each is a sum of terms that are zero where both are equal and positive elsewhere, so that a small result is no
difference of large terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as td

from reparam._tensors import at_least_float32
from reparam.distributions.moments import EULER
from reparam.distributions.ratios import expm1_gap, log_ratio, normal_kl, ratio_gap
from reparam.distributions.stirling import shape_divergence

Form = Callable[[Any, Any], Tensor]


def _params(distribution: Any, *names: str) -> tuple[Tensor, ...]:
    return tuple(at_least_float32(getattr(distribution, name)) for name in names)


def _normals(q: td.Normal, p: td.Normal) -> Tensor:
    return normal_kl(*_params(q, "loc", "scale"), *_params(p, "loc", "scale"))


def _half_normals(q: td.HalfNormal, p: td.HalfNormal) -> Tensor:
    (q_scale,), (p_scale,) = _params(q, "scale"), _params(p, "scale")
    return normal_kl(torch.zeros_like(q_scale), q_scale, torch.zeros_like(p_scale), p_scale)


def _cauchys(q: td.Cauchy, p: td.Cauchy) -> Tensor:
    """`log(1 + ((s - t)^2 + d^2) / (4 s t))`, of scales s and t and a distance d."""
    (q_loc, q_scale), (p_loc, p_scale) = _params(q, "loc", "scale"), _params(p, "loc", "scale")
    same = (q_loc == p_loc) & (q_scale == p_scale)
    apart = torch.hypot(torch.where(same, 1.0, q_scale - p_scale), q_loc - p_loc)
    q_scale, p_scale = torch.where(same, 1.0, q_scale), torch.where(same, 1.0, p_scale)
    log_term = log_ratio(apart, q_scale) + log_ratio(apart, p_scale) - math.log(4)
    return torch.where(same, 0.0, -F.logsigmoid(-log_term))


def _exponentials(q: td.Exponential, p: td.Exponential) -> Tensor:
    (q_rate,), (p_rate,) = _params(q, "rate"), _params(p, "rate")
    return ratio_gap(p_rate, q_rate)


def _gumbels(q: td.Gumbel, p: td.Gumbel) -> Tensor:
    """`e^u - 1 - u`, plus `log G(r) + (r - 1) g`, with G the gamma function and g Euler's constant.

    r is `scale_q / scale_p` and u `log G(1 + r) - (loc_q - loc_p) / scale_p`. The second term is convex in r, with its
    minimum of zero at 1.
    """
    (q_loc, q_scale), (p_loc, p_scale) = _params(q, "loc", "scale"), _params(p, "loc", "scale")
    ratio = q_scale / p_scale
    u = torch.lgamma(1 + ratio) - (q_loc - p_loc) / p_scale
    log_gamma = torch.lgamma(1 + ratio) - log_ratio(q_scale, p_scale)
    return expm1_gap(u) + log_gamma + EULER * (ratio - 1)


def _paretos(q: td.Pareto, p: td.Pareto) -> Tensor:
    (q_scale, q_alpha), (p_scale, p_alpha) = _params(q, "scale", "alpha"), _params(p, "scale", "alpha")
    inside = q_scale >= p_scale
    upper = torch.where(inside, q_scale, p_scale)
    near = upper < 2 * p_scale
    more = (torch.where(near, upper, p_scale) - p_scale) / p_scale
    log = torch.where(near, more.log1p(), log_ratio(upper, p_scale))
    return torch.where(inside, p_alpha * log + ratio_gap(p_alpha, q_alpha), torch.inf)


def _uniforms(q: td.Uniform, p: td.Uniform) -> Tensor:
    (q_low, q_high), (p_low, p_high) = _params(q, "low", "high"), _params(p, "low", "high")
    inside = (p_low <= q_low) & (q_high <= p_high)
    width = q_high - q_low
    outside = torch.where(inside, (p_high - q_high) + (q_low - p_low), 0.0)
    near = outside < width
    log = torch.where(near, (torch.where(near, outside, 0.0) / width).log1p(), log_ratio(p_high - p_low, width))
    return torch.where(inside, log, torch.inf)


def _wisharts(q: td.Wishart, p: td.Wishart) -> Tensor:
    """By the triangular factor of one scale matrix in that of the other."""
    (q_df, q_tril), (p_df, p_tril) = _params(q, "df", "scale_tril"), _params(p, "df", "scale_tril")
    size = q_tril.shape[-1]
    factor = torch.linalg.solve_triangular(p_tril, q_tril, upper=False)
    below = factor.tril(-1).square().sum((-2, -1))
    of_scales = ratio_gap(factor.diagonal(dim1=-2, dim2=-1).square() * q_df.unsqueeze(-1), p_df.unsqueeze(-1)).sum(-1)
    steps = torch.arange(size, dtype=q_df.dtype, device=q_df.device)
    q_shape, p_shape = (q_df.unsqueeze(-1) - steps) / 2, (p_df.unsqueeze(-1) - steps) / 2
    of_shapes = (shape_divergence(q_shape, p_shape) + p_shape * ratio_gap(q_shape, p_shape)).sum(-1)
    kl: Tensor = (p_df * of_scales + q_df * below - size * p_df * ratio_gap(q_df, p_df)) / 2 + of_shapes
    return kl


FORMS: dict[tuple[type, type], Form] = {
    (td.Cauchy, td.Cauchy): _cauchys,
    (td.Exponential, td.Exponential): _exponentials,
    (td.Gumbel, td.Gumbel): _gumbels,
    (td.HalfNormal, td.HalfNormal): _half_normals,
    (td.Normal, td.Normal): _normals,
    (td.Pareto, td.Pareto): _paretos,
    (td.Uniform, td.Uniform): _uniforms,
    (td.Wishart, td.Wishart): _wisharts,
}
