"""Ordered levels: the bins that a logistic variable falls into."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from reparam._checks import whole
from reparam._tensors import at_least_float32
from reparam.distributions.levels import Levels, OnLevels
from reparam.distributions.log_masses import log1mexp
from reparam.distributions.noise import logistic


class LogisticBins(OnLevels):
    """One of the levels 0, ..., L - 1: the bin of a logistic variable, cut at the L-quantiles of the standard one.

    Level i is the interval from `log(i / (L - i))` to the same at i + 1, so `loc = 0` and `scale = 1` give each level
    probability 1 / L. `log_prob` is the logarithm of a product, and loses nothing in the tails (nats, in at least
    float32). A number that is no level scores `-inf`. Draws and scores cost the same at every L.

    Args:
        loc: centre of the logistic variable, any shape.
        scale: above 0.
        num_levels: L, at least 2.
        dtype: of the samples; by default that of `loc`.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        TypeError, ValueError: a number of levels that is not a whole number of at least 2.

    Example:
        >>> bins = LogisticBins(torch.zeros(2), torch.ones(2), num_levels=4, validate_args=False)
        >>> bins.log_prob(torch.tensor([0.0, 3.0])).exp()
        tensor([0.2500, 0.2500])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        *,
        num_levels: int,
        dtype: torch.dtype | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.num_levels = whole("num_levels", num_levels, least=2)
        self.dtype = dtype or loc.dtype
        super().__init__(self.loc.shape, validate_args=validate_args)

    def levels(self) -> Levels:
        index = torch.arange(self.num_levels, dtype=at_least_float32(self.loc).dtype, device=self.loc.device)
        log_probs = self._log_mass_of(index, self.loc.unsqueeze(-1), self.scale.unsqueeze(-1))
        return Levels(log_probs, dtype=self.dtype, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogisticBins:
        parts = (part.expand(batch_shape) for part in (self.loc, self.scale))
        return LogisticBins(*parts, num_levels=self.num_levels, dtype=self.dtype, validate_args=self._validate_args)

    def _edge(self, index: Tensor) -> Tensor:
        """Where level `index` begins, for those from 1 to L - 1; an infinite edge is not asked for."""
        index = index.clamp(1, self.num_levels - 1)
        return index.log() - (self.num_levels - index).log()

    def _draw(self, shape: torch.Size) -> Tensor:
        loc, scale = (at_least_float32(part) for part in (self.loc, self.scale))
        y = loc + scale * logistic(loc.expand(shape))
        index = (y.sigmoid() * self.num_levels).floor().clamp(0, self.num_levels - 1)
        # the edges decide, as they do in `log_prob`: the formula above may round to the level beside
        above = (index < self.num_levels - 1) & (y >= self._edge(index + 1))
        below = (index > 0) & (y < self._edge(index))
        return index + above.to(y) - below.to(y)

    def _log_mass(self, index: Tensor) -> Tensor:
        return self._log_mass_of(index.to(at_least_float32(self.loc).dtype), self.loc, self.scale)

    def _log_mass_of(self, index: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        loc, scale = at_least_float32(loc), at_least_float32(scale)
        first, last = index == 0, index == self.num_levels - 1
        low, high = (self._edge(index) - loc) / scale, (self._edge(index + 1) - loc) / scale
        # the distance of the edges themselves, which their difference has too few digits for
        rest = index.clamp_min(1) * (self.num_levels - 1 - index).clamp_min(1)
        between = log1mexp((self.num_levels / rest).log1p() / scale)
        log_mass = torch.where(last, 0.0, F.logsigmoid(high)) + torch.where(first, 0.0, F.logsigmoid(-low))
        return log_mass + torch.where(first | last, 0.0, between)
