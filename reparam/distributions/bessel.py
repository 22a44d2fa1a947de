"""Modified Bessel functions of the first kind as the von Mises distribution needs them: without cancellation."""

from __future__ import annotations

import torch
from torch import Tensor

# log(I0(x) exp(-x) sqrt(2 pi x)) = sum over n of c_n / x^n, from n = 1: the logarithm of Hankel's expansion.
# From x = 30 on these twelve give both functions below to 4e-14.
_LARGE = 30.0
_COEFFICIENTS = (
    *(1 / 8, 1 / 16, 25 / 384, 13 / 128, 1073 / 5120, 103 / 192, 375733 / 229376, 23797 / 4096),
    *(55384775 / 2359296, 2180461 / 20480, 24713030909 / 46137344, 2960.739786783854),
)
_LOG_2_PI = 1.8378770664093453


def log_i0e(x: Tensor) -> Tensor:
    """`log(I0(x) exp(-x))` for x >= 0, with the right derivative at 0, which is -1 (that of torch's `i0e` is 0)."""
    # I0 itself is even and smooth at 0, and the expansion keeps the digits of the derivative -1 / (2 x) far out.
    near = (torch.special.i0(x.clamp_max(1.0))).log() - x.clamp_max(1.0)
    middle = torch.special.i0e(x.clamp(1.0, _LARGE)).log()
    large = x.clamp_min(_LARGE)
    far = -(large.log() + _LOG_2_PI) / 2 + _series([*_COEFFICIENTS], 1 / large) / large
    return torch.where(x < 1, near, torch.where(x < _LARGE, middle, far))


def one_minus_bessel_ratio(x: Tensor) -> Tensor:
    """`1 - I1(x) / I0(x)` for x >= 0, minus the derivative of `log_i0e`; `1 / (2 x)` far out, to all digits."""
    small, large = x.clamp_max(_LARGE), x.clamp_min(_LARGE)
    near = 1 - torch.special.i1e(small) / torch.special.i0e(small)
    derivative = _series([n * c for n, c in enumerate(_COEFFICIENTS, start=1)], 1 / large)
    return torch.where(x < _LARGE, near, (0.5 + derivative / large) / large)


def _series(coefficients: list[float], x: Tensor) -> Tensor:
    """The polynomial in `x` with these coefficients, the constant one first."""
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total
