"""The exact gradient of a bound, or the nearest to it that can be had."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from reparam.bounds import PenalisedBound, elbo, iwae, tvo
from reparam.distributions.enumeration import MAX_STATES, joint_support
from reparam.estimators import RLOO, TVO, VIMCO, Enumerate, Estimator
from reparam.estimators.estimate import Objective, name_of
from reparam.laboratory.exact import importance_weighted, thermodynamic
from reparam.laboratory.meter import Meter, flat
from reparam.model import LatentVariableModel


@dataclass(frozen=True, eq=False)
class Reference:
    """What an estimator is compared with.

    Attributes:
        bound: whose gradient it is.
        blocks: means of independent parts of a long average, `[J, P]`; one row if the gradient is exact; None where
            none could be had.
    """

    bound: str
    blocks: Tensor | None

    @property
    def gradient(self) -> Tensor | None:
        """The gradient, `[P]`."""
        return None if self.blocks is None else self.blocks.mean(0)


class References:
    """One reference for each bound, made when it is first asked for."""

    def __init__(self, model: LatentVariableModel, x: Tensor, parameters: list[nn.Parameter], repeats: int) -> None:
        self.model = model
        self.x = x
        self.parameters = parameters
        self.repeats = repeats
        self.how: set[str] = set()
        self._made: dict[tuple[Objective, int], Reference] = {}
        try:
            self.num_states = len(joint_support(model.prior()))
        except (TypeError, ValueError, NotImplementedError):  # torch lists no states of Binomials of different counts
            self.num_states = 0

    def of(self, estimator: Estimator, name: str) -> Reference:
        """The reference for an estimator whose estimates have this name."""
        target = _target(estimator, name)
        if target not in self._made:
            self._made[target] = self._make(*target)
        return self._made[target]

    def _make(self, objective: Objective, num_samples: int) -> Reference:
        name = name_of(objective) if num_samples == 1 else f"{name_of(objective)}_{num_samples}"
        loss = self._exact_loss(objective, num_samples)
        if loss is not None:
            self.how.add("the exact gradient")
            whole = isinstance(objective, PenalisedBound)  # of free bits the batch is one piece
            return Reference(name, self._over_chunks(loss, whole=whole).unsqueeze(0))
        average = self._to_average(objective, num_samples)
        if average is None:
            return Reference(name, None)
        self.how.add(f"an average of {self.repeats} {average}")
        meter = Meter(average, self.model, self.x, self.parameters, self.repeats)
        for _ in range(self.repeats):
            meter.draw()
        return Reference(name, meter.block_means)

    def _exact_loss(self, objective: Objective, num_samples: int) -> Callable[[Tensor], Tensor] | None:
        """Minus the expectation of the bound, if the latent's states can be summed up."""
        if self.num_states and isinstance(objective, tvo):
            return partial(thermodynamic, objective, self.model)
        if self.num_states and objective is iwae:
            return partial(importance_weighted, num_samples, self.model)
        if 0 < self.num_states**num_samples <= MAX_STATES:
            exact = Enumerate(num_samples, objective)
            return lambda x: exact(self.model, x).loss
        return None

    def _over_chunks(self, loss: Callable[[Tensor], Tensor], *, whole: bool = False) -> Tensor:
        """The gradient of a mean over the batch, a few examples at a time: every state of each is decoded."""
        size = len(self.x) if whole else max(1, MAX_STATES // self.num_states)
        total = torch.zeros(sum(p.numel() for p in self.parameters), dtype=torch.float64, device=self.x.device)
        for x in self.x.split(size):
            parts = torch.autograd.grad(loss(x), self.parameters, allow_unused=True)
            total += flat(parts, self.parameters) * (len(x) / len(self.x))
        return total

    def _to_average(self, objective: Objective, num_samples: int) -> Estimator | None:
        """The unbiased estimator that takes any latent."""
        if objective is elbo or isinstance(objective, PenalisedBound):
            return RLOO(16, objective)
        return VIMCO(num_samples) if objective is iwae else None


def _target(estimator: Estimator, name: str) -> tuple[Objective, int]:
    """The bound of the exact model whose gradient an estimator is after, and its number of samples."""
    if isinstance(estimator, TVO):
        return tvo(estimator.partition), 1
    named = re.search(r"iwae_(\d+)$", name)
    bound: Objective = getattr(estimator, "bound", iwae if named else elbo)
    num_samples = int(named[1]) if named else int(getattr(estimator, "num_samples", 1))
    if bound is elbo or isinstance(bound, PenalisedBound):
        return bound, 1
    return (elbo, 1) if bound is iwae and num_samples == 1 else (bound, num_samples)
