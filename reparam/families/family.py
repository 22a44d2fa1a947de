"""Families: a real vector in, a torch `Distribution` out. The same noun serves as latent and as observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from reparam._checks import Shape
from reparam._checks import shape as check_shape
from reparam._tensors import HALF, memo, widened
from reparam.distributions import Rounded


class Family(ABC):
    """Maps `[..., num_params]` real numbers to a distribution with batch shape `[...]` and event shape `event_shape`.

    Law: zero parameters give the standard member (N(0, 1), Bernoulli(1/2), uniform), which is the default prior.

    Parameters in float16 or bfloat16 are computed with in float32, and draws come back in the dtype of the parameters,
    so that a network in 16 bits can read them. Log-probabilities and divergences are in at least float32.

    Attributes:
        event_shape: shape of one draw.
        num_params: how many real numbers fix one member: the width of a network's output.
        location_only: whether every parameter is a location in the space of the draws, so that a network may limit it.
    """

    event_shape: torch.Size
    num_params: int
    # whether `_distribution` takes 16-bit parameters as they are; its distribution or family then computes in float32
    takes_half: bool = False

    @property
    def location_only(self) -> bool:
        """False, unless a family says otherwise."""
        return False

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
        return self._made(self._distribution, params)

    def likelihood(self, params: Float[Tensor, "*batch num_params"]) -> Distribution:
        """The member with these parameters in the role of p(x|z); the same as calling the family, unless data differ
        from draws (`Bernoulli` pixels may be grey)."""
        return self(params)

    def standard(self, zeros: Float[Tensor, "num_params"]) -> Distribution:
        """The default prior, without batch axes: the member of zero parameters, unless a simpler one equals it."""
        return self(zeros)

    @memo
    def member(self) -> Distribution:
        """The standard member as an example of what all members have in common: `has_rsample`, `support`."""
        like = next(self.parameters(), None) if isinstance(self, nn.Module) else None
        with torch.no_grad():
            return self(torch.zeros(self.num_params, device="cpu") if like is None else like.new_zeros(self.num_params))

    def features(self, z: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch num_features"]:
        """A draw `[..., *event_shape]` as the flat numbers `[..., num_features]` that a network reads."""
        return z.flatten(-len(self.event_shape))

    def _fix(self, event_shape: torch.Size, num_params: int) -> None:
        """Sets what follows from the arguments, once, past the freezing of a dataclass."""
        object.__setattr__(self, "event_shape", event_shape)
        object.__setattr__(self, "num_params", num_params)

    def _made(self, make: Callable[[Tensor], Distribution], params: Tensor) -> Distribution:
        """What `make` makes of the parameters. Of 16-bit ones it is made in float32, and its draws are rounded."""
        params = self._checked(params)
        if params.dtype not in HALF or self.takes_half:
            return make(params)
        return Rounded(make(widened(params)), params.dtype)

    def _checked(self, params: Tensor) -> Tensor:
        if params.shape[-1:] != (self.num_params,):
            raise ValueError(
                f"{self} takes {self.num_params} parameters on the last axis and received shape {tuple(params.shape)}. "
                f"Let the network end in {self.num_params} outputs: the family's num_params."
            )
        return params


def shaped(params: Tensor, event_shape: torch.Size) -> Tensor:
    """The last axis as `event_shape`; no view is made of what is flat already, as each costs time in every step."""
    return params if len(event_shape) == 1 else params.unflatten(-1, event_shape)


@dataclass(frozen=True)
class PerElement(Family):
    """Independent numbers, each with a few raw parameters: all of the first kind, then all of the second.

    Attributes:
        params_each: how many raw parameters one number has.
    """

    shape: Shape
    params_each: ClassVar[int] = 2

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, self.params_each * event_shape.numel())

    @abstractmethod
    def _element(self, *raw: Tensor) -> Distribution:
        """The distribution of each number, from its raw parameters in the shape of the event."""

    def _distribution(self, params: Tensor) -> Distribution:
        raw = (shaped(part, self.event_shape) for part in params.chunk(self.params_each, -1))
        return Independent(self._element(*raw), len(self.event_shape), validate_args=False)
