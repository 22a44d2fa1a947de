"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice

from torch import Tensor

from reparam.batches import ForeignBatches
from reparam.data import Batches
from reparam.inspection import broken_parameter, modes_kept, not_finite
from reparam.schedules import Schedule
from reparam.training.arguments import training_batch_norm
from reparam.training.control import follow
from reparam.training.denormals import EVERY, sweep
from reparam.training.divergence import Snapshot, TrainingDiverged
from reparam.training.epoch import Epoch
from reparam.training.keeper import Keeper
from reparam.training.place import Stepping, numbers
from reparam.training.progress import progress
from reparam.training.session import Session
from reparam.training.step import StepModule


class Trainer:
    """Epochs of steps. What has been done stands in `session`; what is written about it is the keeper's matter."""

    def __init__(
        self,
        session: Session,
        step: StepModule,
        stepping: Stepping,
        batches: Batches | ForeignBatches,
        lr: float | Schedule | None,
        clip: float | None,
    ) -> None:
        self.session = session
        self.step = step
        self.wrapped, self.optimizer = stepping
        self.batches = batches
        self.lr = lr
        self.clip = clip
        self.x: Tensor | None = None
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.on_cpu = session.device.type == "cpu"
        # Reading a number off an accelerator waits for it, and ranks must agree on what they saw; alone on the CPU
        # it is free, so there every step is looked at.
        self.check_every = 1 if self.on_cpu and session.place.world == 1 else 50

    def train(self, epochs: int, keeper: Keeper, on_epoch: Callable[[Epoch], object] | None) -> list[Epoch]:
        """Up to that many epochs, those before a resumption included."""
        keeper.check = self._check_weights
        keeper.begin()
        progressed = self.session.progress
        while progressed.epoch <= epochs and not progressed.done:
            epoch = self._epoch(epochs, keeper)
            progressed.history.append(epoch)
            keeper.after_epoch(epoch, last=epoch.number == epochs)
            if on_epoch is not None:
                with modes_kept(self.session.model):
                    on_epoch(epoch)
            progressed.next_epoch()
            keeper.between_epochs()
        keeper.end()
        return progressed.history

    def _epoch(self, epochs: int, keeper: Keeper) -> Epoch:
        progressed = self.session.progress
        self.session.begin_epoch()
        self.safe = Snapshot(self.session.model, self.session.control.estimator)
        before = progressed.seconds
        started = time.perf_counter()
        shown = self.session.place.rank == 0
        for x in progress(self._remaining(), f"epoch {progressed.epoch}/{epochs}", keeper.status, shown):
            self._step(x)
            progressed.seconds = before + time.perf_counter() - started
            keeper.after_step(x)
        return self._finished()

    def _remaining(self) -> Iterator[Tensor]:
        """The batches of this epoch that are not done."""
        done, place = self.session.progress.batch, self.session.place
        if isinstance(self.batches, ForeignBatches):
            self.batches.begin_epoch(self.session.progress.epoch)
            rest = iter(self.batches)
            for _ in islice(rest, done):
                pass
        else:
            order = place.broadcast(self.batches.order())
            share = self.batches.share(place.rank, place.world) if place.world > 1 else self.batches
            rest = share.starting_at(done).over(order)
        self.session.order_is_drawn()
        return rest

    def _weight(self, x: Tensor) -> float:
        """What a mean over this rank's share counts in the mean over ranks that data parallelism takes."""
        place = self.session.place
        if place.world == 1 or isinstance(self.batches, ForeignBatches):
            return 1.0
        return len(x) * place.world / self.batches.rows(self.session.progress.batch)

    def _step(self, x: Tensor) -> None:
        session, progressed = self.session, self.session.progress
        follow(self.optimizer, self.lr, progressed.step)
        self.step.estimator = session.control.estimator.at(progressed.step)
        self.x = x
        try:
            loss, _, control_loss = self.wrapped(x)
        except ValueError as error:
            batch_norm = training_batch_norm(session.model) if len(x) == 1 else None
            if batch_norm is not None:
                raise ValueError(
                    f"step {progressed.step} has a batch of one example, and the batch norm {batch_norm} needs two for "
                    "a variance. Give drop_last=True to the DataLoader, or another batch size."
                ) from error
            # a model whose distributions validate meets its NaN parameters here
            if broken_parameter(session.model) is None:
                raise
            raise self._diverged(progressed.batch, math.nan) from error
        progressed.losses.append(loss.item() if self.check_every == 1 else loss.detach())
        progressed.sizes.append(len(x))
        progressed.name = self.step.name
        if len(progressed.losses) % self.check_every == 0:
            self._check_losses()
        weight = self._weight(x)
        session.control.step(control_loss, weight, session.place)
        for parameter in self.parameters:  # Optimizer.zero_grad does no more, and takes twenty times as long about it
            parameter.grad = None
        session.place.backward(loss if weight == 1.0 else loss * weight)
        if self.clip is not None:
            session.place.clip(self.optimizer, self.clip)
        self.optimizer.step()
        progressed.step += 1
        progressed.batch += 1
        if self.on_cpu and progressed.step % EVERY == 0:
            sweep(session.optimizer)

    def _check_losses(self) -> None:
        losses = self.session.progress.losses
        recent = losses[-self.check_every :]
        values = self.session.place.sum(numbers(recent)).tolist() if self.check_every > 1 else recent
        for index, value in enumerate(values, len(losses) - len(recent)):
            if not math.isfinite(value):
                raise self._diverged(index, value)

    def _check_weights(self) -> None:
        losses = self.session.progress.losses
        parts = (self.session.model, self.session.control.estimator)
        if losses and any(broken_parameter(part) is not None for part in parts):
            raise self._diverged(len(losses) - 1, float(losses[-1]))

    def _diverged(self, index: int, loss: float) -> TrainingDiverged:
        session = self.session
        term = "" if self.x is None else not_finite(session.model, self.x)
        first = session.progress.step - session.progress.batch
        return TrainingDiverged(first + index, loss, term, self.safe.restore_if_broken())

    def _finished(self) -> Epoch:
        """The epoch with the mean loss over its examples."""
        progressed, place = self.session.progress, self.session.place
        if not progressed.losses:
            raise ValueError(
                "the data gave no batch. An empty loader, a drop_last with fewer examples than a batch, or an iterator "
                "that was gone over before: pass one that yields batches."
            )
        self._check_losses()
        self._check_weights()
        loss = place.mean(progressed.losses, progressed.sizes)
        at_end = self.session.control.estimator.at(progressed.step)
        return Epoch(progressed.epoch, loss, progressed.name, progressed.step, progressed.seconds, at_end)
