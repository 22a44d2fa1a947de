"""Poisson counts up to a largest one, without a list of their levels."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from reparam._checks import whole
from reparam._tensors import at_least_float32
from reparam.distributions.levels import Levels, OnLevels
from reparam.distributions.log_masses import poisson_log_prob, truncated_poisson_logits
from reparam.distributions.noise import uniform
from reparam.distributions.poisson import draw_counts

_ROUNDS = 24  # candidates for each draw, of which at least half are accepted: 6e-8 of the draws find none
_FAR = 3.0  # standard deviations above the largest count from which on the continued fraction is used
_TERMS = 16  # of the fraction: an error of 5e-9 there, and less further out


class TruncatedPoisson(OnLevels):
    """A Poisson count with log-rate `log_rate`, given that it is at most `largest`.

    `log_prob(x) = x log r - log x! - log sum over k <= L of r^k / k!` for x in {0, ..., L} and `-inf` for anything else
    (nats, in at least float32), at any rate. The sum is an incomplete gamma function. Draws, scores and the mean cost
    the same at every L.

    Draws are by rejection, 24 candidates at once: Poisson counts where r is at most L, above that `L - Y` with Y
    geometric.

    Args:
        log_rate: any shape, any real number.
        largest: L, at least 1.
        dtype: of the samples; by default that of `log_rate`.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        TypeError, ValueError: a largest count that is not a whole number of at least 1.

    Reference:
        Robert, Simulation of Truncated Normal Variables, 1995 (the rate of the proposal above L, there for a normal).

    Example:
        >>> few = TruncatedPoisson(torch.zeros(3), 1, validate_args=False)
        >>> few.log_prob(torch.tensor([0.0, 1.0, 2.0])).exp()
        tensor([0.5000, 0.5000, 0.0000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"log_rate": constraints.real}

    def __init__(
        self, log_rate: Tensor, largest: int, *, dtype: torch.dtype | None = None, validate_args: bool | None = None
    ) -> None:
        self.log_rate = log_rate
        self.largest = whole("largest", largest)
        self.num_levels = self.largest + 1
        self.dtype = dtype or log_rate.dtype
        super().__init__(log_rate.shape, validate_args=validate_args)

    def levels(self) -> Levels:
        logits = truncated_poisson_logits(self.log_rate, self.largest)
        return Levels(logits, dtype=self.dtype, validate_args=False)

    @property
    def mean(self) -> Tensor:
        log_rate = at_least_float32(self.log_rate)
        low = log_rate.clamp_max(math.log(self.largest))
        below = log_rate + _log_cdf(low, self.largest - 1) - _log_cdf(low, self.largest)
        above = math.log(self.largest) + _log_tail(log_rate, self.largest - 1) - _log_tail(log_rate, self.largest)
        return torch.where(low == log_rate, below, above).exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> TruncatedPoisson:
        log_rate = self.log_rate.expand(batch_shape)
        return TruncatedPoisson(log_rate, self.largest, dtype=self.dtype, validate_args=self._validate_args)

    def _draw(self, shape: torch.Size) -> Tensor:
        log_rate = at_least_float32(self.log_rate).expand((_ROUNDS, *shape))
        from_above, accepted_above = self._from_above(log_rate)
        counts = draw_counts(log_rate.clamp_max(math.log(self.largest)).exp())
        above = log_rate > math.log(self.largest)
        accepted = torch.where(above, accepted_above, counts <= self.largest)
        first = accepted.int().argmax(0, keepdim=True)
        index = torch.where(above, from_above, counts).gather(0, first).squeeze(0)
        return index.clamp(0, self.largest)

    def _from_above(self, log_rate: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates `L - Y` where the rate is above L, and which are accepted."""
        top = math.log(self.largest)
        excess = (log_rate - top).clamp_min(0.0)  # Y has the weight e^(-excess Y) times the product of 1 - i / L
        z = excess * math.sqrt(self.largest)
        decay = (z + torch.hypot(z, torch.full_like(z, 2.0))) / 2 / math.sqrt(self.largest)
        y = (-uniform(log_rate).log() / decay).floor()

        def advantage(y: Tensor) -> Tensor:
            """log of the weight over that of the proposal, up to a constant; `-inf` where L - y is negative."""
            return poisson_log_prob(torch.full_like(y, top), self.largest - y) + (decay - excess) * y

        most = (-self.largest * torch.expm1(excess - decay)).floor() + 1
        accepted = uniform(log_rate).log() <= advantage(y) - advantage(most.clamp_max(self.largest))
        return self.largest - y, accepted

    def _log_mass(self, index: Tensor) -> Tensor:
        log_rate = at_least_float32(self.log_rate)
        x, largest = index.to(log_rate.dtype), torch.full_like(log_rate, self.largest)
        # Beyond the largest count a higher rate only tilts the weights; so no rate is large, and none overflows.
        low = log_rate.clamp_max(math.log(self.largest))
        below = _log_cdf(low, self.largest)
        above = poisson_log_prob(low, largest) + _log_tail(log_rate, self.largest)
        log_total = torch.where(low == log_rate, below, above)
        return poisson_log_prob(low, x) + (x - self.largest) * (log_rate - low) - log_total


class _LogCdf(torch.autograd.Function):
    """log of the probability that a Poisson count is at most `largest`, with the gradient that keeps its digits."""

    generate_vmap_rule = True

    @staticmethod
    def forward(log_rate: Tensor, largest: int) -> Tensor:
        if largest < 0:
            return torch.full_like(log_rate, -torch.inf)
        cdf: Tensor = torch.special.gammaincc(torch.full_like(log_rate, largest + 1), log_rate.exp())
        return cdf.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(inputs[0])
        ctx.largest = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (log_rate,) = ctx.saved_tensors
        last = poisson_log_prob(log_rate, torch.full_like(log_rate, ctx.largest))
        return -gradient * (log_rate + last - _log_cdf(log_rate, ctx.largest)).exp(), None


def _log_cdf(log_rate: Tensor, largest: int) -> Tensor:
    found: Tensor = _LogCdf.apply(log_rate, largest)  # type: ignore[no-untyped-call]
    return found


def _log_tail(log_rate: Tensor, largest: int) -> Tensor:
    """`log sum over j of L (L - 1) ... (L - j + 1) / r^j`, for rates r above L: the cdf over its last term.

    Far above L by Legendre's continued fraction of the incomplete gamma function, in 1 / r.
    """
    a = largest + 1
    far_from = math.log(a + _FAR * math.sqrt(a))
    y = (-log_rate.clamp_min(far_from)).exp()
    fraction = torch.zeros_like(y)
    for k in range(_TERMS, 0, -1):
        fraction = k * (a - k) * y.square() / (1 + (2 * k + 1 - a) * y + fraction)
    far = -torch.log1p((1 - a) * y + fraction)
    near_rate = log_rate.clamp(math.log(max(largest, 1)), far_from)
    near = _log_cdf(near_rate, largest) - poisson_log_prob(near_rate, torch.full_like(near_rate, largest))
    return torch.where(log_rate > far_from, far, near)
