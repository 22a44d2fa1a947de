"""Ordered levels and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import whole
from reparam.families.family import PerElement


def _scaled(features: Tensor, largest: int) -> Tensor:
    """Numbers from 0 to `largest` on the scale from -1 to 1."""
    return features * (2 / largest) - 1


@dataclass(frozen=True)
class Ordinal(PerElement):
    """Independent ordered levels 0, ..., L - 1: the bins that a logistic variable falls into.

    The bins are cut at the L-quantiles of the standard logistic, so zero parameters give the uniform distribution. The
    parameters are all `loc`, then all log-scales of the logistic: two for each variable, whatever L. A small scale
    chooses one level or two neighbours, a large one the two ends.

    Args:
        shape: of one draw.
        num_levels: L, at least 2.

    Example:
        >>> import torch
        >>> Ordinal(1, 4)(torch.tensor([0.0, 0.0])).log_prob(torch.tensor([[0.0], [3.0]])).exp()
        tensor([0.2500, 0.2500])
    """

    num_levels: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("num_levels", self.num_levels, least=2)

    def _element(self, *raw: Tensor) -> Distribution:
        loc, log_scale = raw
        return distributions.LogisticBins(loc, log_scale.exp(), num_levels=self.num_levels, validate_args=False)

    def features(self, z: Tensor) -> Tensor:
        """Levels on the scale from -1 to 1."""
        return _scaled(super().features(z), self.num_levels - 1)


@dataclass(frozen=True)
class Binomial(PerElement):
    """Independent numbers of ones among `total_count` equal coins; the parameters are the log-odds of a one.

    Args:
        shape: of one draw.
        total_count: n, at least 1; draws are 0, ..., n.
    """

    total_count: int
    params_each: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("total_count", self.total_count)

    def _element(self, *raw: Tensor) -> Distribution:
        counts = distributions.Binomial(self.total_count, raw[0], validate_args=False)
        return counts.levels() if self.total_count < 8 else counts  # as a list few levels are cheaper

    def features(self, z: Tensor) -> Tensor:
        """Counts on the scale from -1 to 1."""
        return _scaled(super().features(z), self.total_count)


@dataclass(frozen=True)
class Poisson(PerElement):
    """Independent Poisson counts; the parameters are the log-rates.

    With `largest` a count is conditioned on being at most that: a finite distribution, whose states can be listed.

    Args:
        shape: of one draw.
        largest: the largest count, at least 1, or None for no end.
    """

    largest: int | None = None
    params_each: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.largest is not None:
            whole("largest", self.largest)

    def _element(self, *raw: Tensor) -> Distribution:
        if self.largest is None:
            return distributions.Poisson(raw[0], validate_args=False)
        counts = distributions.TruncatedPoisson(raw[0], self.largest, validate_args=False)
        return counts.levels() if self.largest < 256 else counts  # as a list few levels are cheaper

    def features(self, z: Tensor) -> Tensor:
        """Counts on the scale from -1 to 1; without a largest one `log(1 + z)`."""
        return super().features(z).log1p() if self.largest is None else _scaled(super().features(z), self.largest)


@dataclass(frozen=True)
class NegativeBinomial(PerElement):
    """Independent counts with a variance above the mean: all log-means, then all log-dispersions.

    The variance is `m + a m^2` at mean m and dispersion a: a = 1 at zero parameters, Poisson as the log of a falls.

    Args:
        shape: of one draw.
    """

    def _element(self, *raw: Tensor) -> Distribution:
        return distributions.NegativeBinomial(*raw, validate_args=False)

    def features(self, z: Tensor) -> Tensor:
        """`log(1 + z)`."""
        return super().features(z).log1p()


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(PerElement):
    """The same with extra zeros: all log-means, all log-dispersions, then all log-odds of an extra zero.

    Zero parameters give mean 1, dispersion 1 before the inflation, and an extra zero with probability 1/2.

    Args:
        shape: of one draw.
    """

    params_each: ClassVar[int] = 3

    def _element(self, *raw: Tensor) -> Distribution:
        log_mean, log_dispersion, logits = raw
        base = distributions.NegativeBinomial(log_mean, log_dispersion, validate_args=False)
        return distributions.ZeroInflated(base, logits, validate_args=False)

    def features(self, z: Tensor) -> Tensor:
        """`log(1 + z)`."""
        return super().features(z).log1p()
