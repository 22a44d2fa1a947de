"""Bernoulli by its logits, finite at every finite logit."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32


class Bernoulli(Distribution):
    """A coin with log-odds `logits`.

    `log_prob(x) = x * logits - softplus(logits)` for x in {0, 1}, in at least float32.
    What torch's class leaves open is settled here:

    - a value that is neither 0 nor 1 has probability zero, so its `log_prob` is `-inf`, with or without validation
      (torch returns a cross-entropy, which lets a relaxed sample pass for a hard one);
    - with `means=True` the support is the interval [0, 1] and `log_prob(x)` is the *expected* log-probability
      `E[log p(b)]` of a bit `b ~ Bernoulli(x)`: what a grey pixel means as data. On {0, 1} the two agree.

    At a logit of `inf` or `-inf` the coin is certain: everything is the limit, without NaN, and such a logit gets no
    gradient. With `means` a score takes finite logits only.

    Args:
        logits: log-odds of a one, any shape, any real number or an infinite one.
        means: accept means in [0, 1] as values, see above.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> coin = Bernoulli(torch.zeros(3), validate_args=False)
        >>> coin.log_prob(torch.tensor([0.0, 1.0, 0.3]))
        tensor([-0.6931, -0.6931,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}
    has_enumerate_support = True

    def __init__(self, logits: Tensor, *, means: bool = False, validate_args: bool | None = None) -> None:
        self.logits = logits
        self.means = means
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.unit_interval if self.means else constraints.boolean

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        return self.logits.sigmoid() * (-self.logits).sigmoid()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Bernoulli:
        return Bernoulli(self.logits.expand(batch_shape), means=self.means, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            logits = at_least_float32(self.logits).expand(self._extended_shape(sample_shape))
            # The rarer side is what is drawn, against a uniform from (0, 1], which is never below a vanishing
            # probability: one false draw of an event of e^-60 would dominate every importance-weighted bound.
            rarer = 1 - torch.rand_like(logits) < (-logits.abs()).sigmoid()
            return (rarer ^ (logits > 0)).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = at_least_float32(self.logits), at_least_float32(value)
        if not self.means:  # a latent may be certain; pixels of a network are many, and two passes over them cost 1%
            logits = _bounded(logits)
        if logits.shape != value.shape:
            logits, value = torch.broadcast_tensors(logits, value)
        # the weight of -1 turns the loss into a log-probability in place; a negation would cost two passes over x
        minus = torch.full((), -1.0, dtype=logits.dtype, device=logits.device)
        log_prob = F.binary_cross_entropy_with_logits(logits, value, weight=minus, reduction="none")
        if self.means:
            return log_prob
        with torch.no_grad():  # what only an infinite logit makes so low; in place, as the loss keeps its inputs alone
            largest = torch.finfo(log_prob.dtype).max * torch.finfo(log_prob.dtype).eps / 4
            torch.threshold_(log_prob, -largest, -torch.inf)
        return torch.where((value == 0) | (value == 1), log_prob, -torch.inf)

    def entropy(self) -> Tensor:
        # the cross-entropy of the coin with itself; even in the logits, and for negative ones it has no cancellation
        logits = -_bounded(self.logits).abs()
        return F.softplus(logits) - logits * logits.sigmoid()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = torch.arange(2, dtype=self.logits.dtype, device=self.logits.device)
        states = states.reshape((2,) + (1,) * len(self.batch_shape))
        return states.expand((2, *self.batch_shape)) if expand else states


def _bounded(logits: Tensor) -> Tensor:
    """Logits in at least float32, an infinite one as the largest number: then no term of a sum is NaN."""
    logits = at_least_float32(logits)
    limit = torch.finfo(logits.dtype).max
    return F.hardtanh(logits, -limit, limit)


def kl_of_logits(p: Tensor, q: Tensor) -> Tensor:
    """KL in nats between coins with logits `p` and `q`, with finite gradients at saturated logits.

    It is infinite where q rules out a side that p does not, and has no gradient there.
    """
    excluded = q.isinf() & (p != q)
    # Flipping both coins changes nothing; flipped so that p is at most 0, every term is small when the result is.
    flip = torch.where(p > 0, -1.0, 1.0).to(p.dtype)
    p, q = _bounded(p * flip) / 2, _bounded(q * flip) / 2  # halves, whose difference does not overflow
    kl = 2 * (2 * p).sigmoid() * (p - q) + F.logsigmoid(-2 * p) - F.logsigmoid(-2 * q)
    return torch.where(excluded, torch.inf, kl)


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    return kl_of_logits(at_least_float32(p.logits), at_least_float32(q.logits))
