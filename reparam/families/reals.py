"""Real numbers with heavier tails than a normal one's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import number
from reparam.families.family import PerElement


@dataclass(frozen=True)
class Laplace(PerElement):
    """Independent double exponential numbers: all `loc`, then raw scales, `scale = exp(raw / 2)`.

    Args:
        shape: of one draw, 20 or (1, 28, 28).

    Example:
        >>> Laplace(20)(torch.zeros(128, 40)).log_prob(torch.zeros(128, 20)).shape
        torch.Size([128])
    """

    def _element(self, *raw: Tensor) -> Distribution:
        loc, raw_scale = raw
        return distributions.Laplace(loc, (raw_scale / 2).exp(), validate_args=False)


@dataclass(frozen=True)
class Logistic(PerElement):
    """Independent logistic numbers: all `loc`, then raw scales, `scale = exp(raw / 2)`.

    Args:
        shape: of one draw, 20 or (1, 28, 28).
    """

    def _element(self, *raw: Tensor) -> Distribution:
        loc, raw_scale = raw
        return distributions.Logistic(loc, (raw_scale / 2).exp(), validate_args=False)


@dataclass(frozen=True)
class StudentT(PerElement):
    """Independent numbers of Student's t distribution: all `loc`, then raw scales, `scale = exp(raw / 2)`.

    Args:
        shape: of one draw, 20 or (1, 28, 28).
        df: degrees of freedom, the same for all, above 2 so that the variance `scale^2 df / (df - 2)` is finite.
    """

    df: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        remedy = "4.0 has heavy tails, 30.0 is almost normal."
        if number("df", self.df, remedy=remedy) <= 2:
            raise ValueError(f"df is {self.df}; it must be above 2, or the variance is infinite. {remedy}")

    def _element(self, *raw: Tensor) -> Distribution:
        loc, raw_scale = raw
        df = torch.full((), self.df, dtype=loc.dtype, device=loc.device)
        return distributions.StudentT(df, loc, (raw_scale / 2).exp(), validate_args=False)
