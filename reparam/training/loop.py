"""fit: the training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reparam._checks import positive, whole
from reparam.batches import AnyData, ForeignBatches, batches_for
from reparam.estimators import Estimate, Estimator
from reparam.inspection import broken_parameter, device_and_dtype, modes_kept, not_finite
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.training.control import Control, follow
from reparam.training.divergence import Snapshot, TrainingDiverged
from reparam.training.progress import progress


@dataclass(frozen=True)
class Epoch:
    """One finished pass over the training data.

    Attributes:
        number: counted from 1.
        loss: mean over the examples of the loss at the time each was visited, in nats.
        name: what the loss is the negative of: "elbo", "surrogate", ...
        steps: optimiser steps since the beginning of the fit.
        seconds: this pass took, without `on_epoch`.
        estimator: with its schedules as they stand now.
    """

    number: int
    loss: float
    name: str
    steps: int
    seconds: float
    estimator: Estimator


def fit(
    model: LatentVariableModel,
    estimator: Estimator,
    data: AnyData,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float | Schedule = 1e-3,
    control_lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> list[Epoch]:
    """Trains `model` in place, on the device it is on.

    The order of the examples and the latents come from torch's random numbers: `torch.manual_seed` before building the
    model makes a run repeat to the last digit on the same machine and number of threads.

    Args:
        model: an `nn.Module`, or anything with the three methods if you pass an `optimizer`. If it is in eval mode it
            is put in training mode meanwhile; parts of a training model that you froze in eval mode stay so.
        estimator: how to get the gradient; its schedules follow the step, counted from 0. One with parameters of its
            own (`NVIL`, `REBAR`, `RELAX`) is moved to the model's device and learns them meanwhile.
        data: `Data`, a tensor or an array (kept on the device, shuffled at every epoch), or an iterable of batches,
            such as a `DataLoader`, that can be gone over again (of a tuple the first element is x).
        epochs: passes over the data.
        batch_size: examples a step; an iterable of batches brings its own.
        lr: learning rate of the default optimiser, Adam; or a schedule of the step, such as
            `cosine(3e-3, num_steps=4690, warmup=500)`, which a given `optimizer` follows too.
        control_lr: learning rate of the Adam that fits the estimator's own parameters by its `control_loss`.
        optimizer: instead of it, over the parameters you choose.
        on_epoch: called with an `Epoch` after each pass: the place for pictures, tests, your own schedule.

    Returns:
        The epochs.

    Raises:
        TypeError, ValueError: arguments or data that cannot be trained on; the message says what to do.
        TrainingDiverged: the loss or a parameter became NaN or infinite; the message names the step and the term. The
            model is left with finite weights: those before that step, or those at the beginning of the epoch.
    """
    whole("epochs", epochs)
    if not callable(lr):
        positive("lr", lr)
    positive("control_lr", control_lr)
    for name, value, kind in (("estimator", estimator, Estimator), ("optimizer", optimizer, torch.optim.Optimizer)):
        if isinstance(value, type) or not (value is None or isinstance(value, kind)):
            raise TypeError(f"{name} is {value!r}; it must be an instance such as {_SUCH_AS[name]}.")
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(f"on_epoch is {on_epoch!r}; it must be a function of an Epoch.")
    batches = batches_for(model, data, batch_size, shuffle=True)
    if isinstance(batches, ForeignBatches) and batches.once_only and epochs > 1:
        raise ValueError(
            f"data is an iterator, which can be gone over once, and epochs is {epochs}. Pass a list, a DataLoader, "
            "or any iterable that begins anew, or epochs=1."
        )
    optimizer = optimizer or _adam(model, 1e-3 if callable(lr) else lr)
    control = Control(estimator, model, control_lr)
    history: list[Epoch] = []
    steps = 0
    with modes_kept(model):
        if isinstance(model, nn.Module) and not model.training:
            model.train()
        for number in range(1, epochs + 1):
            started = time.perf_counter()
            run = _Pass(model, optimizer, control, steps)
            for x in progress(batches, f"epoch {number}/{epochs}", run.status):
                follow(optimizer, lr, steps)
                run.step(estimator.at(steps), x)
                steps += 1
            loss = run.finish()
            epoch = Epoch(number, loss, run.name, steps, time.perf_counter() - started, estimator.at(steps))
            history.append(epoch)
            if on_epoch is not None:
                with modes_kept(model):
                    on_epoch(epoch)
    return history


_SUCH_AS = {"estimator": "rp.Pathwise() or rp.RLOO(4)", "optimizer": "torch.optim.Adam(model.parameters())"}


class _Pass:
    """One epoch's bookkeeping: losses stay on the device, and are looked at there as rarely as it is safe."""

    def __init__(
        self, model: LatentVariableModel, optimizer: torch.optim.Optimizer, control: Control, first_step: int
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.control = control
        self.first_step = first_step
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.name = ""
        self.x: Tensor | None = None
        # Reading a number off an accelerator waits for it; on the CPU it is free, so there every step is looked at.
        self.check_every = 1 if device_and_dtype(model)[0].type == "cpu" else 50
        self.safe = Snapshot(model, control.estimator)

    def step(self, estimator: Estimator, x: Tensor) -> None:
        try:
            estimate: Estimate = estimator(self.model, x)
        except ValueError as error:  # a model whose distributions validate meets its NaN parameters here
            if broken_parameter(self.model) is None:
                raise
            raise self._diverged(len(self.losses), math.nan, x) from error
        self.losses.append(estimate.loss.detach())
        self.sizes.append(len(x))
        self.name, self.x = estimate.name, x
        if len(self.losses) % self.check_every == 0:
            self._check_losses()
        self.control.step(estimate)
        self.optimizer.zero_grad()
        estimate.loss.backward()
        self.optimizer.step()

    def _check_losses(self) -> None:
        recent = self.losses[-self.check_every :]
        values = torch.stack(recent).tolist() if len(recent) > 1 else [recent[0].item()]
        for index, value in enumerate(values, len(self.losses) - len(recent)):
            if not math.isfinite(value):
                raise self._diverged(index, value, self.x)

    def _diverged(self, index: int, loss: float, x: Tensor | None) -> TrainingDiverged:
        term = "" if x is None else not_finite(self.model, x)
        return TrainingDiverged(self.first_step + index, loss, term, self.safe.restore_if_broken())

    def status(self) -> str:
        return f"{self.name} loss {self.losses[-1].item():.2f}" if self.losses else ""

    def finish(self) -> float:
        """The mean loss over the examples of this pass."""
        if not self.losses:
            raise ValueError(
                "the data gave no batch. An empty loader, a drop_last with fewer examples than a batch, or an iterator "
                "that was gone over before: pass one that yields batches."
            )
        self._check_losses()
        if broken_parameter(self.model) is not None:
            raise self._diverged(len(self.losses) - 1, self.losses[-1].item(), self.x)
        losses = torch.stack(self.losses).cpu().double()
        return float(losses @ torch.tensor(self.sizes, dtype=torch.float64)) / sum(self.sizes)


def _adam(model: LatentVariableModel, lr: float) -> torch.optim.Optimizer:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"the model is a {type(model).__name__}, not an nn.Module, so its parameters are not known. "
            "Make it an nn.Module, or pass optimizer=torch.optim.Adam(your_parameters)."
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient, so there is nothing to train.")
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.Adam(parameters, lr=lr, fused=fused)
