"""Poisson by its log-rate, without cancellation at large counts."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32, within_range
from reparam.distributions.log_masses import poisson_log_prob
from reparam.distributions.ratios import expm1_gap

_LARGEST_RATE = 1e9


def draw_counts(rate: Tensor) -> Tensor:
    """Poisson counts, in at least float32; at rates above 1e9 rounded normals, where torch's integers may overflow."""
    usual = torch.poisson(rate.clamp(max=_LARGEST_RATE))
    return torch.where(rate > _LARGEST_RATE, (rate + rate.sqrt() * torch.randn_like(rate)).round(), usual)


class Poisson(Distribution):
    """A count with mean `rate = exp(log_rate)`.

    `log_prob(x) = x log_rate - rate - log x!` for x in {0, 1, 2, ...} and `-inf` for anything else. The three terms
    cancel at large counts (torch in float32: wrong by 0.8 nats at x = rate = 1e6, by 10 at 1e8), so it is computed
    without them: wrong by at most 0.002 nats at a rate of 1e6 within five standard deviations, from the rounding of
    log x.

    Args:
        log_rate: log of the mean, any shape; up to 80 in float32, and any negative number.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> Poisson(torch.zeros(3), validate_args=False).log_prob(torch.tensor([0.0, 2.0, 0.5]))
        tensor([-1.0000, -1.6931,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"log_rate": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, *, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return at_least_float32(self.log_rate).exp()

    @property
    def mode(self) -> Tensor:
        return self.mean.floor()

    @property
    def variance(self) -> Tensor:
        return self.mean

    def expand(self, batch_shape: Any, _instance: Any = None) -> Poisson:
        return Poisson(self.log_rate.expand(batch_shape), validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return within_range(draw_counts(self.mean.expand(self._extended_shape(sample_shape))), self.log_rate.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return poisson_log_prob(at_least_float32(self.log_rate), value)


@register_kl(Poisson, Poisson)
def _kl_poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    log_p, log_q = at_least_float32(p.log_rate), at_least_float32(q.log_rate)
    # a rate of zero is certain of a count of zero
    positive = (log_p > -torch.inf) & (log_q > -torch.inf)
    certain = torch.where(log_p > -torch.inf, torch.inf, log_q.exp())
    log_p, log_q = torch.where(positive, log_p, 0.0), torch.where(positive, log_q, 0.0)
    log_ratio = log_q - log_p
    # near each other as one small product; far apart as the sum itself, where e^log_ratio might overflow
    near = log_ratio.abs() < 1
    close = log_p.exp() * expm1_gap(torch.where(near, log_ratio, 0.0))
    far = log_q.exp() - log_p.exp() - log_p.exp() * log_ratio
    return torch.where(positive, torch.where(near, close, far), certain)
