"""Gamma functions without cancellation: what is left of `lgamma` when Stirling's formula is taken off.

At a concentration of 1e6 `lgamma` is 1e7, and two of them that nearly cancel leave no digit in float32. The densities,
divergences and entropies of Gamma, Beta and Dirichlet, of counts and of directions are therefore written in terms that
are as small as their result.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
FROM = 10.0  # from here on the series below has an error below the resolution
# B_2n / (2n (2n - 1)), for powers 1 - 2n
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def series_of(dtype: torch.dtype) -> list[float]:
    """As many coefficients of Stirling's series as the dtype resolves."""
    return list(_SERIES if dtype == torch.float64 else _SERIES[:3])


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """The polynomial in `x` with these coefficients, the constant one first."""
    total = coefficients[-1] * x + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        total = total * x + coefficient
    return total


def remainder(a: Tensor, log_a: Tensor | None = None) -> Tensor:
    """`lgamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2)`, which falls from infinity to zero.

    `log_a` is for where a itself may have been rounded to 0.
    """
    far = a > FROM
    small, large = a.clamp_max(FROM), a.clamp_min(FROM)
    log_small = small.log() if log_a is None else torch.where(far, 0.0, log_a)
    exact = (small + 1).lgamma() - (small + 0.5) * log_small + small - _HALF_LOG_2PI
    series = _polynomial(large.reciprocal().square(), series_of(a.dtype)) / large
    return torch.where(far, series, exact)


def remainder_slope(a: Tensor) -> Tensor:
    """The derivative of `remainder`: `digamma(a) - log a + 1 / (2 a)`."""
    far = a > FROM
    small, large = a.clamp_max(FROM), a.clamp_min(FROM)
    exact = small.digamma() - small.log() + 0.5 / small
    square = large.reciprocal().square()
    series = _polynomial(square, [-(2 * n + 1) * coefficient for n, coefficient in enumerate(series_of(a.dtype))])
    return torch.where(far, series * square, exact)


def remainder_curvature(a: Tensor) -> Tensor:
    """The second derivative of `remainder`: `trigamma(a) - 1 / a - 1 / (2 a^2)`."""
    far = a > FROM
    small, large = a.clamp_max(FROM), a.clamp_min(FROM)
    inverse = small.reciprocal()
    exact = torch.polygamma(1, small) - inverse - 0.5 * inverse.square()
    square = large.reciprocal().square()
    terms = [(2 * n + 1) * (2 * n + 2) * coefficient for n, coefficient in enumerate(series_of(a.dtype))]
    return torch.where(far, _polynomial(square, terms) * square / large, exact)


def excess(t: Tensor) -> Tensor:
    """`t - 1 - log t`, which is zero at 1 and positive elsewhere. Next to 1 the difference is exact."""
    return (t - 1) - t.log()


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """Logarithm of the beta function."""
    total = a + b
    power = -a * (b / a).log1p() - b * (a / b).log1p() - 0.5 * (a.log() + b.log() - total.log())
    return power + _HALF_LOG_2PI + remainder(a) + remainder(b) - remainder(total)


def shape_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL in nats between two gamma distributions of equal mean, with concentrations `a` and `b`."""
    a, b = torch.broadcast_tensors(a, b)
    at_a, at_b = remainder(torch.stack([a, b]))
    divergence: Tensor = 0.5 * excess(b / a) + (at_b - at_a - (b - a) * remainder_slope(a))
    return divergence


def log_gamma_ratio(x: Tensor, shift: float) -> Tensor:
    """`log(Gamma(x + shift) / Gamma(x))` for x > 0 and shift > 0."""
    small, large = x.clamp_max(FROM), x.clamp_min(FROM)
    near = torch.lgamma(small + shift) - torch.lgamma(small)
    power = (large - 0.5) * torch.log1p(shift / large) - shift + shift * (large + shift).log()
    far = power + remainder(large + shift) - remainder(large)
    return torch.where(x < FROM, near, far)
