"""The log-normal distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Normal, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32
from reparam.distributions.elementwise import Elementwise, above_zero, exp_in_range
from reparam.distributions.ratios import normal_kl


class LogNormal(Elementwise):
    """A positive variable whose logarithm is normal, in at least float32.

    `log_prob(x) = log N(log x; loc, scale^2) - log x`  (nats); a value that is not positive scores `-inf`. A draw that
    the parameters' type cannot hold becomes its smallest or largest normal number (torch's becomes 0 or inf, whose
    density is NaN). The mean overflows where `loc + scale^2 / 2` does.

    Args:
        loc: mean of the logarithm, any shape.
        scale: standard deviation of the logarithm, above 0.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> LogNormal(torch.zeros(2), torch.ones(2), validate_args=False).log_prob(torch.tensor([1.0, 0.0]))
        tensor([-0.9189,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.positive
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(loc, scale, validate_args=validate_args)

    def _log(self) -> Normal:
        """The distribution of the logarithm."""
        loc, scale = self._params()
        return Normal(loc, scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        loc, scale = self._params()
        return (loc + scale.square() / 2).exp()

    @property
    def mode(self) -> Tensor:
        loc, scale = self._params()
        return (loc - scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        loc, scale = self._params()
        return scale.square().expm1() * (2 * loc + scale.square()).exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return above_zero(exp_in_range(self._log().rsample(sample_shape)), self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        loc, scale = self._params()
        value = at_least_float32(value)
        inside = value > 0
        log_value = torch.where(inside, value, 1.0).log()
        s = (log_value - loc) / scale
        log_prob = -0.5 * s.square() - scale.log() - log_value - 0.5 * math.log(2 * math.pi)
        return torch.where(inside, log_prob, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        log_value = at_least_float32(value).clamp_min(0.0).log()
        loc, scale = self._params()
        below: Tensor = torch.special.ndtr((log_value - loc) / scale)
        return below

    def icdf(self, value: Tensor) -> Tensor:
        loc, scale = self._params()
        quantile: Tensor = torch.special.ndtri(at_least_float32(value))
        return (loc + scale * quantile).exp()

    def entropy(self) -> Tensor:
        loc, scale = self._params()
        return loc + scale.log() + 0.5 * (1 + math.log(2 * math.pi))


@register_kl(LogNormal, LogNormal)
def _kl_log_normals(p: LogNormal, q: LogNormal) -> Tensor:
    return normal_kl(*p._params(), *q._params())
