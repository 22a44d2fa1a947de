"""What to do and say when a loss is no longer a number."""

from __future__ import annotations

import torch

from reparam.inspection import modules_of
from reparam.model import LatentVariableModel


class TrainingDiverged(ArithmeticError):
    """The loss or a parameter became NaN or infinite.

    Attributes:
        step: the first step, counted from 0, where that was so.
        loss: the loss there.
        term: what is not finite.
        restored: whether the weights had to be put back to those at the beginning of the epoch.
    """

    def __init__(self, step: int, loss: float, term: str, restored: bool) -> None:
        self.step = step
        self.loss = loss
        self.term = term
        self.restored = restored
        super().__init__(step, loss, term, restored)

    def __str__(self) -> str:
        kept = "those at the beginning of this epoch" if self.restored else "those before this step"
        return (
            f"training stopped at step {self.step} with loss {self.loss}: {self.term}. The model's weights are {kept}. "
            + (
                "Look at the batch and the scale of its values: counts go through log1p before an encoder."
                if self.step == 0
                else "Lower the learning rate, clip the gradients, or look at the batch."
            )
        )


class Snapshot:
    """The weights and buffers of a model, and of an estimator that has its own, at one moment, to go back to."""

    def __init__(self, model: LatentVariableModel, estimator: object = None) -> None:
        self.parts = (model, estimator)
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in self._live()]

    def _live(self) -> list[torch.Tensor]:
        modules = [module for part in self.parts for module in modules_of(part)]
        parts = [(*module.parameters(recurse=False), *module.buffers(recurse=False)) for module in modules]
        return [tensor for part in parts for tensor in part]

    def restore_if_broken(self) -> bool:
        """Puts the weights back if one of them is not finite now; says whether it did."""
        if not any(bool((saved.isfinite() & ~tensor.isfinite()).any()) for tensor, saved in self.tensors):
            return False
        with torch.no_grad():
            for tensor, saved in self.tensors:
                tensor.copy_(saved)
        return True
