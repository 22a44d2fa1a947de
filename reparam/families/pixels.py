"""Pixels of finitely many grey values."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import Shape, whole
from reparam._checks import shape as check_shape
from reparam._tensors import independent
from reparam.families.family import Family


@dataclass(frozen=True)
class QuantizedCategorical(Family):
    """Independent pixels with a free probability for each of their L levels `0, 1/(L - 1), ..., 1`.

    Data are x in [0, 1] as this library hands out bytes: k / 255. The parameters are the log-probabilities: those of
    level 0 for all pixels, then those of level 1, and so on, as the channels of a convolution come.

    Args:
        shape: of one draw, 784 or (3, 32, 32).
        num_levels: L, at least 2.
    """

    shape: Shape
    num_levels: int = field(default=256, kw_only=True)

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        num_levels = whole("num_levels", self.num_levels, least=2)
        self._fix(event_shape, num_levels * event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        logits = _last(params.unflatten(-1, (self.num_levels, *self.event_shape)), self.event_shape)
        pixels = distributions.Levels(logits, step=1 / (self.num_levels - 1), validate_args=False)
        return independent(pixels, len(self.event_shape))


@dataclass(frozen=True)
class DiscretizedLogistic(Family):
    """Independent pixels, each a mixture of logistics rounded to the levels `0, 1/(L - 1), ..., 1`.

    Data are x in [0, 1] as this library hands out bytes: k / 255. A component has
    `loc = (1 + raw) / 2`, so that raw -1 to 1 spans the grey values, and `scale = exp(raw) / 8`: at zero parameters the
    middle grey with a standard deviation of about 0.22. The parameters are all `loc`, all log-scales and, if there are
    several components, all log-weights, each `[num_components, *shape]` as the channels of a convolution come. At zero
    all components are the same; the random weights of a network tell them apart.

    Args:
        shape: of one draw, 784 or (3, 32, 32).
        num_levels: L, at least 2.
        num_components: M, at least 1.

    Reference:
        Salimans, Karpathy, Chen, Kingma, PixelCNN++, 2017, arXiv 1701.05517.
    """

    shape: Shape
    num_levels: int = field(default=256, kw_only=True)
    num_components: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        whole("num_levels", self.num_levels, least=2)
        num_components = whole("num_components", self.num_components)
        num_parts = 2 if num_components == 1 else 3
        self._fix(event_shape, num_parts * num_components * event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        parts = params.unflatten(-1, (-1, self.num_components, *self.event_shape))
        raw = _last(parts, self.event_shape).unbind(-len(self.event_shape) - 2)
        loc, scale = (1 + raw[0]) / 2, raw[1].exp() / 8
        logits = torch.zeros_like(loc) if self.num_components == 1 else raw[2]
        pixels = distributions.DiscretizedLogisticMixture(
            logits, loc, scale, num_levels=self.num_levels, validate_args=False
        )
        return independent(pixels, len(self.event_shape))


def _last(parts: Tensor, event_shape: torch.Size) -> Tensor:
    """The axis before the pixels as the last one."""
    return parts.movedim(-len(event_shape) - 1, -1)
