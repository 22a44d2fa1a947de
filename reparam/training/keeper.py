"""What is written while training: metrics, validations, pictures, checkpoints."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from reparam.batches import batches_for
from reparam.draws import draw
from reparam.estimators.estimate import in_use
from reparam.figures import is_image, reconstruct, sample, save_image_grid
from reparam.inspection import evaluating, modules_of, own_random_numbers
from reparam.measurement import Evaluation
from reparam.model import LatentVariableModel
from reparam.not_finite import NotFinite
from reparam.training.epoch import Epoch
from reparam.training.guard import Guard
from reparam.training.place import numbers
from reparam.training.run import PICTURES, Folder, Run
from reparam.training.session import Session
from reparam.training.stop import Interrupted, Stop
from reparam.training.validation import Validation

AGREE_EVERY = 20  # steps after which several ranks agree on whether to stop or to save


class Keeper:
    """Watches a session. Without a run it validates and writes nothing; the folder is there on rank 0 alone."""

    def __init__(
        self,
        session: Session,
        guard: Guard,
        validation: Validation | None,
        run: Run | None,
        folder: Folder | None,
        stop: Stop,
    ) -> None:
        self.session = session
        self.guard = guard
        self.validation = validation
        self.run = run
        self.folder = folder
        self.stop = stop
        self.x: Tensor | None = None
        self.after_steps: dict[str, Any] | None = None  # the state after an epoch's last step, until the epoch is over
        self.logged = (0, 0.0)  # batches and seconds of the epoch at its last line of metrics

    def begin(self) -> None:
        """Goes back to the newest checkpoint of a resumed run; notes the beginning of a new one."""
        if self.run is None:
            return
        place, folder = self.session.place, self.folder
        newest = place.first(lambda: None if folder is None or folder.fresh else folder.newest())
        saved = place.broadcast(newest)
        if saved is not None:
            self.session.load(saved)
            place.first(lambda: None if folder is None else folder.cut_metrics(saved["metrics_bytes"]))
            self.logged = (self.session.progress.batch, self.session.progress.seconds)
        else:
            self._checkpoint()

    def status(self) -> str:
        """For the progress bar: the bound by its name, the KL, the temperature, the speed. This rank's alone."""
        progressed, values = self.session.progress, {}
        if progressed.losses:
            values[progressed.name] = -float(numbers(progressed.losses[-100:]).mean())
        shown = [f"{name} {value:.4g}" for name, value in {**values, **self._now(), **self._kl()}.items()]
        if progressed.seconds:
            shown.append(f"{sum(progressed.sizes) * self.session.place.world / progressed.seconds:,.0f} images/s")
        return "  ".join(shown)

    def log(self, x: Tensor) -> None:
        """Metrics at their interval."""
        self.x = x
        if self.run is None or self.session.progress.batch % self.run.log_interval:
            return
        kl = {name: self.session.place.mean([value], [len(x)]) for name, value in self._kl().items()}
        self._line("train", {**self._interval(self.run.log_interval), **kl, **self._now()})

    def after_step(self) -> None:
        """A checkpoint when it is due; the end, if that is asked for."""
        if self.run is None:
            return
        if self.session.place.world == 1 or self.session.progress.step % AGREE_EVERY == 0:
            self._save_if_due()

    def after_epoch(self, epoch: Epoch, last: bool) -> None:
        """The epoch's line, the validation, the pictures."""
        model = self.session.model  # running averages of batch norm are each rank's own; the first one's are kept
        self.session.place.equalise(b for module in modules_of(model) for b in module.buffers(recurse=False))
        if self.folder is not None:
            self.folder.steps_end = self.folder.metrics_bytes()
        if self.run is not None:
            self.after_steps = self.session.tree()
        self._line("epoch", {epoch.name: -epoch.loss, "seconds": epoch.seconds})
        validated = self.validation is not None and (last or epoch.number % self.validation.every == 0)
        if validated or self.run is not None:
            self.guard.check()
        if validated:
            self._validate()
        if validated or self.validation is None:
            self.session.place.first(lambda: self._draw(epoch.number))

    def between_epochs(self) -> None:
        """As after a step."""
        self.logged = (0, 0.0)
        self.after_steps = None
        if self.run is not None:
            self._save_if_due()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Treats a broken pipe as a request to stop, if the training is kept in a run."""
        try:
            yield
        except BrokenPipeError:
            if self.run is None:
                raise
            self.stop.asked = True

    def leave_if_asked(self, error: BaseException) -> None:
        """Saves the training, if `error` came of being asked to stop and did not break off a step.

        A signal to the process group ends the workers of a loader too; a second Ctrl-C ends what takes long between
        two steps. Several ranks cannot agree on such an end, so with them the last checkpoint stays as it is.

        Raises:
            Interrupted: it is saved.
        """
        if self.run is None or self.session.place.world > 1 or self.stop.in_step:
            return
        if isinstance(error, KeyboardInterrupt) or self.stop.soon(error):
            self._leave(error)

    def end(self) -> None:
        """The last checkpoint and the summary."""
        if self.run is None:
            return
        self._checkpoint()
        progressed, folder = self.session.progress, self.folder
        last = progressed.history[-1]
        best = None
        if self.validation is not None and progressed.best is not None:
            best = {"bound": self.validation.name, "value": progressed.best, "epoch": progressed.best_epoch}
        summary = {
            "epochs": last.number,
            "steps": progressed.step,
            "seconds": sum(epoch.seconds for epoch in progressed.history),
            "stopped_early": progressed.done,
            "train": {"bound": last.name, "value": -last.loss},
            "best": best,
        }
        self.session.place.first(lambda: None if folder is None else folder.summary(nulled(summary)))

    def _save_if_due(self) -> None:
        stop, due = self.stop.asked, self.folder is not None and self.folder.due
        stop, due = self.session.place.any(stop), self.session.place.any(due)
        if stop:
            self._leave()
        if due:
            self.guard.check()  # bad weights are not to be what is gone back to
            self._checkpoint()

    def _leave(self, cause: BaseException | None = None) -> None:
        assert self.run is not None
        self.stop.end()
        self.guard.check()
        self._checkpoint()
        step = self.session.progress.step
        raise Interrupted(self.run.path, step, typed="experiment" in self.run.about) from cause

    def _checkpoint(self) -> None:
        folder = self.folder
        if self.after_steps is None:
            tree = self.session.tree()
            self.session.place.first(lambda: None if folder is None else folder.checkpoint(tree))
        else:  # the epoch is measured again then, so what was measured of it is cut off
            tree = self.after_steps
            self.session.place.first(lambda: None if folder is None else folder.checkpoint(tree, folder.steps_end))

    def _line(self, kind: str, values: dict[str, Any]) -> None:
        if self.run is None:
            return
        progressed, folder = self.session.progress, self.folder
        line = {"step": progressed.step, "epoch": progressed.epoch, **nulled(values)}
        self.session.place.first(lambda: None if folder is None else folder.line(kind, line))

    def _interval(self, steps: int) -> dict[str, float]:
        """The mean bound of the last steps, and the speed since the epoch's last line or, of the first, its begin."""
        progressed, place = self.session.progress, self.session.place
        batch, seconds = self.logged
        self.logged = progressed.batch, progressed.seconds
        speed = sum(progressed.sizes[batch:]) * place.world / (progressed.seconds - seconds)
        mean = place.mean(progressed.losses[-steps:], progressed.sizes[-steps:])
        return {progressed.name: -mean, "images_per_second": round(speed)}

    def _kl(self) -> dict[str, float]:
        """The KL of this rank's last batch."""
        return {} if self.x is None else {"kl": rate(self.session.model, self.x)}

    def _now(self) -> dict[str, float]:
        """The learning rate, and what the estimator uses: its temperature, as scheduled or as learned."""
        session = self.session
        now = {"lr": float(session.optimizer.param_groups[0]["lr"])}
        return {**now, **in_use(session.control.estimator.at(session.progress.step))}

    def _validate(self) -> None:
        assert self.validation is not None
        try:
            found = self.validation.measure(self.session.model, self.session.place.fabric)
        except NotFinite as error:
            raise self.guard.diverged(term=f"in the validation {error}".rstrip(".")) from error
        progressed, value = self.session.progress, self.validation.compared(found).value
        better = math.isfinite(value) and (progressed.best is None or value > progressed.best)
        if better and self.run is not None:  # as things stood after the last step, so that one could go on from it
            tree, folder = self.after_steps, self.folder
            self.session.place.first(lambda: None if folder is None or tree is None else folder.best(tree))
        if better:
            progressed.best, progressed.best_epoch, progressed.waited = value, progressed.epoch, 0
        else:
            progressed.waited += 1
            patience = self.validation.patience
            progressed.done = patience is not None and progressed.waited >= patience
        self._line("validation", {**named(found), "best": better})

    def _draw(self, number: int) -> None:
        """Reconstructions and samples, if the data are images and the likelihood has a mean to show."""
        if self.folder is None or self.run is None or not self.run.pictures or self.x is None:
            return
        model, device = self.session.model, self.session.device
        with own_random_numbers(device, seed=0):
            x = self.x[:8]
            if self.validation is not None:
                x = next(iter(batches_for(model, self.validation.data, 8)))
            if not is_image(x):
                return
            pictures = self.folder.path / PICTURES
            try:
                shown = torch.cat([x, reconstruct(model, x)])
            except ValueError:  # no mean in closed form
                return
            for name, images in (("reconstruction", shown), ("sample", sample(model, 64))):
                path = pictures / f"{name}_{number:04d}.png"
                try:
                    save_image_grid(path, images)
                except NotFinite as error:  # a mean may overflow where the bound does not
                    warnings.warn(f"{path} is not drawn: {error}", stacklevel=2)


def rate(model: LatentVariableModel, x: Tensor) -> float:
    """Mean KL(q(z|x) || p(z)) of a batch in nats: in closed form, or by one sample; no random number is used up."""
    with evaluating(model, seed=0):
        drawn = draw(model, x)
        try:
            return float(drawn.kl.mean())
        except NotImplementedError:
            return float((drawn.log_posterior - drawn.log_prior).mean())


def nulled(value: Any) -> Any:
    """The same plain values with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: nulled(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def named(found: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values, each under the name of its bound; None for NaN and infinity."""
    values: dict[str, Any] = nulled(asdict(found))
    samples = values.pop("num_samples")
    values[f"iwae_{samples}"] = values.pop("iwae")
    values[f"log_likelihood_{samples}"] = values.pop("log_likelihood")
    return values
