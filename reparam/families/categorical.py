"""One-hot variables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from reparam import distributions
from reparam._checks import Shape, whole
from reparam._checks import shape as check_shape
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class Categorical(Family):
    """Independent one-hot variables: `Categorical(20, 10)` is 20 variables of 10 categories, a draw is `[20, 10]`.

    The parameters are the unnormalised log-probabilities.

    Args:
        shape: of the array of variables, 20 or (4, 5).
        num_categories: C, at least 2.
    """

    shape: Shape
    num_categories: int
    takes_half = True

    def __post_init__(self) -> None:
        num_categories = whole("num_categories", self.num_categories, least=2)
        event_shape = torch.Size([*check_shape("shape", self.shape), num_categories])
        self._fix(event_shape, event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        logits = shaped(params, self.event_shape)
        one_hot = distributions.OneHotCategorical(logits, validate_args=False)
        return Independent(one_hot, len(self.event_shape) - 1, validate_args=False)
