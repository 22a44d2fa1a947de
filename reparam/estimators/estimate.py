"""What an estimator is, and what it returns."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from reparam._checks import number, positive, whole
from reparam._spelling import public
from reparam._tensors import at_least_float32
from reparam.bounds import Bound, PenalisedBound, elbo
from reparam.draws import Draw
from reparam.families import Family
from reparam.model import LatentVariableModel
from reparam.relaxation import is_relaxed
from reparam.schedules import Schedule

Objective = Bound | PenalisedBound
E = TypeVar("E")


@dataclass(frozen=True, eq=False)
class Estimate:
    """One gradient step's worth: `loss == -bound.mean()`.

    Attributes:
        loss: a scalar to call `backward` on; its gradient is the estimator.
        bound: nats per example, `[B]`, without a gradient.
        name: what `bound` is a bound of: "elbo" and "iwae_5" of log p(x) under the exact model, "relaxed_elbo" of the
            relaxed model; "surrogate" is a bound of no model, "beta_elbo_4" and "free_bits_0.5" are what they say. A
            number at the end of the name of a bound of weights is that of its samples: "renyi_0.5_8", "tvo_3_8".
        control_loss: a scalar for the estimator's own parameters, if it has any: call
            `control_loss.backward(inputs=list(estimator.parameters()))`, as `fit` does, before the model's optimiser
            takes its step. It leaves the model alone; never add it to `loss`.
    """

    loss: Float[Tensor, ""]
    bound: Float[Tensor, "B"]
    name: str
    control_loss: Float[Tensor, ""] | None = None

    @staticmethod
    def of(bound: Float[Tensor, "B"], name: str, control_loss: Tensor | None = None) -> Estimate:
        """From a bound whose gradient is the estimator."""
        return Estimate(-bound.mean(), bound.detach(), name, control_loss)


@runtime_checkable
class Estimator(Protocol):
    """A way to get the gradient of a bound: a callable from model and batch to an `Estimate`."""

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate: ...

    def at(self, step: int) -> Estimator:
        """This estimator with its schedules fixed at a training step; itself if it has none."""
        ...


def in_use(estimator: Estimator) -> dict[str, float]:
    """What a training logs of any estimator: what its own `in_use` says, or its temperature."""
    said = getattr(estimator, "in_use", None)
    found: dict[str, float] = said() if said is not None else Scheduled.in_use(cast(Any, estimator))
    return found


class Scheduled:
    """The common part of estimators: arguments that may be schedules, and `at`, which fixes them."""

    def at(self: E, step: int) -> E:
        """This estimator with its schedules fixed at a training step; itself if it has none."""
        changes: dict[str, Any] = {}
        for name in _SCHEDULABLE:
            value = getattr(self, name, None)
            if name == "bound":
                if isinstance(value, PenalisedBound) and value.at(step) != value:
                    changes[name] = value.at(step)
            elif callable(value):
                what = f"the {name.replace('_', ' ')} that the schedule gives for step {step}"
                if name == "num_samples":
                    changes[name] = whole(what, round(number(what, value(step))))
                else:
                    changes[name] = positive(what, value(step))
        if not changes:
            return self
        if is_dataclass(self):
            fixed_fields: E = replace(cast(Any, self), **changes)
            return fixed_fields
        fixed = copy.copy(self)  # of a module: the parameters and buffers are shared
        for name, value in changes.items():
            setattr(fixed, name, value)
        return fixed

    def in_use(self) -> dict[str, float]:
        """The numbers a training logs of an estimator that `at` has fixed: its temperature, if it has one."""
        temperature = getattr(self, "temperature", None)
        return {"temperature": float(temperature)} if isinstance(temperature, float | int) else {}

    def __str__(self) -> str:
        """The name, with the temperature, the number of samples if it need not be 1, and what is not the default."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        given = [(p.name, getattr(self, p.name, p.default), p.default) for p in parameters if p.name != "self"]
        shown = [
            f"{name}={name_of(value) if callable(value) else repr(value)}"
            for name, value, default in given
            if not isinstance(value, nn.Module | Tensor)
            and (value != default or name == "temperature" or (name == "num_samples" and default != 1))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    __repr__ = __str__


_SCHEDULABLE = ("temperature", "num_samples", "bound")


@dataclass(frozen=True, repr=False)
class OfElbo(Scheduled):
    """The common part of estimators that draw K times and estimate the gradient of the ELBO or a penalised bound."""

    num_samples: int | Schedule = 1
    bound: Objective = elbo

    def __post_init__(self) -> None:
        check_samples(self.num_samples)
        check_elbo(self.bound, type(self).__name__)


def _is_function(value: object) -> bool:
    """Whether a value is a schedule or a bound; a family, a network and a class can be called too, and are neither."""
    return callable(value) and not isinstance(value, type | Family | nn.Module)


def check_samples(num_samples: int | Schedule, *, least: int = 1, remedy: str = "") -> None:
    """Refuses a number of samples that is neither a whole number nor a schedule."""
    if not _is_function(num_samples):
        whole("num_samples", num_samples, least=least, remedy=remedy)


def fixed_samples(num_samples: int | Schedule) -> int:
    """The number of samples, unless it is a schedule still."""
    if callable(num_samples):
        raise ValueError("num_samples is a schedule. Fix it first: estimator.at(step)(model, x); fit does so.")
    return num_samples


def check_temperature(temperature: float | Schedule) -> None:
    """Refuses a temperature that is neither a number above 0 nor a schedule."""
    if not _is_function(temperature):
        positive("temperature", temperature, remedy="0.5 is a usual choice; lower is nearer to discrete.")


def fixed_temperature(temperature: float | Schedule) -> float:
    """The temperature, unless it is a schedule still."""
    if callable(temperature):
        raise ValueError("the temperature is a schedule. Fix it first: estimator.at(step)(model, x); fit does so.")
    return temperature


def check_bound(bound: object) -> None:
    """Refuses what cannot be called on log-weights."""
    if not _is_function(bound):
        raise TypeError(
            f"bound is {bound!r}; it must be a function of log-weights [K, B], such as rp.elbo, rp.iwae, rp.renyi(0.5)."
        )


def check_elbo(bound: object, estimator: str) -> None:
    """Refuses another bound than the ELBO and its penalised relatives."""
    check_bound(bound)
    if bound is not elbo and not isinstance(bound, PenalisedBound):
        raise ValueError(
            f"bound is {name_of(bound)}; {estimator} estimates the gradient of elbo, beta_elbo or free_bits. "
            "For iwae take VIMCO, or Pathwise where the latent has an rsample."
        )


def name_of(bound: object) -> str:
    """What to call a bound."""
    return getattr(bound, "__name__", None) or str(bound)


def weighed(bound: Bound, samples: Draw) -> Tensor:
    """The bound of these samples' log-weights, if it is one number for each example."""
    values = bound(samples.log_weight)
    if values.shape != samples.x.shape[:1]:
        raise ValueError(
            f"the bound {name_of(bound)} made {tuple(values.shape)} of log-weights {tuple(samples.log_weight.shape)}; "
            f"it must map [K, B] to [B]. Reduce the first axis, as {public('iwae')} does."
        )
    return values


def bound_name(bound: Objective, samples: Draw, num_samples: int | None = None) -> str:
    """What `Estimate.name` is for a bound of these samples: "elbo", "iwae_50", "relaxed_elbo"."""
    name = name_of(bound)
    if bound is not elbo and not isinstance(bound, PenalisedBound):
        name = f"{name}_{num_samples or len(samples.z)}"
    return f"relaxed_{name}" if is_relaxed(samples.prior) else name


def signal_and_rest(bound: Objective, samples: Draw) -> tuple[Tensor, Tensor | float]:
    """A bound as `E_q[signal] + rest`: signal `[K, B]`, rest `[B]`.

    The ELBO's signal is the log-weight; as `E[grad log q] = 0`, log q has no gradient in it. A penalised bound's is the
    log-likelihood, and its rest is in closed form.
    """
    if isinstance(bound, PenalisedBound):
        return samples.log_likelihood, -penalty(bound, samples)
    return samples.log_likelihood + samples.log_prior - samples.log_posterior.detach(), 0.0


def one_number_each(network: nn.Module, inputs: Tensor, of_what: str) -> Tensor:
    """What a network makes of each row, in at least float32, if it is one number."""
    try:
        values: Tensor = network(inputs)
    except RuntimeError as error:
        raise ValueError(
            f"the network of {of_what} cannot take inputs of shape {tuple(inputs.shape)} and {inputs.dtype} "
            f"({str(error).splitlines()[0]}). Give it that width, and the model's precision: estimator.to(dtype)."
        ) from error
    if values.numel() != len(inputs):
        raise ValueError(
            f"the network of {of_what} made {tuple(values.shape)} of {len(inputs)} rows; it must give one number each. "
            "Let it end in one output."
        )
    return at_least_float32(values)


def penalty(bound: Objective, samples: Draw) -> Tensor:
    """What the closed-form KL costs under this bound, `[B]`."""
    try:
        return bound.penalty(samples.kl_by_variable) if isinstance(bound, PenalisedBound) else samples.kl
    except NotImplementedError as error:
        raise ValueError(
            f"{name_of(bound)} needs the KL in closed form here, and {str(error).rstrip('.')}. Use "
            f"bound={public('elbo')} with an estimator that samples the KL: RLOO for any latent, DisARM for bits, "
            "DisARMTree for symbols, Pathwise(kl='sampled') for one with rsample, Relaxed(kl='relaxed') for layers of "
            "bits and symbols."
        ) from error
