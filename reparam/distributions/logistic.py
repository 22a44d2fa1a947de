"""The logistic distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from reparam._tensors import at_least_float32, within_range
from reparam.distributions import noise
from reparam.distributions.elementwise import Elementwise


class Logistic(Elementwise):
    """A logistic variable: like a normal one with heavier tails, and with a closed cumulative distribution.

    `log_prob(x) = -|d| - 2 softplus(-|d|) - log scale` with `d = (x - loc) / scale`  (nats), in at least float32. KL
    has no closed form between different scales.

    Args:
        loc: the mean, any shape.
        scale: above 0; the standard deviation is `pi / sqrt(3)` times as large.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> import torch
        >>> Logistic(torch.zeros(2), torch.ones(2)).log_prob(torch.tensor([0.0, 200.0]))
        tensor([  -1.3863, -200.0000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(loc, scale, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (math.pi * self.scale).square() / 3

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        loc, scale = self._params()
        s = noise.logistic(loc.expand(self._extended_shape(sample_shape)))
        return within_range(loc + scale * s, self.loc.dtype)

    def _standardised(self, value: Tensor) -> Tensor:
        loc, scale = self._params()
        return (at_least_float32(value) - loc) / scale

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = self._standardised(value).abs()
        return -distance - 2 * F.softplus(-distance) - at_least_float32(self.scale).log()

    def cdf(self, value: Tensor) -> Tensor:
        return self._standardised(value).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        loc, scale = self._params()
        return loc + scale * at_least_float32(value).logit()

    def entropy(self) -> Tensor:
        return 2 + at_least_float32(self.scale).log()
