"""The binomial distribution, without a list of its levels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from reparam._checks import whole
from reparam._tensors import at_least_float32
from reparam.distributions.bernoulli import kl_of_logits
from reparam.distributions.levels import Levels, OnLevels
from reparam.distributions.log_masses import binomial_log_prob, binomial_log_probs

_NEVER = 1e-7  # the probability of a draw other than 0 below which none is made: no generator resolves it


class Binomial(OnLevels):
    """The number of ones among n equal coins: one of 0, ..., n.

    `log_prob(x) = log (n choose x) + x log p + (n - x) log(1 - p)` in the form of Loader, without cancellation
    (nats, in at least float32). A number that is no level scores `-inf`. Draws, scores, mean, variance and the KL
    between two of one n cost the same at every n.

    Args:
        total_count: n, at least 1.
        logits: log-odds of a one, any shape; infinite ones are the limit.
        dtype: of the samples; by default that of the logits.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        TypeError, ValueError: a total count that is not a whole number of at least 1.

    Reference:
        Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.

    Example:
        >>> Binomial(2, torch.zeros(3), validate_args=False).log_prob(torch.tensor([1.0, 2.0, 3.0])).exp()
        tensor([0.5000, 0.2500, 0.0000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}

    def __init__(
        self, total_count: int, logits: Tensor, *, dtype: torch.dtype | None = None, validate_args: bool | None = None
    ) -> None:
        self.total_count = whole("total_count", total_count)
        self.num_levels = self.total_count + 1
        self.logits = logits
        self.dtype = dtype or logits.dtype
        super().__init__(logits.shape, validate_args=validate_args)

    def levels(self) -> Levels:
        log_probs = binomial_log_probs(self.logits, self.total_count)
        return Levels(log_probs, dtype=self.dtype, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.total_count * at_least_float32(self.logits).sigmoid()

    @property
    def mode(self) -> Tensor:
        index = ((self.total_count + 1) * at_least_float32(self.logits).sigmoid()).floor()
        return self.support.numbers(index.clamp_max(self.total_count), self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.mean * (-at_least_float32(self.logits)).sigmoid()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Binomial:
        logits = self.logits.expand(batch_shape)
        return Binomial(self.total_count, logits, dtype=self.dtype, validate_args=self._validate_args)

    def _draw(self, shape: torch.Size) -> Tensor:
        logits = at_least_float32(self.logits).expand(shape)
        rarer = (-logits.abs()).sigmoid()  # of both sides the one whose probability has all its digits
        number = torch.binomial(torch.full_like(rarer, self.total_count), rarer)
        number = torch.where(self.total_count * rarer < _NEVER, 0.0, number)
        return torch.where(logits > 0, self.total_count - number, number)

    def _log_mass(self, index: Tensor) -> Tensor:
        logits = at_least_float32(self.logits)
        return binomial_log_prob(logits, self.total_count, index.to(logits.dtype))


@register_kl(Binomial, Binomial)
def _kl_binomials(p: Binomial, q: Binomial) -> Tensor:
    p_logits, q_logits = at_least_float32(p.logits), at_least_float32(q.logits)
    if p.total_count < q.total_count:
        raise NotImplementedError("KL to a binomial of a larger total_count has no closed form.")
    if p.total_count > q.total_count:
        nothing = -q.total_count * F.logsigmoid(-q_logits)  # from zero ones for certain
        return torch.where(p_logits == -torch.inf, nothing, torch.inf)
    return p.total_count * kl_of_logits(p_logits, q_logits)
