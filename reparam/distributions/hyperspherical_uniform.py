"""The uniform distribution on the unit sphere."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._checks import whole
from reparam._tensors import at_least_float32


class _UnitVector(constraints.Constraint):
    """Vectors of length one. The tolerance of 1% is that of bfloat16, whose rounding moves a length by up to 0.4%."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(at_least_float32(value), dim=-1)
        return (length - 1).abs() < 0.01


unit_vector = _UnitVector()


class HypersphericalUniform(Distribution):
    """A direction in R^d without preference: uniform on the unit sphere S^(d-1).

    `log_prob(x) = log Gamma(d/2) - log 2 - (d/2) log pi`, in nats with respect to the sphere's area, in at least
    float32. A vector that is not of length one has density zero.

    Args:
        dim: d, at least 2.
        batch_shape: of independent directions.
        dtype, device: of the draws; torch's defaults where left out.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: `dim` below 2.

    Example:
        >>> circle = HypersphericalUniform(2, validate_args=False)
        >>> circle.log_prob(torch.tensor([[0.0, 1.0], [0.0, 2.0]]))
        tensor([-1.8379,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = unit_vector
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: Any = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.dim = whole("dim", dim, least=2)
        self._like = torch.empty(0, dtype=dtype, device=device)
        super().__init__(torch.Size(batch_shape), torch.Size([self.dim]), validate_args=validate_args)

    def __repr__(self) -> str:
        return f"HypersphericalUniform({self.dim}, {tuple(self.batch_shape)})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> HypersphericalUniform:
        like = self._like
        return HypersphericalUniform(
            self.dim, batch_shape, dtype=like.dtype, device=like.device, validate_args=self._validate_args
        )

    @property
    def mean(self) -> Tensor:
        return self._like.new_zeros(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        return self._like.new_full(self._extended_shape(), 1 / self.dim)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        like = at_least_float32(self._like)
        normal = torch.randn(self._extended_shape(sample_shape), dtype=like.dtype, device=like.device)
        return F.normalize(normal, dim=-1).to(self._like.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(unit_vector.check(value), -self.entropy(), -torch.inf)

    def entropy(self) -> Tensor:
        # the logarithm of the sphere's area
        half = self.dim / 2
        log_area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)
        return at_least_float32(self._like).new_full(self.batch_shape, log_area)


@register_kl(HypersphericalUniform, HypersphericalUniform)
def _kl_uniform_uniform(p: HypersphericalUniform, q: HypersphericalUniform) -> Tensor:
    check_equal_dims(p.dim, q.dim)
    return torch.zeros_like(p.entropy() + q.entropy())


def check_equal_dims(p: int, q: int) -> None:
    """Refuses two directions in spaces of different dimension."""
    if p != q:
        raise ValueError(f"KL between directions in R^{p} and R^{q}; both must be in the same space.")
