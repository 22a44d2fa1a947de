"""Categorical over one-hot vectors, by its logits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32, normalized
from reparam.distributions.noise import gumbel


class OneHotCategorical(Distribution):
    """One of C categories as a one-hot vector, from unnormalised `logits` on the last axis.

    `log_prob(x)` is the log-softmax of the logits at the one in x. A value that is not one-hot has probability zero, so
    its `log_prob` is `-inf`, with or without validation (torch takes the argmax, which lets a relaxed sample pass for a
    hard one). A logit of `-inf` rules its category out, and one of `inf` all others; sampling, `log_prob`, `entropy`
    and KL stay free of NaN.

    Args:
        logits: unnormalised log-probabilities `[..., C]`.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> die = OneHotCategorical(torch.zeros(4), validate_args=False)
        >>> die.log_prob(torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.1, 0.1, 0.7, 0.1]]))
        tensor([-1.3863,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def log_probs(self) -> Tensor:
        """Normalised log-probabilities `[..., C]`, in at least float32."""
        return normalized(at_least_float32(self.logits))

    @property
    def mean(self) -> Tensor:
        return self.log_probs.exp().to(self.logits.dtype)

    @property
    def mode(self) -> Tensor:
        return _one_hot(self.logits.argmax(-1, keepdim=True), self.logits)

    @property
    def variance(self) -> Tensor:
        mean = self.mean
        major = mean > 0.5  # whose difference to 1 has the digits of the others
        others = torch.where(major, torch.where(major, 0.0, mean).sum(-1, keepdim=True), 1 - mean)
        return mean * others

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotCategorical:
        logits = self.logits.expand((*batch_shape, *self.event_shape))
        return OneHotCategorical(logits, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            logits = self.logits.expand(self._extended_shape(sample_shape))
            return _one_hot((logits + gumbel(logits)).argmax(-1, keepdim=True), logits)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if value.shape[-1:] != self.event_shape:
            raise ValueError(
                f"value has shape {tuple(value.shape)}; its last axis must be {self.event_shape[0]} categories."
            )
        chosen = value == 1
        log_prob = torch.where(chosen, self.log_probs, 0.0).sum(-1)
        one_hot = (chosen | (value == 0)).all(-1) & (chosen.sum(-1) == 1)
        return torch.where(one_hot, log_prob, -torch.inf)

    def entropy(self) -> Tensor:
        log_probs = self.log_probs
        return -_expected(log_probs, log_probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        num_states = self.event_shape[0]
        states = torch.eye(num_states, dtype=self.logits.dtype, device=self.logits.device)
        states = states.reshape((num_states,) + (1,) * len(self.batch_shape) + (num_states,))
        return states.expand((num_states, *self.batch_shape, num_states)) if expand else states


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).scatter(-1, index, 1.0)


def _expected(log_probs: Tensor, values: Tensor) -> Tensor:
    """Sum of `exp(log_probs) * values`, where a category of probability zero adds nothing."""
    return (log_probs.exp() * torch.where(log_probs > -torch.inf, values, 0.0)).sum(-1)


def kl_of_log_probs(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL in nats from p to q, by their normalised log-probabilities; infinite where q excludes what p does not."""
    excluded = (log_p > -torch.inf) & (log_q == -torch.inf)
    finite = _expected(log_p, torch.where(excluded, 0.0, log_p - log_q))
    return finite.masked_fill(excluded.any(-1), torch.inf)


@register_kl(OneHotCategorical, OneHotCategorical)
def _kl_categorical_categorical(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return kl_of_log_probs(p.log_probs, q.log_probs)
