"""Families: a real vector in, a torch `Distribution` out. The same noun serves as latent and as observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from reparam import distributions
from reparam._checks import Shape, whole
from reparam._checks import shape as check_shape


class Family(ABC):
    """Maps `[..., num_params]` real numbers to a distribution with batch shape `[...]` and event shape `event_shape`.

    Law: zero parameters give the standard member (N(0, 1), Bernoulli(1/2), uniform), which is the default prior.

    Attributes:
        event_shape: shape of one draw.
        num_params: how many real numbers fix one member: the width of a network's output.
    """

    event_shape: torch.Size
    num_params: int

    @property
    def num_features(self) -> int:
        """How many numbers one draw feeds to a network."""
        return self.event_shape.numel()

    @abstractmethod
    def _distribution(self, params: Tensor) -> Distribution: ...

    def __call__(self, params: Float[Tensor, "*batch num_params"]) -> Distribution:
        """The member with these parameters.

        Raises:
            ValueError: the last axis of `params` is not `num_params` long.
        """
        return self._distribution(self._checked(params))

    def likelihood(self, params: Float[Tensor, "*batch num_params"]) -> Distribution:
        """The member with these parameters in the role of p(x|z); the same as calling the family, unless data differ
        from draws (`Bernoulli` pixels may be grey)."""
        return self(params)

    def features(self, z: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch num_features"]:
        """A draw `[..., *event_shape]` as the flat numbers `[..., num_features]` that a network reads."""
        return z.flatten(-len(self.event_shape))

    def _fix(self, event_shape: torch.Size, num_params: int) -> None:
        """Sets what follows from the arguments, once, past the freezing of a dataclass."""
        object.__setattr__(self, "event_shape", event_shape)
        object.__setattr__(self, "num_params", num_params)

    def _checked(self, params: Tensor) -> Tensor:
        if params.shape[-1:] != (self.num_params,):
            raise ValueError(
                f"{self} takes {self.num_params} parameters on the last axis and received shape {tuple(params.shape)}. "
                f"Let the network end in {self.num_params} outputs: the family's num_params."
            )
        return params


@dataclass(frozen=True)
class Gaussian(Family):
    """Independent normals: the parameters are all `loc`, then all log-variances, so `scale = exp(raw / 2)`.

    Args:
        shape: of one draw, 20 or (1, 28, 28).

    Example:
        >>> Gaussian(20)(torch.zeros(128, 40)).log_prob(torch.zeros(128, 20)).shape
        torch.Size([128])
    """

    shape: Shape

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, 2 * event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        loc, log_variance = (_shaped(part, self.event_shape) for part in params.chunk(2, -1))
        normal = Normal(loc, (log_variance / 2).exp(), validate_args=False)
        return Independent(normal, len(self.event_shape), validate_args=False)


@dataclass(frozen=True)
class Bernoulli(Family):
    """Independent coins: the parameters are their log-odds.

    As a latent its draws and values are 0 or 1. As an observation its values may be means in [0, 1], grey pixels: then
    `log_prob` is the expected log-probability of a bit with that mean, the usual cross-entropy.

    Args:
        shape: of one draw, 784 or (1, 28, 28).
    """

    shape: Shape

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, event_shape.numel())

    def _distribution(self, params: Tensor, means: bool = False) -> Distribution:
        logits = _shaped(params, self.event_shape)
        coins = distributions.Bernoulli(logits, means=means, validate_args=False)
        return Independent(coins, len(self.event_shape), validate_args=False)

    def likelihood(self, params: Float[Tensor, "*batch num_params"]) -> Distribution:
        return self._distribution(self._checked(params), means=True)


@dataclass(frozen=True)
class Categorical(Family):
    """Independent one-hot variables: `Categorical(20, 10)` is 20 variables of 10 categories, a draw is `[20, 10]`.

    The parameters are the unnormalised log-probabilities.

    Args:
        shape: of the array of variables, 20 or (4, 5).
        num_categories: C, at least 2.
    """

    shape: Shape
    num_categories: int

    def __post_init__(self) -> None:
        num_categories = whole("num_categories", self.num_categories, least=2)
        event_shape = torch.Size([*check_shape("shape", self.shape), num_categories])
        self._fix(event_shape, event_shape.numel())

    def _distribution(self, params: Tensor) -> Distribution:
        logits = _shaped(params, self.event_shape)
        one_hot = distributions.OneHotCategorical(logits, validate_args=False)
        return Independent(one_hot, len(self.event_shape) - 1, validate_args=False)


def _shaped(params: Tensor, event_shape: torch.Size) -> Tensor:
    """The last axis as `event_shape`; no view is made of what is flat already, as each costs time in every step."""
    return params if len(event_shape) == 1 else params.unflatten(-1, event_shape)
