"""Positive numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam.families.family import PerElement


@dataclass(frozen=True)
class Gamma(PerElement):
    """Independent gamma numbers: all log-concentrations, then all log-rates. The standard member is exponential.

    As an observation its values are above 0.

    Args:
        shape: of one draw, 20 or (1, 28, 28).

    Example:
        >>> import torch
        >>> Gamma(20)(torch.zeros(40)).mean.unique()
        tensor([1.])
    """

    def _element(self, *raw: Tensor) -> Distribution:
        log_concentration, log_rate = raw
        return distributions.Gamma(log_concentration.exp(), log_rate.exp(), validate_args=False)


@dataclass(frozen=True)
class LogNormal(PerElement):
    """Independent numbers whose logarithms are normal: all `loc`, then all log-variances of the logarithms.

    As an observation its values are above 0.

    Args:
        shape: of one draw, 20 or (1, 28, 28).
    """

    def _element(self, *raw: Tensor) -> Distribution:
        loc, log_variance = raw
        return distributions.LogNormal(loc, (log_variance / 2).exp(), validate_args=False)
