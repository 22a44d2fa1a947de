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
_FROM = 10.0  # from here on the series below has an error of 1e-15
# B_2n / (2n (2n - 1)), for powers 1 - 2n
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def remainder(a: Tensor, log_a: Tensor | None = None) -> Tensor:
    """`lgamma(a) - ((a - 1/2) log a - a + log(2 pi) / 2)`, which falls from infinity to zero.

    `log_a` is for where a itself may have been rounded to 0.
    """
    far = a > _FROM
    small, large = torch.where(far, 1.0, a), torch.where(far, a, _FROM)
    log_small = small.log() if log_a is None else torch.where(far, 0.0, log_a)
    exact = (small + 1).lgamma() - (small + 0.5) * log_small + small - _HALF_LOG_2PI
    square = large.reciprocal().square()
    series = torch.zeros_like(a)
    for coefficient in reversed(_SERIES):
        series = series * square + coefficient
    return torch.where(far, series / large, exact)


def remainder_slope(a: Tensor) -> Tensor:
    """The derivative of `remainder`: `digamma(a) - log a + 1 / (2 a)`."""
    far = a > _FROM
    small, large = torch.where(far, 1.0, a), torch.where(far, a, _FROM)
    exact = small.digamma() - small.log() + 0.5 / small
    square = large.reciprocal().square()
    series = torch.zeros_like(a)
    for power, coefficient in reversed(list(enumerate(_SERIES))):
        series = series * square - (2 * power + 1) * coefficient
    return torch.where(far, series * square, exact)


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
    bregman = remainder(b) - remainder(a) - (b - a) * remainder_slope(a)
    return 0.5 * excess(b / a) + bregman


def log_gamma_ratio(x: Tensor, shift: float) -> Tensor:
    """`log(Gamma(x + shift) / Gamma(x))` for x > 0 and shift > 0."""
    small, large = x.clamp_max(_FROM), x.clamp_min(_FROM)
    near = torch.lgamma(small + shift) - torch.lgamma(small)
    power = (large - 0.5) * torch.log1p(shift / large) - shift + shift * (large + shift).log()
    far = power + remainder(large + shift) - remainder(large)
    return torch.where(x < _FROM, near, far)


def digamma_difference(x: Tensor, shift: float) -> Tensor:
    """`digamma(x + shift) - digamma(x)`, the derivative of `log_gamma_ratio`."""
    small, large = x.clamp_max(_FROM), x.clamp_min(_FROM)
    near = torch.digamma(small + shift) - torch.digamma(small)
    correction = remainder_slope(large + shift) - remainder_slope(large)
    far = torch.log1p(shift / large) + correction + 0.5 * shift / (large * (large + shift))
    return torch.where(x < _FROM, near, far)
