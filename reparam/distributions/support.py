"""Supports that torch lacks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import SoftmaxTransform, StickBreakingTransform

from reparam._tensors import HALF, at_least_float32, within_range


class Simplex(constraints.Constraint):
    """Vectors of shares that sum to one, as closely as their dtype can.

    torch's `constraints.simplex` allows 1e-6 in every dtype, and so refuses draws in float16 and bfloat16, which it
    adds up in that dtype, too.
    """

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = torch.finfo(value.dtype).eps if value.dtype in HALF else 1e-6
        return (value >= 0).all(-1) & ((at_least_float32(value).sum(-1) - 1).abs() < tolerance)

    def __repr__(self) -> str:
        return "shares that sum to one"


simplex = Simplex()
transform_to.register(simplex, lambda _: SoftmaxTransform())
biject_to.register(simplex, lambda _: StickBreakingTransform())


class LevelSet(constraints.Constraint):
    """The numbers `0, step, 2 step, ..., (num_levels - 1) step`, as closely as the dtype of a value can hold them.

    Args:
        num_levels: L.
        step: between neighbours.
    """

    is_discrete = True

    def __init__(self, num_levels: int, step: float) -> None:
        self.num_levels = num_levels
        self.step = step
        super().__init__()

    def __repr__(self) -> str:
        return f"{self.num_levels} levels from 0 to {(self.num_levels - 1) * self.step:g} in steps of {self.step:.4g}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LevelSet) and (other.num_levels, other.step) == (self.num_levels, self.step)

    def __hash__(self) -> int:
        return hash((self.num_levels, self.step))

    def numbers(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """The levels of these indices. Divided, so that `step=1/255` gives a byte's value to the last bit."""
        number = index.to(torch.promote_types(dtype, torch.float32)) / (1 / self.step)
        return within_range(number, dtype)

    def index(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Which level each value is (0 for what is none), and whether it is one."""
        # a level has been rounded to the dtype of the value, or before that to float32
        dtype = value.dtype if value.is_floating_point() else torch.float32
        resolution = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        position = at_least_float32(value) / self.step
        nearest = position.round()
        inside = (position - nearest).abs() <= 2 * resolution * nearest
        inside &= nearest < self.num_levels  # a negative one has no tolerance
        return torch.where(inside, nearest, 0.0).long(), inside

    def check(self, value: Tensor) -> Tensor:
        return self.index(value)[1]
