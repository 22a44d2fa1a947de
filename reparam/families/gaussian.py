"""Normals."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from reparam._checks import Shape
from reparam._checks import shape as check_shape
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class Gaussian(Family):
    """Independent normals: the parameters are all `loc`, then all log-variances, so `scale = exp(raw / 2)`.

    Args:
        shape: of one draw, 20 or (1, 28, 28).

    Example:
        >>> Gaussian(20)(torch.zeros(128, 40)).log_prob(torch.zeros(128, 20)).shape
        torch.Size([128])
    """

    shape: Shape

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, 2 * event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        loc, log_variance = (shaped(part, self.event_shape) for part in params.chunk(2, -1))
        normal = Normal(loc, (log_variance / 2).exp(), validate_args=False)
        return Independent(normal, len(self.event_shape), validate_args=False)
