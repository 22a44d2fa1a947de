"""Notices that a training diverges, and goes back to good weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from reparam.adam import AnyOptimizer
from reparam.inspection import modules_of
from reparam.not_finite import broken_part, large_part, not_finite
from reparam.training.divergence import TrainingDiverged
from reparam.training.place import numbers
from reparam.training.session import Session

_COUNTS = 100.0  # data above this are counts, or not scaled
_LOOK_AT_DATA = (
    "Look at the batch and the scale of its values. An encoder of counts reads their log1p: nn.Sequential(rp.Log1p(), "
    "encoder), or --encoder-input log1p."
)
_AS_GIVEN = "as they were given"


class Snapshot:
    """The weights and buffers of a training at one moment: of the model, the estimator and the optimizer."""

    def __init__(self, session: Session) -> None:
        self.epoch = session.progress.epoch
        self.resumed = session.progress.batch > 0
        live = [
            tensor
            for module in modules_of(session.model) + modules_of(session.control.estimator)
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        ]
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in (*live, *loose(session))]

    def restore(self) -> None:
        """Puts the values back."""
        with torch.no_grad():
            for tensor, value in self.tensors:
                tensor.copy_(value)

    def words(self, epoch: int) -> str:
        """Whose weights these are, said in this epoch."""
        if self.resumed:
            return f"those that the training was resumed with in epoch {self.epoch}"
        return f"those at the beginning of {'this epoch' if epoch == self.epoch else f'epoch {self.epoch}'}"


class Guard:
    """Looks at losses and weights, and keeps weights to go back to.

    These are the weights at the beginning of the last epoch whose first loss was finite. On the CPU each loss is looked
    at before its update. Reading a number off an accelerator waits for the device, and ranks must agree on what they
    saw, so there the losses are looked at every 50 steps.

    Attributes:
        x: the last batch.
        step: its step.
        check_every: steps from one look at the losses to the next.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.x: Tensor | None = None
        self.step = 0
        self.check_every = 1 if session.device.type == "cpu" and session.place.world == 1 else 50
        self.good: Snapshot | None = None
        self.start: Snapshot | None = None

    def begin(self) -> None:
        """Refuses weights that are broken before the first step."""
        self.step = self.session.progress.step
        broken = self._broken()
        if broken is not None:
            raise never_good(f"{broken} is not finite", self.step)

    def begin_epoch(self) -> None:
        """Notes the weights; they are good once they gave a finite loss."""
        self.start = Snapshot(self.session)
        self.good = self.good or self.start

    def begin_step(self, x: Tensor) -> None:
        """Notes what the step is made with."""
        self.x, self.step = x, self.session.progress.step

    def after_loss(self) -> None:
        """Looks at the losses when that is due, and at the first loss of each epoch, which judges its first weights."""
        if self.good is not self.start or len(self.session.progress.losses) % self.check_every == 0:
            self.check_losses()

    def check_losses(self) -> None:
        """Looks at the losses since the last look. Every rank must call this.

        Raises:
            TrainingDiverged: one is not finite.
        """
        losses = self.session.progress.losses[-self.check_every :]
        self._raise_for(self.session.place.sum(numbers(losses)).tolist() if self.check_every > 1 else losses)
        self.good = self.start

    def check_weights(self) -> None:
        """Looks at the parameters, after the update that no loss has shown yet.

        Raises:
            TrainingDiverged: one is not finite.
        """
        if self._broken() is not None:
            raise self.diverged(loss=self._last_loss())

    def check(self) -> None:
        """Looks at everything: before what was trained is written, measured or given back. Every rank must call this.

        Finite weights may be too large to compute with, which the exact bound of the last batch shows.

        Raises:
            TrainingDiverged: a loss, a parameter or a term of the bound is not finite.
        """
        if self.session.progress.losses:
            self.check_losses()
        term = self._term()
        if self.session.place.any(term is not None):
            found = term or "another process found a term of the exact bound that is not finite"
            raise self.diverged(loss=self._last_loss(), term=found)

    def explained(self, error: BaseException) -> TrainingDiverged | None:
        """What to raise in place of an error that numbers which are not finite have caused; None for other errors."""
        if not isinstance(error, Exception) or isinstance(error, OSError | MemoryError | torch.OutOfMemoryError):
            return None
        try:
            self._raise_for(numbers(self.session.progress.losses[-self.check_every :]).tolist())
            term = self._term()
            return None if term is None else self.diverged(term=term)
        except TrainingDiverged as earlier:
            return earlier
        except RuntimeError:  # an accelerator that has failed answers nothing any more
            return None

    def _raise_for(self, losses: Sequence[float | Tensor]) -> None:
        """Raises for the first of the last losses that is not finite."""
        progressed = self.session.progress
        end = progressed.step - progressed.batch + len(progressed.losses)
        for step, loss in enumerate(losses, end - len(losses)):
            if not math.isfinite(loss):
                raise self.diverged(step, float(loss))

    def diverged(self, step: int | None = None, loss: float = math.nan, term: str | None = None) -> TrainingDiverged:
        """Puts the good weights back, and gives what to raise.

        Args:
            step: where that was so; the step of the last batch, if not given.
            loss: of that step, if there was one.
            term: what is not finite, if that is known.
        """
        step = self.step if step is None else step
        own, term = self._of_estimator(), term or self._term(zeros=False)
        found = dict.fromkeys(each for each in (own, term) if each is not None)
        told = " and ".join(found) or (
            "every term of the exact bound is finite on another draw; this draw or the estimator made it"
        )
        remedy = "Lower the learning rate, clip the gradients, or look at the batch."
        if own is not None and len(found) == 2 and self.check_every > 1:  # nobody saw which of them was first
            remedy = f"Lower control_lr, which the estimator's own parameters follow. {remedy}"
        elif own is not None:
            remedy = "Lower control_lr, which the estimator's own parameters follow."
        elif self.x is not None and float(self.x.abs().max()) > _COUNTS:
            remedy = f"x reaches {float(self.x.abs().max()):.4g}. {_LOOK_AT_DATA}"
        elif self.session.progress.step == 0:
            remedy = _LOOK_AT_DATA
        weights = _AS_GIVEN
        if self.good is not None:
            self.good.restore()
            weights = self.good.words(self.session.progress.epoch)
            self._forget_averages()
        return TrainingDiverged(step, loss, told, self.good is not None, weights, remedy)

    def _last_loss(self) -> float:
        losses = self.session.progress.losses
        return float(losses[-1]) if losses else math.nan

    def _broken(self) -> str | None:
        """The first part of model, estimator and optimizer that is not finite."""
        session = self.session
        broken = broken_part(session.model)
        if broken is not None:
            return broken
        own = self._own_broken()
        if own is not None:
            return own
        if any(not tensor.isfinite().all() for tensor in loose(session)):
            return "a parameter of the optimizer"
        return "an average of the optimizer over gradients" if _overflowed(session.optimizer) else None

    def _own_broken(self) -> str | None:
        """The first of the estimator's own parameters, or of their optimizer's averages, that is not finite."""
        control = self.session.control
        broken = broken_part(control.estimator)
        if broken is not None:
            return f"the estimator's {broken}"
        overflowed = control.optimizer is not None and _overflowed(control.optimizer)
        return "an average of the optimizer of the estimator's own parameters" if overflowed else None

    def _of_estimator(self) -> str | None:
        """What is wrong with the estimator's own parameters."""
        broken = self._own_broken()
        if broken is not None:
            return f"{broken} is not finite"
        large = large_part(self.session.control.estimator)
        return None if large is None else f"the estimator's {large}"

    def _term(self, zeros: bool = True) -> str | None:
        """The first thing that is not finite now, in words; None where nothing is found, or there was no batch yet.

        Args:
            zeros: whether an example of probability zero is allowed, which a bound of several samples allows too.
        """
        broken = self._broken()
        if broken is not None:
            return f"{broken} is not finite"
        if self.x is None:
            return None
        try:
            return not_finite(self.session.model, self.x, zeros=zeros)
        except torch.OutOfMemoryError:
            return None
        except Exception as error:
            return f"the model fails with these weights alone ({error})" if self._fails_with_these_weights() else None

    def _fails_with_these_weights(self) -> bool:
        """Of a model that fails on the last batch: whether it does not with the good weights."""
        if self.good is None or self.x is None:
            return False
        now = Snapshot(self.session)
        self.good.restore()
        try:
            return not_finite(self.session.model, self.x) is None
        except Exception:
            return False
        finally:
            now.restore()

    def _forget_averages(self) -> None:
        """Lets optimizers begin anew whose state is not finite, so that they can go on with the good weights."""
        for optimizer in (self.session.optimizer, self.session.control.optimizer):
            if optimizer is not None and _overflowed(optimizer):
                optimizer.state.clear()


def _overflowed(optimizer: AnyOptimizer) -> bool:
    """Whether an average over gradients is not finite. One that is infinite keeps its weight from moving ever again."""
    values = (value for state in optimizer.state.values() for value in state.values())
    return any(isinstance(value, Tensor) and value.dim() > 0 and not value.isfinite().all() for value in values)


def never_good(term: str, step: int = 0) -> TrainingDiverged:
    """What to raise where no step was done and there are no weights to go back to."""
    remedy = f"Build the model anew, or load another checkpoint. {_LOOK_AT_DATA}"
    return TrainingDiverged(step, math.nan, term.rstrip("."), False, _AS_GIVEN, remedy)


def loose(session: Session) -> list[Tensor]:
    """What the optimizer moves and no module holds: a model that is a plain object may keep its tensors anywhere."""
    held = {id(p) for module in modules_of(session.model) for p in module.parameters(recurse=False)}
    return [p for group in session.optimizer.param_groups for p in group["params"] if id(p) not in held]
