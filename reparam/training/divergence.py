"""What to say when a loss is no longer a number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reparam.bounds import draw
from reparam.model import LatentVariableModel


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite.

    Attributes:
        step: the first step, counted from 0, whose loss was not finite.
        term: what is not finite there.
    """

    def __init__(self, step: int, loss: float, term: str) -> None:
        self.step = step
        self.term = term
        super().__init__(
            f"the loss became {loss} at step {step}: {term}. Training stopped before that step's update. "
            "Lower the learning rate, clip the gradients, or look at the batch."
        )


def name_the_term(model: LatentVariableModel, x: Tensor) -> str:
    """The first thing on the way from the parameters to the loss that is not finite."""
    if isinstance(model, nn.Module):
        for name, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                return f"parameter {name} is not finite, so an earlier gradient was not"
    if not x.isfinite().all():
        return "the batch x is not finite"
    with torch.no_grad():
        samples = draw(model, x)
        terms = {
            "the draw z ~ q(z|x)": samples.z,
            "log q(z|x)": samples.log_posterior,
            "log p(z)": samples.log_prior,
            "log p(x|z)": samples.log_likelihood,
        }
    for name, term in terms.items():
        if not term.isfinite().all():
            return f"{name} is not finite"
    return "each term of the exact bound is finite on another draw, so the estimator made it"
