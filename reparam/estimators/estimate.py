"""What an estimator is, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from reparam.model import LatentVariableModel


@dataclass(frozen=True, eq=False)
class Estimate:
    """One gradient step's worth: `loss == -bound.mean()`.

    Attributes:
        loss: a scalar to call `backward` on; its gradient is the estimator.
        bound: nats per example, `[B]`, without a gradient.
        name: what `bound` is a bound of: "elbo" and "iwae_5" of log p(x) under the exact model, "relaxed_elbo" of the
            relaxed model; "surrogate" is a bound of no model.
    """

    loss: Float[Tensor, ""]
    bound: Float[Tensor, B]
    name: str

    @classmethod
    def of(cls, bound: Float[Tensor, B], name: str) -> Self:
        """From a bound whose gradient is the estimator."""
        return cls(-bound.mean(), bound.detach(), name)


@runtime_checkable
class Estimator(Protocol):
    """A way to get the gradient of a bound: a callable from model and batch to an `Estimate`."""

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate: ...

    def at(self, step: int) -> Estimator:
        """This estimator with its schedules fixed at a training step; itself if it has none."""
        ...
