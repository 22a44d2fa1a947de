"""One estimator after another."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from reparam._checks import whole
from reparam.estimators.estimate import Estimate, Estimator
from reparam.model import LatentVariableModel


class Stages(nn.Module):
    """Different estimators in different parts of a training: `Stages((0, Relaxed(0.5)), (5000, RLOO(8)))`.

    A schedule inside a stage sees the step of the whole training, counted from 0. The `state_dict` holds what the
    stages with parameters of their own have learned.

    Args:
        stages: pairs of first step and estimator, in order; the first begins at 0.

    Raises:
        ValueError: steps that do not rise from 0.
        TypeError: what is no estimator.
    """

    def __init__(self, *stages: tuple[int, Estimator]) -> None:
        super().__init__()
        if not all(isinstance(stage, tuple) and len(stage) == 2 for stage in stages):
            raise TypeError(
                f"stages are {stages}; each must be a first step and an estimator: "
                "Stages((0, Relaxed(0.5)), (5000, RLOO(8)))."
            )
        self.starts = [whole("the first step of a stage", start, least=0) for start, _ in stages]
        if not self.starts or self.starts[0] != 0 or any(a >= b for a, b in pairwise(self.starts)):
            raise ValueError(
                f"the stages begin at steps {self.starts}; the first must begin at 0 and each later than the one "
                "before: Stages((0, Relaxed(0.5)), (5000, RLOO(8)))."
            )
        for _, estimator in stages:
            if isinstance(estimator, type) or not isinstance(estimator, Estimator):
                raise TypeError(f"a stage is {estimator!r}; it must be an estimator such as rp.RLOO(8).")
        self.estimators = [estimator for _, estimator in stages]
        self.owned = nn.ModuleList([e for e in self.estimators if isinstance(e, nn.Module)])

    @property
    def stages(self) -> tuple[tuple[int, Estimator], ...]:
        """The pairs of first step and estimator."""
        return tuple(zip(self.starts, self.estimators, strict=True))

    def __str__(self) -> str:
        pairs = zip(self.starts, self.estimators, strict=True)
        return f"Stages({', '.join(f'({start}, {each})' for start, each in pairs)})"

    __repr__ = __str__

    def at(self, step: int) -> Estimator:
        """The estimator of this step, its schedules fixed."""
        index = sum(start <= step for start in self.starts) - 1
        return self.estimators[index].at(step)

    def forward(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        raise ValueError("Stages is a plan over steps. Fix one first: estimator.at(step)(model, x); fit does so.")
