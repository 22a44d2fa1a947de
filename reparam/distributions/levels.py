"""Finite distributions over equally spaced numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class OnLevels(Distribution, ABC):
    """A distribution over the numbers `0, step, ..., (L - 1) step`.

    It draws and scores by formulas whose cost does not depend on L. `levels()` builds the probabilities of all levels,
    for what needs them: a KL without a closed form, an entropy. Enumeration takes the list of the levels and scores it.
    """

    has_enumerate_support = True
    num_levels: int
    step: float = 1.0
    dtype: torch.dtype

    @abstractmethod
    def _draw(self, shape: torch.Size) -> Tensor:
        """Indices of drawn levels, whole numbers of any dtype."""

    @abstractmethod
    def _log_mass(self, index: Tensor) -> Tensor:
        """Log-probabilities of the levels of these indices, in at least float32."""

    @abstractmethod
    def levels(self) -> Levels:
        """The same distribution by the log-probabilities of all its levels."""

    @property
    def support(self) -> LevelSet:
        return LevelSet(self.num_levels, self.step)

    @property
    def mean(self) -> Tensor:
        return self.levels().mean

    @property
    def mode(self) -> Tensor:
        return self.levels().mode

    @property
    def variance(self) -> Tensor:
        return self.levels().variance

    def entropy(self) -> Tensor:
        return self.levels().entropy()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.support.numbers(self._draw(self._extended_shape(sample_shape)), self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        index, inside = self.support.index(value)
        return torch.where(inside, self._log_mass(index), -torch.inf)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        first_parameter: Tensor = getattr(self, next(iter(self.arg_constraints)))
        index = torch.arange(self.num_levels, device=first_parameter.device)
        states = self.support.numbers(index, self.dtype).reshape(self.num_levels, *[1] * len(self.batch_shape))
        return states.expand((self.num_levels, *self.batch_shape)) if expand else states


class Levels(OnLevels):
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

    def levels(self) -> Levels:
        return self

    @property
    def one_hot(self) -> OneHotCategorical:
        """The same choice as a one-hot vector."""
        return OneHotCategorical(self.logits, validate_args=False)

    @property
    def log_probs(self) -> Tensor:
        """Normalised log-probabilities `[..., L]`, in at least float32."""
        return at_least_float32(self.logits).log_softmax(-1)

    def _numbers(self) -> Tensor:
        index = torch.arange(self.num_levels, device=self.logits.device)
        return self.support.numbers(index, at_least_float32(self.logits).dtype)

    @property
    def mean(self) -> Tensor:
        return (self.log_probs.exp() * self._numbers()).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self.support.numbers(self.logits.argmax(-1), self.dtype)

    @property
    def variance(self) -> Tensor:
        return (self.log_probs.exp() * (self._numbers() - self.mean.unsqueeze(-1)).square()).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Levels:
        logits = self.logits.expand((*batch_shape, self.num_levels))
        return Levels(logits, step=self.step, dtype=self.dtype, validate_args=self._validate_args)

    def _draw(self, shape: torch.Size) -> Tensor:
        logits = self.logits.expand((*shape, self.num_levels))
        return (logits + gumbel(logits)).argmax(-1)

    def _log_mass(self, index: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(index.shape, self.batch_shape)
        index = index.expand(shape).unsqueeze(-1)
        return self.log_probs.expand((*shape, self.num_levels)).gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        return self.one_hot.entropy()


@register_kl(OnLevels, OnLevels)
def _kl_levels_levels(p: OnLevels, q: OnLevels) -> Tensor:
    if p.support != q.support:
        raise NotImplementedError(f"KL is defined between equal levels; these are {p.support} and {q.support}.")
    return kl_divergence(p.levels().one_hot, q.levels().one_hot)
