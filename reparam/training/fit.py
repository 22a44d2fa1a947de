"""fit: the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam._checks import positive, whole
from reparam.data import Data, as_batch, as_data
from reparam.estimators import Estimate, Estimator
from reparam.evaluation import check_data, device_and_dtype
from reparam.model import LatentVariableModel
from reparam.training.divergence import TrainingDiverged, name_the_term
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
    data: Data | Tensor | np.ndarray[Any, Any] | Iterable[Any],
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> list[Epoch]:
    """Trains `model` in place, on the device it is on.

    The order of the examples and the latents come from torch's random numbers: `torch.manual_seed` before building the
    model makes a run repeat to the last digit on the same machine and number of threads.

    Args:
        model: an `nn.Module`, or anything with the three methods if you pass an `optimizer`.
        estimator: how to get the gradient; its schedules follow the step, counted from 0.
        data: `Data`, a tensor or an array (kept on the device, shuffled at every epoch), or an iterable of batches,
            such as a `DataLoader`, that can be gone over again (of a tuple the first element is x).
        epochs: passes over the data.
        batch_size: examples a step; an iterable of batches brings its own.
        lr: learning rate of the default optimiser, Adam.
        optimizer: instead of it, over the parameters you choose.
        on_epoch: called with an `Epoch` after each pass: the place for pictures, tests, your own schedule.

    Returns:
        The epochs.

    Raises:
        TypeError, ValueError: arguments or data that cannot be trained on; the message says what to do.
        TrainingDiverged: the loss became NaN or infinite; the message names the step and the term.
    """
    whole("epochs", epochs)
    positive("lr", lr)
    optimizer = optimizer or _adam(model, lr)
    batches = _batches(model, data, batch_size, epochs)
    if isinstance(model, nn.Module):
        model.train()
    history: list[Epoch] = []
    steps = 0
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        run = _Pass(model, optimizer)
        for x in progress(batches, f"epoch {number}/{epochs}", run.status):
            run.step(estimator.at(steps), x, steps)
            steps += 1
        loss, name = run.finish()
        history.append(Epoch(number, loss, name, steps, time.perf_counter() - started, estimator.at(steps)))
        if on_epoch is not None:
            on_epoch(history[-1])
            if isinstance(model, nn.Module):
                model.train()
    return history


class _Pass:
    """One epoch's bookkeeping: losses stay on the device, and are looked at there as rarely as it is safe."""

    def __init__(self, model: LatentVariableModel, optimizer: torch.optim.Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.name = ""
        # Reading a number off an accelerator waits for it; off the CPU it is free, so there every step is looked at.
        self.check_every = 1 if device_and_dtype(model)[0].type == "cpu" else 50

    def step(self, estimator: Estimator, x: Tensor, step: int) -> None:
        estimate: Estimate = estimator(self.model, x)
        self.losses.append(estimate.loss.detach())
        self.sizes.append(len(x))
        self.name = estimate.name
        if len(self.losses) % self.check_every == 0:
            self._check(step, x)
        self.optimizer.zero_grad()
        estimate.loss.backward()
        self.optimizer.step()

    def _check(self, step: int, x: Tensor) -> None:
        recent = torch.stack(self.losses[-self.check_every :])
        bad = (~recent.isfinite()).nonzero()
        if len(bad):
            first = step - len(recent) + 1 + int(bad[0])
            raise TrainingDiverged(first, float(recent[bad[0]]), name_the_term(self.model, x))

    def status(self) -> str:
        return f"{self.name} loss {self.losses[-1].item():.2f}" if self.losses else ""

    def finish(self) -> tuple[float, str]:
        if not self.losses:
            raise ValueError(
                "the data gave no batch. An iterator can be gone over once only: pass a list or a DataLoader."
            )
        losses = torch.stack(self.losses).cpu().double()
        return float(losses @ torch.tensor(self.sizes, dtype=torch.float64)) / sum(self.sizes), self.name


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


def _batches(model: LatentVariableModel, data: Any, batch_size: int, epochs: int) -> Iterable[Tensor]:
    device, dtype = device_and_dtype(model)
    if isinstance(data, Data | Tensor | np.ndarray):
        examples = as_data(data, dtype).to(device)
        check_data(model, examples)
        return examples.batches(batch_size, shuffle=True)
    if not isinstance(data, Iterable):
        raise TypeError(
            f"data is a {type(data).__name__}; fit takes Data, a tensor, an array, or an iterable of batches. "
            "Of mnist(...) pass a part: mnist(...).train."
        )
    if isinstance(data, Iterator) and epochs > 1:
        raise ValueError(
            f"data is an iterator, which can be gone over once, and epochs is {epochs}. Pass a list, a DataLoader, "
            "or any iterable that begins anew, or epochs=1."
        )
    return _ForeignBatches(model, data, device, dtype)


@dataclass
class _ForeignBatches:
    """Somebody else's batches, moved to the model; the first one is checked against the likelihood."""

    model: LatentVariableModel
    source: Iterable[Any]
    device: torch.device
    dtype: torch.dtype
    checked: bool = False

    def __iter__(self) -> Iterator[Tensor]:
        for item in self.source:
            x = as_batch(item, self.device, self.dtype)
            if not self.checked:
                check_data(self.model, Data(x, dtype=self.dtype))
                self.checked = True
            yield x
