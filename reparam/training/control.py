"""What else is adjusted at each step: the learning rate, and the estimator's own parameters."""

from __future__ import annotations

import torch
from torch import nn

from reparam._checks import number
from reparam.estimators import Estimate, Estimator
from reparam.inspection import device_and_dtype
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule


def follow(optimizer: torch.optim.Optimizer, lr: float | Schedule, step: int) -> None:
    """Sets the learning rate that a schedule gives for this step; a number has been set already."""
    if not callable(lr):
        return
    rate = number(f"the learning rate that the schedule gives for step {step}", lr(step))
    if rate < 0:
        raise ValueError(f"the learning rate that the schedule gives for step {step} is {rate}; it must be at least 0.")
    for group in optimizer.param_groups:
        group["lr"] = rate


class Control:
    """The estimator's own parameters, if it has any: they follow its own loss, and the model never sees that."""

    def __init__(self, estimator: Estimator, model: LatentVariableModel, lr: float) -> None:
        self.estimator = estimator
        self.parameters: list[nn.Parameter] = []
        if isinstance(estimator, nn.Module):
            estimator.to(*device_and_dtype(model))
            self.parameters = [p for p in estimator.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr) if self.parameters else None

    def step(self, estimate: Estimate) -> None:
        """One step of Adam down `estimate.control_loss`."""
        if self.optimizer is None or estimate.control_loss is None:
            return
        self.optimizer.zero_grad()
        estimate.control_loss.backward(inputs=self.parameters)
        self.optimizer.step()
