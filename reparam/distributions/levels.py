"""A finite distribution over equally spaced numbers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence
from torch.distributions.kl import register_kl

from reparam._checks import positive
from reparam._tensors import at_least_float32
from reparam.distributions.noise import gumbel
from reparam.distributions.one_hot_categorical import OneHotCategorical
from reparam.distributions.support import LevelSet


class Levels(Distribution):
    """One of the numbers `0, step, ..., (L - 1) step`, from unnormalised `logits` on the last axis.

    `log_prob(x)` is the log-softmax of the logits at `x / step`. A number that is no level has probability zero, so its
    `log_prob` is `-inf`, with or without validation; the rounding of a level to float32, or to the value's own coarser
    dtype, is forgiven. A logit of `-inf` rules its level out, without NaN.

    Args:
        logits: unnormalised log-probabilities `[..., L]`; the event shape is ().
        step: between neighbouring levels; 1/255 for bytes as x in [0, 1].
        dtype: of the samples; by default that of the logits.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: a step that is not above 0.

    Example:
        >>> Levels(torch.zeros(4), validate_args=False).log_prob(torch.tensor([0.0, 3.0, 4.0, 0.5]))
        tensor([-1.3863, -1.3863,    -inf,    -inf])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(
        self,
        logits: Tensor,
        *,
        step: float = 1.0,
        dtype: torch.dtype | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.logits = logits
        self.dtype = dtype or logits.dtype
        self.step = positive("step", step)
        self.num_levels = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def support(self) -> LevelSet:
        return LevelSet(self.num_levels, self.step)

    @property
    def one_hot(self) -> OneHotCategorical:
        """The same choice as a one-hot vector."""
        return OneHotCategorical(self.logits, validate_args=False)

    @property
    def log_probs(self) -> Tensor:
        """Normalised log-probabilities `[..., L]`, in at least float32."""
        return self.one_hot.log_probs

    def _numbers(self) -> Tensor:
        index = torch.arange(self.num_levels, device=self.logits.device)
        return self.support.numbers(index, at_least_float32(self.logits).dtype)

    @property
    def mean(self) -> Tensor:
        return (self.log_probs.exp() * self._numbers()).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self._number(self.logits.argmax(-1))

    @property
    def variance(self) -> Tensor:
        return (self.log_probs.exp() * (self._numbers() - self.mean.unsqueeze(-1)).square()).sum(-1)

    def _number(self, index: Tensor) -> Tensor:
        return self.support.numbers(index, self.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Levels:
        logits = self.logits.expand((*batch_shape, self.num_levels))
        return Levels(logits, step=self.step, dtype=self.dtype, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            logits = self.logits.expand((*self._extended_shape(sample_shape), self.num_levels))
            return self._number((logits + gumbel(logits)).argmax(-1))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        index, inside = self.support.index(value)
        shape = torch.broadcast_shapes(index.shape, self.batch_shape)
        index = index.expand(shape).unsqueeze(-1)
        log_prob = self.log_probs.expand((*shape, self.num_levels)).gather(-1, index).squeeze(-1)
        return torch.where(inside, log_prob, -torch.inf)

    def entropy(self) -> Tensor:
        return self.one_hot.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        states = self._numbers().to(self.dtype).reshape(self.num_levels, *[1] * len(self.batch_shape))
        return states.expand((self.num_levels, *self.batch_shape)) if expand else states


@register_kl(Levels, Levels)
def _kl_levels_levels(p: Levels, q: Levels) -> Tensor:
    if p.support != q.support:
        raise NotImplementedError(f"KL is defined between equal levels; these are {p.support} and {q.support}.")
    return kl_divergence(p.one_hot, q.one_hot)
