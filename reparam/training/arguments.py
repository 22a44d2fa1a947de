"""Arguments of `fit` that would train something else than the caller meant."""

from __future__ import annotations

import warnings
from weakref import WeakKeyDictionary

from torch import nn

from reparam.adam import AnyOptimizer
from reparam.batches import ForeignBatches
from reparam.data import Batches
from reparam.estimators import Estimator
from reparam.inspection import modules_of
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule

_steps_done: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # by model, for the warning of `first_step` alone


def check_trained_by(optimizer: AnyOptimizer | None, model: LatentVariableModel, lr: float | Schedule | None) -> None:
    """Refuses an optimizer that trains no parameter of the model, and a learning rate that it would not follow.

    Raises:
        ValueError: the optimizer holds no trainable parameter of the model; `lr` is another number than its rate.
    """
    if optimizer is None:
        return
    if lr is not None and not callable(lr) and lr != rate_of(optimizer):
        raise ValueError(
            f"lr is {lr} beside an optimizer, whose own learning rate is {rate_of(optimizer)}. Give the number to the "
            "optimizer and leave lr out; a schedule as lr is followed by any optimizer."
        )
    held = {id(parameter) for module in modules_of(model) for parameter in module.parameters(recurse=False)}
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if held and not any(id(parameter) in held and parameter.requires_grad for parameter in given):
        raise ValueError(
            f"the optimizer {type(optimizer).__name__} holds {len(given)} parameters, and none of them is a trainable "
            "parameter of this model. Make it of the model that you pass, after any copy: "
            "torch.optim.Adam(model.parameters())."
        )


def rate_of(optimizer: AnyOptimizer) -> float | list[float]:
    """The learning rate of an optimizer, or one for each of its groups where they differ."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return rates[0] if len(set(rates)) == 1 else rates


def check_batch_norm(model: LatentVariableModel, batches: Batches | ForeignBatches, world: int) -> None:
    """Refuses a batch of one example for a model with batch norm over vectors, before an epoch is spent on the way.

    Raises:
        ValueError: the shortest batch leaves a process one example, of which batch norm knows no variance.
    """
    if isinstance(batches, ForeignBatches) or not 0 < batches.fewest < 2 * world:
        return
    name = training_batch_norm(model, nn.BatchNorm1d)
    if name is not None:
        remedy = "Pass drop_last=True, or another batch_size."
        raise ValueError(
            f"{len(batches.data)} examples in batches of {batches.batch_size} on {world} process(es) leave a batch of "
            f"one example, and the batch norm {name} needs two for a variance. "
            f"{'Raise batch_size.' if batches.fewest == batches.batch_size else remedy}"
        )


def training_batch_norm(model: LatentVariableModel, *kinds: type[nn.Module]) -> str | None:
    """The name of a batch norm in training mode, of one of these kinds or any; None if the model has no such module."""
    for part in modules_of(model):
        for name, module in part.named_modules():
            if isinstance(module, kinds or nn.modules.batchnorm._BatchNorm) and module.training:
                return name or type(module).__name__
    return None


def first_step(
    model: LatentVariableModel, start_step: int | None, lr: float | Schedule | None, estimator: Estimator
) -> int:
    """The step that schedules start from; warns where a second call of `fit` restarts them unasked."""
    if start_step is not None:
        return start_step
    try:
        done = _steps_done.get(model, 0)
    except TypeError:  # an object without a hash
        done = 0
    if done and (callable(lr) or estimator.at(0) is not estimator):
        warnings.warn(
            f"fit has trained this model for {done} steps before, and the schedules start again from step 0. Pass "
            f"start_step={done} to continue them, or start_step=0 to restart them.",
            stacklevel=3,
        )
    return 0


def note_steps(model: LatentVariableModel, steps: int) -> None:
    """Remembers how far `fit` has trained a model, for as long as the model lives."""
    try:
        _steps_done[model] = steps
    except TypeError:  # an object without a hash or a weak reference: no warning for it
        return
