"""Runs from experiments: trained, resumed, measured."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reparam._files import read_object, write_json
from reparam._spelling import argument, setting
from reparam.data import Splits, num_batches
from reparam.evaluation import evaluate
from reparam.experiment import Experiment
from reparam.experiment.build import build_estimator, build_lr, build_model, build_optimizer
from reparam.experiment.presets import presets
from reparam.hierarchy import Hierarchy, Ladder
from reparam.model import VAE
from reparam.not_finite import NotFinite
from reparam.runs.launching import device_of
from reparam.runs.locating import SOURCE, located, source_of
from reparam.runs.measuring import measured_on, weights_of
from reparam.runs.reading import check_data, data_of, experiment_of, saved
from reparam.runs.trying import try_out
from reparam.training import Epoch, Run, TrainingDiverged, Validation, fit
from reparam.training.keeper import named
from reparam.training.place import Alone, Place, Through
from reparam.training.record import described, shown
from reparam.training.run import EXPERIMENT, SUMMARY, locked, read_record
from reparam.training.session import load_state
from reparam.training.starting import left_as_it_was

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    experiment: Experiment | str,
    run: Run | str | Path,
    *,
    fabric: Fabric | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_start: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Trains what an experiment describes, and measures it on the test data; what `reparam train` does.

    Args:
        experiment: such as `rp.presets["gaussian"]`, `.replace(epochs=3)` of it, or just the name of a preset.
        run: a new folder, or a `Run` that says what to do with the one that is there. Its `checkpoint_seconds` and
            `log_every` come before those of the experiment; its `about` joins the record.
        fabric: a launched `lightning_fabric.Fabric`, where `launch_of(experiment)` asks for one.
        on_epoch: called after each pass.
        on_start: called once, when the model has been built and the estimator has taken two examples.

    Returns:
        What stands in `summary.json`.

    Raises:
        The errors of `rp.fit`, `rp.load_data` and those of the texts in the experiment.
    """
    run = run if isinstance(run, Run) else Run(run)
    if isinstance(experiment, str):
        experiment = presets[experiment]
    options, often = experiment.training, experiment.evaluation
    torch.manual_seed(options.seed)
    place: Place = Through(fabric) if fabric is not None else Alone()
    data = place.first(lambda: data_of(experiment)) or data_of(experiment)  # what has to be fetched, one fetches
    device = fabric.device if fabric is not None else device_of(experiment)
    model = build_model(experiment, data.train)
    num_steps = _num_steps(experiment, len(data.train))
    estimator = build_estimator(experiment, num_steps)
    lr = build_lr(experiment, num_steps)
    try_out(experiment, model, estimator, data.train)
    model = model.to(device)
    validation = None
    if often.patience and data.validation is None:
        raise ValueError(
            f"{argument('patience')} is {often.patience}, and no examples are kept apart to validate on. Give "
            f"{setting('validation', max(1, len(data.train) // 10))}, or leave {argument('patience')} out."
        )
    if data.validation is not None:
        validation = Validation(
            data.validation,
            every=_every(experiment),
            num_samples=often.evaluation_samples,
            bound=often.validation_bound,
            patience=often.patience or None,
        )
    run = dataclasses.replace(
        run,
        checkpoint_seconds=often.checkpoint_seconds if run.checkpoint_seconds is None else run.checkpoint_seconds,
        log_every=often.log_every if run.log_every is None else run.log_every,
        about={
            **run.about,
            "experiment": experiment.to_values(),
            SOURCE: source_of(experiment.dataset.data, run.path),
        },
    )
    with left_as_it_was(run.path):
        place.first(lambda: locked(run.path).release())  # what cannot be written is refused before it is said to begin
        if on_start is not None:
            on_start()
        fit(
            model,
            estimator,
            data.train,
            epochs=options.epochs,
            batch_size=options.batch_size,
            lr=lr,
            control_lr=options.control_lr,
            optimizer=build_optimizer(experiment, model),
            clip=options.clip or None,
            drop_last=options.drop_last,
            on_epoch=on_epoch,
            validation=validation,
            run=run,
            compile=experiment.machine.compile,
            fabric=fabric,
        )
    return _measured(run.path, model, data, often.final_samples, fabric)


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    data: str | None = None,
    fabric: Fabric | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_start: Callable[[], object] | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Goes on with a run that `train` began, and measures it; what `reparam resume` does.

    Args:
        folder: of the run.
        epochs: in all, if they are to be more than the run was begun with. Schedules that count with `steps` are then
            those of the longer training, from the step on at which it stands.
        data: path or name of the run's data, if they have been moved; the run remembers it.
        fabric: as for `train`.
        on_epoch: as for `train`.
        on_start: as for `train`.
        tensorboard: as in `Run`.

    Returns:
        What stands in `summary.json`.

    Raises:
        ValueError: fewer epochs than the run was begun with, more for one that stopped early; and what `train` refuses.
    """
    path = Path(folder)
    place: Place = Through(fabric) if fabric is not None else Alone()
    experiment = place.broadcast(place.first(lambda: _prepared(path, epochs, data)))  # of several processes one writes
    run = Run(path, resume=True, tensorboard=tensorboard)
    return train(experiment, run, fabric=fabric, on_epoch=on_epoch, on_start=on_start)


def counts_steps(experiment: Experiment) -> list[str]:
    """The options whose text counts with the number of steps, so that they change when a training is lengthened."""
    texts = {"lr": experiment.training.lr, "estimator": experiment.training.estimator}
    return [name for name, text in texts.items() if re.search(r"\bsteps\b", text)]


def _prepared(path: Path, epochs: int | None, data: str | None) -> Experiment:
    """The experiment to go on with, its data where they are now; what is new about it is written to the run."""
    experiment = experiment_of(path)
    if data is not None:
        check_data(path, data_of(experiment.replace(data=data)))
        _rewrite(path, {**read_record(path), SOURCE: source_of(data, path)})
    if epochs is not None and epochs != experiment.training.epochs:
        experiment = _lengthened(path, experiment, epochs)
    return located(path, experiment) if data is None else experiment.replace(data=data)


def _lengthened(path: Path, experiment: Experiment, epochs: int) -> Experiment:
    """The experiment with more epochs, written to the run's experiment.json, which a resumption must agree with."""
    before = experiment.training.epochs
    if epochs < before:
        raise ValueError(
            f"{argument('epochs')} is {epochs}; {path} was begun with {before}, and more than these lengthen it. Give "
            f"{setting('epochs', before + 1)} or more."
        )
    if (path / SUMMARY).exists() and read_object(path / SUMMARY).get("stopped_early"):
        raise ValueError(
            f"{path} stopped early, as its validation bound had not improved for {experiment.evaluation.patience} "
            f"evaluations; more epochs would stop there too. Train anew with a larger {argument('patience')}."
        )
    longer = experiment.replace(epochs=epochs)
    check_data(path, data_of(located(path, experiment)))  # nothing is changed for a run that cannot be resumed then
    _rewrite(path, _record_of(longer, path))
    return longer


def _rewrite(path: Path, record: dict[str, Any]) -> None:
    lock = locked(path)
    try:
        write_json(path / EXPERIMENT, record)
    finally:
        lock.release()


def _record_of(experiment: Experiment, path: Path) -> dict[str, Any]:
    """A run's record with another experiment, and what follows from that."""
    record = read_record(path)
    data, training = record.get("data"), record.get("training")
    if not (isinstance(data, dict) and isinstance(data.get("examples"), int) and isinstance(training, dict)):
        raise ValueError(f"{path / EXPERIMENT} does not say how many examples there were. Restore it.")
    num_steps = _num_steps(experiment, data["examples"])
    with torch.random.fork_rng([]):
        estimator = described("estimator", build_estimator(experiment, num_steps))
    training = {**training, "lr": shown(build_lr(experiment, num_steps))}
    if isinstance(training.get("validation"), dict):
        training["validation"] = {**training["validation"], "every": _every(experiment)}
    return {**record, **estimator, "experiment": experiment.to_values(), "training": training}


def _every(experiment: Experiment) -> int:
    """Epochs between validations: by option 0 means once, at the end."""
    return experiment.evaluation.evaluate_every or experiment.training.epochs


def _num_steps(experiment: Experiment, num_examples: int) -> int:
    options = experiment.training
    return options.epochs * num_batches(num_examples, options.batch_size, options.drop_last)


def _measured(
    folder: Path, model: VAE | Hierarchy | Ladder, data: Splits, num_samples: int, fabric: Fabric | None
) -> dict[str, Any]:
    """The test data's bounds under the best weights, or the last where there is no validation; in summary.json."""
    path = folder / SUMMARY
    place: Place = Through(fabric) if fabric is not None else Alone()
    read = place.first(lambda: (*saved(folder, "auto"), read_object(path)))
    name, tree, summary = place.broadcast(read)  # of several machines only the first need have the folder
    load_state(model, tree["model"])
    try:
        found = evaluate(model, data.test, num_samples=num_samples, fabric=fabric)
    except NotFinite as error:
        term, weights = f"on the test data {error}".rstrip("."), f"those of {name}"
        raise TrainingDiverged(summary["steps"], -summary["train"]["value"], term, False, weights) from error
    test = {**weights_of(name, tree), **measured_on(model, data.test), "num_samples": num_samples, **named(found)}
    measured: dict[str, Any] = {**summary, "test": test}
    place.first(lambda: write_json(path, measured))
    return measured
