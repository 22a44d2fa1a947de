"""Numbers between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam.families.family import PerElement


@dataclass(frozen=True)
class ContinuousBernoulli(PerElement):
    """Independent numbers in [0, 1] with a log-linear density: the parameters are its slopes, the logits.

    As an observation it takes grey pixels as the continuous values they are, with both ends; `Bernoulli` takes them as
    means of bits. The log-likelihoods of the two are of different data and are not to be compared. That of a density
    has no upper limit: of a pixel that is 0 in all data it grows as the logarithm of minus its logit.

    Args:
        shape: of one draw, 784 or (1, 28, 28).

    Example:
        >>> import torch
        >>> ContinuousBernoulli(784)(torch.zeros(784)).log_prob(torch.rand(784))
        tensor(0.)
    """

    params_each = 1
    takes_half = True

    def _element(self, *raw: Tensor) -> Distribution:
        return distributions.ContinuousBernoulli(*raw, validate_args=False)


@dataclass(frozen=True)
class Beta(PerElement):
    """Independent beta numbers in (0, 1): all log-concentrations of 1, then all of 0. The standard member is uniform.

    As an observation its values are strictly between 0 and 1, where the density is finite.

    Args:
        shape: of one draw, 20 or (1, 28, 28).
    """

    def _element(self, *raw: Tensor) -> Distribution:
        log_concentration1, log_concentration0 = raw
        return distributions.Beta(log_concentration1.exp(), log_concentration0.exp(), validate_args=False)


@dataclass(frozen=True)
class Kumaraswamy(PerElement):
    """Independent Kumaraswamy numbers in (0, 1): all log a, then all log b. The standard member is uniform.

    As an observation its values are strictly between 0 and 1, where the density is finite.

    Args:
        shape: of one draw, 20 or (1, 28, 28).
    """

    def _element(self, *raw: Tensor) -> Distribution:
        log_concentration1, log_concentration0 = raw
        return distributions.Kumaraswamy(log_concentration1.exp(), log_concentration0.exp(), validate_args=False)
