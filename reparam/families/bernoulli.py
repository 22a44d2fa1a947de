"""Coins."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent

from reparam import distributions
from reparam._checks import Shape
from reparam._checks import shape as check_shape
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class Bernoulli(Family):
    """Independent coins: the parameters are their log-odds.

    As a latent its draws and values are 0 or 1. As an observation its values may be means in [0, 1], grey pixels: then
    `log_prob` is the expected log-probability of a bit with that mean, the usual cross-entropy.

    Args:
        shape: of one draw, 784 or (1, 28, 28).
    """

    shape: Shape
    takes_half = True

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, event_shape.numel())

    def _distribution(self, params: Tensor, means: bool = False) -> Distribution:
        logits = shaped(params, self.event_shape)
        coins = distributions.Bernoulli(logits, means=means, validate_args=False)
        return Independent(coins, len(self.event_shape), validate_args=False)

    def likelihood(self, params: Float[Tensor, "*batch num_params"]) -> Distribution:
        return self._distribution(self._checked(params), means=True)
