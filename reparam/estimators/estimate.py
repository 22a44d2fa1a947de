"""What an estimator is, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from reparam.bounds import Bound, Draw, elbo
from reparam.model import LatentVariableModel
from reparam.relaxation import is_relaxed


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
    bound: Float[Tensor, "B"]
    name: str

    @staticmethod
    def of(bound: Float[Tensor, "B"], name: str) -> Estimate:
        """From a bound whose gradient is the estimator."""
        return Estimate(-bound.mean(), bound.detach(), name)


@runtime_checkable
class Estimator(Protocol):
    """A way to get the gradient of a bound: a callable from model and batch to an `Estimate`."""

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate: ...

    def at(self, step: int) -> Estimator:
        """This estimator with its schedules fixed at a training step; itself if it has none."""
        ...


def weighed(bound: Bound, samples: Draw) -> Tensor:
    """The bound of these samples' log-weights, if it is one number for each example."""
    values = bound(samples.log_weight)
    if values.shape != samples.x.shape[:1]:
        raise ValueError(
            f"the bound {name_of(bound)} made {tuple(values.shape)} of log-weights {tuple(samples.log_weight.shape)}; "
            "it must map [K, B] to [B]. Reduce the first axis, as rp.iwae does."
        )
    return values


def name_of(bound: Bound) -> str:
    """What to call a bound."""
    return getattr(bound, "__name__", type(bound).__name__)


def bound_name(bound: Bound, samples: Draw) -> str:
    """What `Estimate.name` is for a bound of these samples: "elbo", "iwae_50", "relaxed_elbo"."""
    name = name_of(bound) if bound is elbo else f"{name_of(bound)}_{len(samples.z)}"
    return f"relaxed_{name}" if is_relaxed(samples.prior) else name


def check_bound(bound: object) -> None:
    """Refuses what cannot be called on log-weights."""
    if not callable(bound):
        raise TypeError(f"bound is {bound!r}; it must be a function of log-weights [K, B], such as rp.elbo or rp.iwae.")
