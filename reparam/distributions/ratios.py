"""What logarithms and exponentials differ by from their first order, to all digits near the point where they agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NEAR = 0.25
_TERMS = 10  # of a series in squares below 0.0205, whose rest is below 1e-16


def log1p_gap(t: Tensor) -> Tensor:
    """`t - log(1 + t)` for t > -1, which is zero at 0 and positive elsewhere."""
    near = t.abs() < _NEAR
    small, large = torch.where(near, t, 0.0), torch.where(near, 1.0, t)
    # log(1 + t) = 2 artanh(x), whose first term leaves t^2 / (2 + t)
    x = small / (2 + small)
    square = x.square()
    series = torch.zeros_like(t)
    for n in range(_TERMS, 0, -1):
        series = (series + 1 / (2 * n + 1)) * square
    return torch.where(near, x * (small - 2 * series), large - large.clamp_max(1e30).log1p())


def expm1_gap(t: Tensor) -> Tensor:
    """`e^t - 1 - t`, which is zero at 0 and positive elsewhere; infinite, without a gradient, where it overflows."""
    near, most = t.abs() < _NEAR, math.log(torch.finfo(t.dtype).max)
    small, large = torch.where(near, t, 0.0), torch.where(near, 1.0, t).clamp_max(most)
    series = torch.ones_like(t)
    for n in range(_TERMS + 2, 2, -1):
        series = 1 + series * small / n
    gap = torch.where(near, 0.5 * small.square() * series, large.expm1() - large)
    return torch.where(t > most, torch.inf, gap)


def log_ratio(a: Tensor, b: Tensor) -> Tensor:
    """`log(a / b)` for positive numbers, also where the quotient leaves the range of their dtype."""
    info = torch.finfo(a.dtype)
    ratio = a.detach() / b.detach()
    lost = (ratio < info.tiny) | (ratio > info.max)
    return (a / torch.where(lost, 1.0, b)).log() - torch.where(lost, b, 1.0).log()


def ratio_gap(a: Tensor, b: Tensor) -> Tensor:
    """`a / b - 1 - log(a / b)` for positive numbers, which is zero where they are equal and positive elsewhere."""
    near = (a - b).abs() < _NEAR * b
    close_a, close_b = torch.where(near, a, 1.0), torch.where(near, b, 1.0)
    far_a, far_b = torch.where(near, 1.0, a), torch.where(near, 1.0, b)
    close = log1p_gap((close_a - close_b) / close_b)
    return torch.where(near, close, (far_a / far_b - 1) - log_ratio(far_a, far_b))


def normal_kl(q_loc: Tensor, q_scale: Tensor, p_loc: Tensor, p_scale: Tensor) -> Tensor:
    """KL in nats from a normal q to a normal p: `(r^2 - 1) / 2 - log r + d^2 / 2`.

    r is the ratio of the scales, d the distance in scales of p. `r^2` is never formed: it would underflow in float32
    from a ratio of 1e-19 on. A ratio that is itself beyond the range of the dtype gives infinity. As this KL is taken
    in every step of most trainings, it has no more operations than torch's.
    """
    ratio = q_scale / p_scale
    distance, more = (q_loc - p_loc) / p_scale, ratio - 1
    return torch.addcmul(more * (0.5 * more + 1) - ratio.log(), distance, distance, value=0.5)
