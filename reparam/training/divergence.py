"""What is raised when a training has diverged."""

from __future__ import annotations


class TrainingDiverged(ArithmeticError):
    """The loss, a bound or a parameter became NaN or infinite.

    Attributes:
        step: the first step, counted from 0, whose loss or update showed it.
        loss: the loss there; NaN if there was none.
        term: what is not finite.
        restored: whether the weights were put back to good ones, those at the beginning of the epoch. False where there
            were none: the model was broken before the first step.
        weights: whose the weights are now, in words.
        remedy: what to do.
    """

    def __init__(
        self,
        step: int,
        loss: float,
        term: str,
        restored: bool,
        weights: str = "those at the beginning of this epoch",
        remedy: str = "Lower the learning rate, clip the gradients, or look at the batch.",
    ) -> None:
        self.step = step
        self.loss = loss
        self.term = term
        self.restored = restored
        self.weights = weights
        self.remedy = remedy
        super().__init__(step, loss, term, restored, weights, remedy)

    def __str__(self) -> str:
        return (
            f"training stopped at step {self.step} with loss {self.loss}: {self.term}. The model's weights are "
            f"{self.weights}. {self.remedy}"
        )
