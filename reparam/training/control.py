"""What else is adjusted at each step: the learning rate, and the estimator's own parameters."""

from __future__ import annotations

from torch import Tensor, nn

from reparam._checks import number
from reparam.adam import AnyOptimizer, adam_for
from reparam.estimators import Estimator
from reparam.inspection import device_and_dtype, modules_of
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.training.place import Place


def follow(optimizer: AnyOptimizer, lr: float | Schedule | None, step: int) -> None:
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
        self.optimizer = adam_for(self.parameters, lr) if self.parameters else None

    @property
    def state(self) -> list[Tensor]:
        """What it has learned and averaged."""
        return [tensor for module in modules_of(self.estimator) for tensor in (*module.parameters(), *module.buffers())]

    def step(self, control_loss: Tensor | None, weight: float = 1.0, place: Place | None = None) -> None:
        """One step of Adam down the control loss; of several ranks down its mean, this rank's counting `weight`."""
        shared = place if place is not None and place.world > 1 else None
        if shared is not None:
            self._average(shared, weight)
        if self.optimizer is None or control_loss is None:
            return
        for parameter in self.parameters:
            parameter.grad = None
        control_loss.backward(inputs=self.parameters)
        if shared is not None:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad = shared.sum(parameter.grad * weight) / shared.world
        self.optimizer.step()

    def _average(self, place: Place, weight: float) -> None:
        """Running averages have followed each its rank's batch: their mean is that which followed the whole one."""
        for module in modules_of(self.estimator):
            for buffer in module.buffers(recurse=False):
                if buffer.is_floating_point():
                    buffer.copy_(place.sum(buffer * weight) / place.world)
