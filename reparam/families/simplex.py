"""Points of a simplex: shares that sum to one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import Shape, whole
from reparam._checks import shape as check_shape
from reparam._tensors import independent
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class Dirichlet(Family):
    """Independent points of the simplex: `Dirichlet(20, 10)` is 20 of 10 shares, a draw is `[20, 10]`.

    The parameters are log-concentrations. The standard member is uniform on the simplex.

    Args:
        shape: of the array of points, 20 or (4, 5); () for a single point.
        num_categories: K, at least 2.

    Example:
        >>> Dirichlet((), 3)(torch.zeros(3)).mean
        tensor([0.3333, 0.3333, 0.3333])
    """

    shape: Shape
    num_categories: int

    def __post_init__(self) -> None:
        event_shape = _simplex_shape(self.shape, self.num_categories)
        self._fix(event_shape, event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        concentration = shaped(params, self.event_shape).exp()
        points = distributions.Dirichlet(concentration, validate_args=False)
        return independent(points, len(self.event_shape) - 1)


@dataclass(frozen=True)
class LogisticNormal(Family):
    """Independent points of the simplex whose log-ratios to the last share are normal; a draw is `[*shape, K]`.

    The parameters are all `loc` of the K - 1 log-ratios, then all their log-variances.

    Args:
        shape: of the array of points, 20 or (4, 5); () for a single point.
        num_categories: K, at least 2.
    """

    shape: Shape
    num_categories: int

    def __post_init__(self) -> None:
        event_shape = _simplex_shape(self.shape, self.num_categories)
        self._fix(event_shape, 2 * self._ratios(event_shape).numel())

    @staticmethod
    def _ratios(event_shape: torch.Size) -> torch.Size:
        return torch.Size([*event_shape[:-1], event_shape[-1] - 1])

    def _distribution(self, params: Tensor) -> Distribution:
        loc, log_variance = (shaped(part, self._ratios(self.event_shape)) for part in params.chunk(2, -1))
        points = distributions.LogisticNormal(loc, (log_variance / 2).exp(), validate_args=False)
        return independent(points, len(self.event_shape) - 1)


def _simplex_shape(shape: Shape, num_categories: int) -> torch.Size:
    points = () if shape == () else check_shape("shape", shape)
    return torch.Size([*points, whole("num_categories", num_categories, least=2)])
