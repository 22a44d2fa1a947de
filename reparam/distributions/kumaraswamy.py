"""The Kumaraswamy distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from reparam._tensors import at_least_float32
from reparam.distributions.elementwise import Elementwise, exp_in_range, inside_unit, open_unit_interval
from reparam.distributions.gamma_differences import digamma_difference, trigamma_difference
from reparam.distributions.noise import uniform
from reparam.distributions.stirling import remainder

_NODES, _WEIGHTS = (
    ((part + shift) / 2).tolist() for part, shift in zip(np.polynomial.legendre.leggauss(32), (1, 0), strict=True)
)


def _log_one_minus_exp(y: Tensor) -> Tensor:
    """`log(1 - e^y)` for y < 0."""
    near = y > -math.log(2)
    return torch.where(
        near,
        (-torch.expm1(torch.where(near, y, -1.0))).log(),
        torch.log1p(-torch.where(near, -1.0, y).exp()),
    )


class Kumaraswamy(Elementwise):
    """A number in (0, 1), close in shape to a beta variable, with an exact and cheap reparameterisation.

    `F(x) = 1 - (1 - x^a)^b` and `log_prob(x) = log a + log b + (a - 1) log x + (b - 1) log(1 - x^a)`  (nats), in at
    least float32 and in log space: `log x = log(1 - e^(-E / b)) / a` with E ~ Exp(1). A value outside of the open
    interval scores `-inf`. KL has no closed form that is exact in general.

    A draw that would round to 0 or to 1 becomes the number next to it, as in `Beta`, with the same consequence for
    small concentrations.

    Args:
        concentration1: a, above 0, any shape.
        concentration0: b, above 0.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Kumaraswamy, A generalized probability density function for double-bounded random processes, 1980; as a latent:
        Nalisnick, Smyth, Stick-Breaking Variational Autoencoders, 2016, arXiv 1605.06197.

    Example:
        >>> Kumaraswamy(torch.ones(2), torch.ones(2), validate_args=False).log_prob(torch.tensor([0.5, 1.0]))
        tensor([0., -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = open_unit_interval
    concentration1: Tensor
    concentration0: Tensor

    def __init__(self, concentration1: Tensor, concentration0: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(concentration1, concentration0, validate_args=validate_args)

    def _log_moment(self, power: int) -> Tensor:
        """log of the mean of `x^power`: `log b + log B(1 + s, b)` with `s = power / a`."""
        a, b = self._params()
        s = power / a
        end = 1 + s
        size = -s * (b / end).log1p() - (b + 0.5) * (end / b).log1p() + 0.5 * (end.log() + math.log(2 * math.pi))
        return size + remainder(end) + remainder(b) - remainder(end + b)

    @property
    def mean(self) -> Tensor:
        return self._log_moment(1).exp()

    @property
    def variance(self) -> Tensor:
        # E[x^2] less E[x]^2, by the logarithm of their ratio
        return self._log_moment(2).exp() * -torch.expm1(-self._log_ratio_of_moments())

    def _log_ratio_of_moments(self) -> Tensor:
        """`log(E[x^2] / E[x]^2)`, however close to zero.

        `log E[x^t]` is a cumulant generating function, of log x, and its second derivative at `t = a w` a difference of
        trigammas. So it is `integral from 0 to 2 s of min(w, 2 s - w) (trigamma(1 + w) - trigamma(1 + w + b)) dw` with
        `s = 1 / a`, by quadrature on both halves in `log(1 + w)`. There is no subtraction in it.
        """
        a, b = self._params()
        s = a.reciprocal()
        middle, end = s.log1p(), (2 * s).log1p()
        total = torch.zeros_like(a)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            rising, falling = middle * node, middle + (end - middle) * node
            w, v = torch.expm1(rising), torch.expm1(falling)
            total = total + weight * middle * (1 + w) * w * trigamma_difference(1 + w, b)
            total = total + weight * (end - middle) * (1 + v) * (2 * s - v) * trigamma_difference(1 + v, b)
        return total

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = uniform(self.concentration1.expand(self._extended_shape(sample_shape)))
        return inside_unit(self._quantile(u), self.concentration1.dtype)

    def _quantile(self, u: Tensor) -> Tensor:
        a, b = self._params()
        return exp_in_range(_log_one_minus_exp(torch.log1p(-u) / b) / a)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self._params()
        value = at_least_float32(value)
        inside = self.support.check(value)
        log_value = torch.where(inside, value, 0.5).log()
        log_prob = a.log() + b.log() + (a - 1) * log_value + (b - 1) * _log_one_minus_exp(a * log_value)
        return torch.where(inside, log_prob, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        a, b = self._params()
        value = at_least_float32(value)
        inside = self.support.check(value)
        below = -torch.expm1(b * _log_one_minus_exp(a * torch.where(inside, value, 0.5).log()))
        return torch.where(inside, below, (value >= 1).to(below.dtype))

    def icdf(self, value: Tensor) -> Tensor:
        return self._quantile(at_least_float32(value))

    def entropy(self) -> Tensor:
        a, b = self._params()
        harmonic = digamma_difference(torch.ones_like(b), b)
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()
