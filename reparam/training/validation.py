"""Validation while training: the exact bound, the best so far, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reparam._checks import choice, whole
from reparam.batches import AnyData
from reparam.evaluation import evaluate
from reparam.measurement import Evaluation, Measurement
from reparam.model import LatentVariableModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, eq=False)
class Validation:
    """Measures the exact bound on data apart, to choose the best weights by and to stop early.

    It is the bound of the model as it is, hard latents and all, whatever the estimator's loss is a bound of. Its noise
    is the same each time, and no random number of the training is used up.

    Args:
        data: what `evaluate` takes.
        every: epochs from one measurement to the next; the last epoch is always measured.
        num_samples: K draws of z for each example.
        bound: "elbo", or "iwae" with these K samples: what is compared.
        patience: measurements in a row without a better bound after which training stops; None to go on.
    """

    data: AnyData
    every: int = 1
    num_samples: int = 8
    bound: Literal["elbo", "iwae"] = "elbo"
    patience: int | None = None

    def __post_init__(self) -> None:
        whole("every", self.every)
        whole("num_samples", self.num_samples)
        choice("bound", self.bound, ("elbo", "iwae"))
        if self.patience is not None:
            whole("patience", self.patience, remedy="None goes on to the last epoch.")

    @property
    def name(self) -> str:
        """What is compared: "elbo" or "iwae_8"."""
        return self.bound if self.bound == "elbo" else f"iwae_{self.num_samples}"

    def measure(self, model: LatentVariableModel, fabric: Fabric | None = None) -> Evaluation:
        """The bounds of the model as it stands; the processes of `fabric` share the examples."""
        return evaluate(model, self.data, num_samples=self.num_samples, fabric=fabric)

    def compared(self, found: Evaluation) -> Measurement:
        """The one that counts."""
        return found.elbo if self.bound == "elbo" else found.iwae
