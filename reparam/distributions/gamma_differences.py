"""Differences of digammas and of trigammas that keep their digits however small the shift between the two is.

Below 10 each step of their recurrence is a rational term. From 10 on Stirling's series is one in powers of 1 / x, and
differences of powers are formed from positive terms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reparam.distributions.stirling import FROM, series_of

_STEPS = 10  # that take any number to where the series holds


def digamma_difference(x: Tensor, shift: Tensor | float) -> Tensor:
    """`digamma(x + shift) - digamma(x)` for x > 0 and shift > 0."""
    shift = torch.as_tensor(shift, dtype=x.dtype, device=x.device)
    return torch.log1p(shift / x) + digamma_excess(x, shift)


def digamma_excess(x: Tensor, shift: Tensor) -> Tensor:
    """By how much `digamma(x) - log(x)` rises from x to x + shift."""
    near = x < FROM
    small, far = x.clamp_max(FROM), torch.where(near, x + _STEPS, x)
    steps = shift * _stairs(small, shift)[0].reciprocal().sum(-1)
    steps = steps - torch.log1p(_STEPS * shift / (small * (small + _STEPS + shift)))
    end = far + shift
    odd = shift / (far * end)  # far^-1 - end^-1
    even = square = odd * (far.reciprocal() + end.reciprocal())  # far^-n - end^-n for n = 2, and then 4, 6, ...
    power, series = end.reciprocal().square(), 0.5 * odd
    for n, coefficient in enumerate(series_of(x.dtype)):
        series = series + (2 * n + 1) * coefficient * even
        even = even / far.square() + power * square
        power = power / end.square()
    return torch.where(near, steps + series, series)


def trigamma_difference(x: Tensor, shift: Tensor) -> Tensor:
    """`trigamma(x) - trigamma(x + shift)` for x > 0 and shift > 0."""
    return shift / (x * (x + shift)) + trigamma_excess(x, shift)


def trigamma_excess(x: Tensor, shift: Tensor) -> Tensor:
    """By how much `trigamma(x) - 1 / x` falls from x to x + shift."""
    near = x < FROM
    small, far = x.clamp_max(FROM), torch.where(near, x + _STEPS, x)
    products, sums = _stairs(small, shift)
    steps = shift * (sums / products.square()).sum(-1)
    later = (small + _STEPS) * (small + _STEPS + shift)
    steps = steps - shift * (1 / (small * (small + shift)) - 1 / later)
    end = far + shift
    odd = shift / (far * end)  # far^-n - end^-n for n = 1, and then 3, 5, ...
    square = odd * (far.reciprocal() + end.reciprocal())
    power, series = end.reciprocal(), 0.5 * square
    for n, coefficient in enumerate(series_of(x.dtype)):
        odd = odd / far.square() + power * square
        power = power / end.square()
        series = series + (2 * n + 1) * (2 * n + 2) * coefficient * odd
    return torch.where(near, steps + series, series)


def _stairs(x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Products and sums of `x + k` and `x + k + shift` on a new last axis, for the steps k = 0, 1, ..."""
    low = x.unsqueeze(-1) + torch.arange(_STEPS, dtype=x.dtype, device=x.device)
    high = low + shift.unsqueeze(-1)
    return low * high, low + high
