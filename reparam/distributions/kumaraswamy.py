"""The Kumaraswamy distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from reparam._tensors import at_least_float32
from reparam.distributions.elementwise import Elementwise, exp_in_range, inside_unit, open_unit_interval
from reparam.distributions.noise import uniform
from reparam.distributions.stirling import log_beta


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
        """log of the mean of `x^power`: `log b + log B(1 + power / a, b)`."""
        a, b = self._params()
        return b.log() + log_beta(1 + power / a, b)

    @property
    def mean(self) -> Tensor:
        return self._log_moment(1).exp()

    @property
    def variance(self) -> Tensor:
        log_mean = self._log_moment(1)
        return (2 * log_mean).exp() * torch.expm1((self._log_moment(2) - 2 * log_mean).clamp_min(0.0))

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
        harmonic = (b + 1).digamma() - torch.digamma(torch.ones_like(b))
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()
