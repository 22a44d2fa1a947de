"""Counts with extra zeros."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32
from reparam.distributions.bernoulli import Bernoulli


class ZeroInflated(Distribution):
    """With probability `sigmoid(logits)` zero, otherwise a count from `base`, which may be zero too.

    With `s = sigmoid(logits)` and p the probabilities of `base`, in nats:

    `log_prob(0) = log(s + (1 - s) p(0))` and `log_prob(x) = log(1 - s) + log p(x)` for any other x.

    Args:
        base: a distribution of counts with event shape (), such as `Poisson(log_rate)`.
        logits: log-odds of an extra zero, of a shape that broadcasts with the batch shape of `base`.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: a base over vectors or over real numbers.

    Example:
        >>> base = torch.distributions.Poisson(torch.tensor(3.0))
        >>> ZeroInflated(base, torch.tensor(0.0)).log_prob(torch.tensor([0.0, 3.0]))
        tensor([-0.6446, -2.1891])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}

    def __init__(self, base: Distribution, logits: Tensor, *, validate_args: bool | None = None) -> None:
        support: Any = base.support
        if base.event_shape or not support.is_discrete:
            raise ValueError(
                f"base is a {type(base).__name__} over {support} with event shape {tuple(base.event_shape)}; it must "
                "be one over counts with event shape (), such as Poisson. Wrap the result in Independent, not the base."
            )
        shape = torch.broadcast_shapes(base.batch_shape, logits.shape)
        self.base = base if base.batch_shape == shape else base.expand(shape)
        self.logits = logits.expand(shape)
        self.has_enumerate_support = base.has_enumerate_support
        super().__init__(shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        support: Any = self.base.support
        return cast(constraints.Constraint, support)

    @property
    def mean(self) -> Tensor:
        return (-at_least_float32(self.logits)).sigmoid() * self.base.mean

    @property
    def variance(self) -> Tensor:
        logits = at_least_float32(self.logits)
        return (-logits).sigmoid() * (self.base.variance + logits.sigmoid() * self.base.mean.square())

    def expand(self, batch_shape: Any, _instance: Any = None) -> ZeroInflated:
        return ZeroInflated(
            self.base.expand(batch_shape), self.logits.expand(batch_shape), validate_args=self._validate_args
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            extra = Bernoulli(self.logits, validate_args=False).sample(sample_shape)
            return torch.where(extra > 0, 0.0, self.base.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits = at_least_float32(self.logits)
        of_base = F.logsigmoid(-logits) + at_least_float32(self.base.log_prob(value))
        return torch.where(value == 0, torch.logaddexp(F.logsigmoid(logits), of_base), of_base)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.base.enumerate_support(expand)
