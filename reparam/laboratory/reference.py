"""The exact gradient of a bound, or the nearest to it that can be had."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reparam.bounds import PenalisedBound, elbo, iwae, tvo
from reparam.distributions.enumeration import MAX_STATES, joint_support
from reparam.estimators import RLOO, TVO, VIMCO, Enumerate, Estimator
from reparam.estimators.estimate import Objective, name_of
from reparam.laboratory.meter import Meter, flat
from reparam.model import LatentVariableModel


@dataclass(frozen=True, eq=False)
class Reference:
    """What an estimator is compared with.

    Attributes:
        bound: whose gradient it is.
        gradient: `[P]`; None where none could be had.
        variance: of the gradient, summed over coordinates: 0 if it is exact.
    """

    bound: str
    gradient: Tensor | None
    variance: float


class References:
    """One reference for each bound, made when it is first asked for."""

    def __init__(self, model: LatentVariableModel, x: Tensor, parameters: list[nn.Parameter], repeats: int) -> None:
        self.model = model
        self.x = x
        self.parameters = parameters
        self.repeats = repeats
        self.how: set[str] = set()
        self._made: dict[str, Reference] = {}
        try:
            self.num_states = len(joint_support(model.prior()))
        except (TypeError, ValueError):
            self.num_states = 0

    def of(self, estimator: Estimator, name: str) -> Reference:
        """The reference for an estimator whose estimates have this name."""
        objective, num_samples = _objective(estimator, name)
        key = name_of(objective) if num_samples == 1 else f"{name_of(objective)}_{num_samples}"
        if key not in self._made:
            self._made[key] = self._make(key, objective, num_samples)
        return self._made[key]

    def _make(self, key: str, objective: Objective, num_samples: int) -> Reference:
        if 0 < self.num_states**num_samples <= MAX_STATES:
            self.how.add("the exact gradient")
            loss = Enumerate(num_samples, objective)(self.model, self.x).loss
            parts = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            return Reference(key, flat(parts, self.parameters), 0.0)
        average = self._to_average(objective, num_samples)
        if average is None:
            return Reference(key, None, float("nan"))
        self.how.add(f"an average of {self.repeats} {average}")
        meter = Meter(average, self.model, self.x, self.parameters, self.repeats)
        for _ in range(self.repeats):
            meter.draw()
        return Reference(key, meter.block_means.mean(0), float(meter.variance.sum()) / self.repeats)

    def _to_average(self, objective: Objective, num_samples: int) -> Estimator | None:
        """The unbiased estimator that takes any latent."""
        if objective is elbo or isinstance(objective, PenalisedBound):
            return RLOO(16, objective)
        return VIMCO(num_samples) if objective is iwae else None


def _objective(estimator: Estimator, name: str) -> tuple[Objective, int]:
    """The bound of the exact model that an estimate of this name is nearest to, and its number of samples."""
    samples = re.search(r"_(\d+)$", name)
    if "iwae" in name and samples:
        return iwae, int(samples[1])
    if isinstance(estimator, TVO):
        return tvo(estimator.partition), int(getattr(estimator, "num_samples", 1))
    bound: Objective = getattr(estimator, "bound", elbo)
    if bound is elbo or isinstance(bound, PenalisedBound) or "elbo" in name:
        return bound, 1
    return bound, int(getattr(estimator, "num_samples", 1))
