"""What is written while training: metrics, validations, pictures, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
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
from reparam.training.epoch import Epoch
from reparam.training.place import numbers
from reparam.training.run import PICTURES, Folder, Run
from reparam.training.session import Session
from reparam.training.stop import Interrupted, Stop
from reparam.training.validation import Validation

AGREE_EVERY = 20  # steps after which several ranks agree on whether to stop or to save


class Keeper:
    """Watches a session. Without a run it validates and writes nothing; the folder is there on rank 0 alone."""

    def __init__(
        self, session: Session, validation: Validation | None, run: Run | None, folder: Folder | None, stop: Stop
    ) -> None:
        self.session = session
        self.validation = validation
        self.run = run
        self.folder = folder
        self.stop = stop
        self.x: Tensor | None = None
        self.check: Callable[[], None] = lambda: None  # raises if the weights are not finite
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

    def after_step(self, x: Tensor) -> None:
        """Metrics at their interval; a checkpoint when it is due; the end, if that is asked for."""
        self.x = x
        if self.run is None:
            return
        progressed = self.session.progress
        if progressed.batch % self.run.log_every == 0:
            kl = {name: self.session.place.mean([value], [len(x)]) for name, value in self._kl().items()}
            self._line("train", {**self._interval(self.run.log_every), **kl, **self._now()})
        if self.session.place.world == 1 or progressed.step % AGREE_EVERY == 0:
            self._save_if_due()

    def after_epoch(self, epoch: Epoch, last: bool) -> None:
        """The epoch's line, the validation, the pictures."""
        model = self.session.model  # running averages of batch norm are each rank's own; the first one's are kept
        self.session.place.equalise(b for module in modules_of(model) for b in module.buffers(recurse=False))
        if self.folder is not None:
            self.folder.steps_end = self.folder.metrics_bytes()
        self._line("epoch", {epoch.name: -epoch.loss, "seconds": epoch.seconds})
        validated = self.validation is not None and (last or epoch.number % self.validation.every == 0)
        if validated:
            self._validate()
        if validated or self.validation is None:
            self.session.place.first(lambda: self._draw(epoch.number))

    def between_epochs(self) -> None:
        """As after a step."""
        self.logged = (0, 0.0)
        if self.run is not None:
            self._save_if_due()

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
        self.session.place.first(lambda: None if folder is None else folder.summary(summary))

    def _save_if_due(self) -> None:
        stop, due = self.stop.asked, self.folder is not None and self.folder.due
        stop, due = self.session.place.any(stop), self.session.place.any(due)
        if stop or due:
            self.check()  # weights that are broken since the last loss are not to be what is gone back to
            self._checkpoint()
        if stop and self.run is not None:
            raise Interrupted(self.run.path, self.session.progress.step, typed="experiment" in self.run.about)

    def _checkpoint(self) -> None:
        tree, folder = self.session.tree(), self.folder
        self.session.place.first(lambda: None if folder is None else folder.checkpoint(tree))

    def _line(self, kind: str, values: dict[str, Any]) -> None:
        if self.run is None:
            return
        progressed, folder = self.session.progress, self.folder
        line = {"step": progressed.step, "epoch": progressed.epoch, **values}
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
        found = self.validation.measure(self.session.model, self.session.place.fabric)
        progressed, value = self.session.progress, self.validation.compared(found).value
        better = progressed.best is None or value > progressed.best
        if better and self.run is not None:  # as things stood after the last step, so that one could go on from it
            tree, folder = self.session.tree(), self.folder
            self.session.place.first(lambda: None if folder is None else folder.best(tree))
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
            except ValueError:
                return
            save_image_grid(pictures / f"reconstruction_{number:04d}.png", shown)
            save_image_grid(pictures / f"sample_{number:04d}.png", sample(model, 64))


def rate(model: LatentVariableModel, x: Tensor) -> float:
    """Mean KL(q(z|x) || p(z)) of a batch in nats: in closed form, or by one sample; no random number is used up."""
    with evaluating(model, seed=0):
        drawn = draw(model, x)
        try:
            return float(drawn.kl.mean())
        except NotImplementedError:
            return float((drawn.log_posterior - drawn.log_prior).mean())


def named(found: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values, each under the name of its bound; None for what is not finite, as JSON has it."""
    values = {
        name: {part: _finite(number) for part, number in each.items()} if isinstance(each, dict) else _finite(each)
        for name, each in asdict(found).items()
    }
    samples = values.pop("num_samples")
    values[f"iwae_{samples}"] = values.pop("iwae")
    values[f"log_likelihood_{samples}"] = values.pop("log_likelihood")
    return values


def _finite(value: float | None) -> float | None:
    """The number, or None."""
    return value if value is None or math.isfinite(value) else None
