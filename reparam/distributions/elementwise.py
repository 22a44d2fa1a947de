"""What distributions of single numbers have in common."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32, least_positive


class Elementwise(Distribution):
    """A distribution of a number for each element of its parameters, which are broadcast to one shape.

    The parameters are attributes under the names in `arg_constraints`, which are in the order of the constructor.
    """

    has_rsample = True

    def __init__(self, *params: Tensor, validate_args: bool | None = None) -> None:
        same_shape = torch.broadcast_tensors(*params)
        for name, value in zip(self.arg_constraints, same_shape, strict=True):
            setattr(self, name, value)
        super().__init__(same_shape[0].shape, validate_args=validate_args)

    def _params(self) -> list[Tensor]:
        """The parameters in at least float32."""
        return [at_least_float32(getattr(self, name)) for name in self.arg_constraints]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        make: Any = type(self)
        params = (getattr(self, name).expand(batch_shape) for name in self.arg_constraints)
        return make(*params, validate_args=self._validate_args)


class OpenUnitInterval(constraints.Constraint):
    """The interval (0, 1) without its ends, where some densities are infinite."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)

    def __repr__(self) -> str:
        return "the open interval (0, 1)"


open_unit_interval = OpenUnitInterval()


def above_zero(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Positive draws in `dtype`, none rounded to 0 or to infinity: `least_positive` stands for less."""
    return y.clamp(least_positive(dtype), torch.finfo(dtype).max).to(dtype)


def inside_unit(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Draws from (0, 1) in `dtype`, none of them rounded to 0 or to 1."""
    return y.clamp(least_positive(dtype), 1 - torch.finfo(dtype).eps / 2).to(dtype)


def exp_in_range(log_y: Tensor) -> Tensor:
    """`exp`, cut off just before it leaves the normal numbers; there, and no further, its gradient is zero."""
    info = torch.finfo(log_y.dtype)
    return log_y.clamp(math.log(info.tiny) + 1e-3, math.log(info.max) - 1e-3).exp()
