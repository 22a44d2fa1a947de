"""The training loop: epochs of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

from torch import Tensor

from reparam.batches import ForeignBatches
from reparam.data import Batches
from reparam.inspection import modes_kept
from reparam.schedules import Schedule
from reparam.training.arguments import training_batch_norm
from reparam.training.control import follow
from reparam.training.denormals import EVERY, sweep
from reparam.training.divergence import TrainingDiverged
from reparam.training.epoch import Epoch
from reparam.training.guard import Guard
from reparam.training.keeper import Keeper
from reparam.training.place import Stepping
from reparam.training.progress import progress
from reparam.training.session import Session
from reparam.training.step import StepModule
from reparam.training.stop import Interrupted


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
        self.guard = Guard(session)
        self.step = step
        self.wrapped, self.optimizer = stepping
        self.batches = batches
        self.lr = lr
        self.clip = clip
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.on_cpu = session.device.type == "cpu"

    def train(self, epochs: int, keeper: Keeper, on_epoch: Callable[[Epoch], object] | None) -> list[Epoch]:
        """Up to that many epochs, those before a resumption included.

        Raises:
            TrainingDiverged: in place of an error that numbers which are not finite have caused.
            Interrupted: in place of an error that a request to stop has caused.
        """
        try:
            keeper.begin()
            self.guard.begin()
            return self._train(epochs, keeper, on_epoch)
        except (TrainingDiverged, Interrupted):
            raise
        except (Exception, KeyboardInterrupt) as error:
            keeper.stop.end()
            diverged = self.guard.explained(error)
            if diverged is not None:
                raise diverged from error
            keeper.leave_if_asked(error)
            raise

    def _train(self, epochs: int, keeper: Keeper, on_epoch: Callable[[Epoch], object] | None) -> list[Epoch]:
        progressed = self.session.progress
        while progressed.epoch <= epochs and not progressed.done:
            epoch = self._epoch(epochs, keeper)
            keeper.after_epoch(epoch, last=epoch.number == epochs)
            if on_epoch is not None:
                with modes_kept(self.session.model), keeper.heard():
                    on_epoch(epoch)
            progressed.history.append(epoch)
            self.session.next_epoch()
            keeper.between_epochs()
        self.guard.check()
        keeper.end()
        return progressed.history

    def _epoch(self, epochs: int, keeper: Keeper) -> Epoch:
        progressed, stop = self.session.progress, keeper.stop
        self.session.begin_epoch()
        self.guard.begin_epoch()
        before = progressed.seconds
        started = time.perf_counter()
        words, shown = f"epoch {progressed.epoch}/{epochs}", self.session.place.rank == 0
        with closing(progress(self._remaining(), words, keeper.status, shown)) as batches:  # ends a loader's workers
            for number, x in enumerate(batches):
                if number == 0:
                    stop.watch_workers()
                stop.begin_step()
                self._step(x)
                progressed.seconds = before + time.perf_counter() - started
                keeper.log(x)
                stop.end_step()
                keeper.after_step()
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
        self.guard.begin_step(x)
        try:
            loss, _, control_loss = self.wrapped(x)
        except ValueError as error:
            batch_norm = training_batch_norm(session.model) if len(x) == 1 else None
            if batch_norm is None:
                raise
            raise ValueError(
                f"step {progressed.step} has a batch of one example, and the batch norm {batch_norm} needs two for a "
                "variance. Give drop_last=True to the DataLoader, or another batch size."
            ) from error
        progressed.losses.append(loss.item() if self.guard.check_every == 1 else loss.detach())
        progressed.sizes.append(len(x))
        progressed.name = self.step.name
        self.guard.after_loss()
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

    def _finished(self) -> Epoch:
        """The epoch with the mean loss over its examples."""
        progressed, place = self.session.progress, self.session.place
        if not progressed.losses:
            raise ValueError(
                "the data gave no batch. An empty loader, a drop_last with fewer examples than a batch, or an iterator "
                "that was gone over before: pass one that yields batches."
            )
        self.guard.check_losses()
        self.guard.check_weights()
        loss = place.mean(progressed.losses, progressed.sizes)
        at_end = self.session.control.estimator.at(progressed.step)
        return Epoch(progressed.epoch, loss, progressed.name, progressed.step, progressed.seconds, at_end)
