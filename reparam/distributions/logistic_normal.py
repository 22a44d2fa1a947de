"""The logistic-normal distribution on the simplex."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32
from reparam.distributions.dirichlet import sums_to_one
from reparam.distributions.elementwise import above_zero
from reparam.distributions.ratios import normal_kl
from reparam.distributions.support import simplex


class LogisticNormal(Distribution):
    """A point of the simplex whose log-ratios to its last coordinate are independent normals.

    `x = softmax([y, 0])` with `y ~ N(loc, scale^2)`, and `log_prob(x) = log N(y) - sum_i log x_i` with
    `y_i = log(x_i / x_K)`  (nats, with respect to the first K - 1 coordinates), in at least float32. A value with a
    coordinate that is not positive, or whose sum is not 1, scores `-inf`. The mean has no closed form.

    torch's class breaks a stick instead: in float32 its samples at a scale of 5 are scored thousands of nats off, and
    at 30 a seventh of them cannot be scored. Here coordinates keep their digits however small they are, and one below
    the smallest normal number becomes that number.

    Args:
        loc: `[*batch, K - 1]`, any real.
        scale: above 0, of a shape that broadcasts with `loc`.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Aitchison, Shen, Logistic-Normal Distributions: Some Properties and Uses, Biometrika, 1980.

    Example:
        >>> LogisticNormal(torch.zeros(2), torch.ones(2)).log_prob(torch.full((3,), 1 / 3))
        tensor(1.4580)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.independent(constraints.real, 1),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = simplex
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        shape = self.loc.shape
        super().__init__(shape[:-1], torch.Size([shape[-1] + 1]), validate_args=validate_args)

    def _log_ratio(self) -> Normal:
        return Normal(at_least_float32(self.loc), at_least_float32(self.scale), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogisticNormal:
        shape = (*batch_shape, self.loc.shape[-1])
        return LogisticNormal(self.loc.expand(shape), self.scale.expand(shape), validate_args=self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        y = F.pad(self._log_ratio().rsample(sample_shape), (0, 1))
        return above_zero(y.softmax(-1), self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        inside = (value > 0).all(-1) & sums_to_one(value)
        log_x = torch.where(inside.unsqueeze(-1), at_least_float32(value), 1.0).log()
        normal = self._log_ratio()
        s = (log_x[..., :-1] - log_x[..., -1:] - normal.loc) / normal.scale
        log_normal = (-0.5 * s.square() - normal.scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
        return torch.where(inside, log_normal - log_x.sum(-1), -torch.inf)


@register_kl(LogisticNormal, LogisticNormal)
def _kl_logistic_normals(p: LogisticNormal, q: LogisticNormal) -> Tensor:
    first, second = p._log_ratio(), q._log_ratio()
    return normal_kl(first.loc, first.scale, second.loc, second.scale).sum(-1)
