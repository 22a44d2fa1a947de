"""What the folder of a run says of it, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reparam._files import read_lines, read_object
from reparam._shown import shown
from reparam._spelling import inside_text
from reparam.cli.folders import EXPERIMENT
from reparam.experiment import Experiment

SUMMARY, EVALUATIONS = "summary.json", "evaluation.jsonl"
Bounds = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """What bounds must have in common to be compared.

    Attributes:
        protocol: of the run's data.
        checksum: of the examples that were measured on.
        measure: what kind of number they are bounds of: a probability, a density.
    """

    protocol: str | None
    checksum: str | None
    measure: str


@dataclass
class Measured:
    """Bounds of one kind.

    Attributes:
        data: name or path of the data.
        part: of the data.
        bounds: each with its standard error.
    """

    data: str
    part: str
    bounds: Bounds = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is known of a run; what is not known is None.

    Attributes:
        run: its folder.
        about: model, latent, observation, estimator, lr, seed and the checksum of the training data, as text.
        data: name or path of its data, as it was typed.
        protocol: of its data.
        epochs: that are done, if the summary has been written.
        finished: whether the training has ended.
        seconds: that it took.
        train: the bound of the last epoch: its name and its value.
        best_validation: bound, value and epoch.
        measured: the bounds of each kind.
    """

    run: Path
    about: Mapping[str, str]
    data: str | None
    protocol: str | None
    epochs: int | None
    finished: bool
    seconds: float | None
    train: Mapping[str, Any]
    best_validation: Mapping[str, Any] | None
    measured: Mapping[Kind, Measured] = field(default_factory=dict)

    def to_values(self, bounds: Bounds) -> dict[str, Any]:
        """As plain values, with some of the bounds."""
        names = ("model", "latent", "observation", "prior", "estimator", "lr", "batch_size", "seed")
        return {
            "run": str(self.run),
            **{name: self.about.get(name) for name in names},
            "data": self.data,
            "protocol": self.protocol,
            "checksum": self.about.get("trained on"),
            "finished": self.finished,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "train_bound": self.train.get("bound"),
            "train_value": self.train.get("value"),
            "best_validation": self.best_validation,
            "test": bounds,
        }


def known(run: Path) -> Known:
    """What is known of a run.

    Raises:
        ValueError: files that somebody changed into something else.
    """
    record = read_object(run / EXPERIMENT)
    summary = read_object(run / SUMMARY) if (run / SUMMARY).exists() else {}
    data = _object(record, "data")
    experiment = _experiment(run, record)
    name = None if experiment is None else experiment.dataset.data
    done = summary.get("epochs")
    asked = experiment.training.epochs if experiment is not None else done
    about = _from_python(record) if experiment is None else _typed(experiment)
    trained_on = {"trained on": data["checksum"]} if data.get("checksum") else {}
    return Known(
        run=run,
        about={name: str(value) for name, value in {**about, **trained_on}.items() if value is not None},
        data=name,
        protocol=data.get("protocol"),
        epochs=done,
        finished=done is not None and (done == asked or bool(summary.get("stopped_early"))),
        seconds=summary.get("seconds"),
        train=_object(summary, "train"),
        best_validation=summary.get("best"),
        measured=_measured(run, data.get("protocol"), _object(summary, "test"), name or "data") if summary else {},
    )


def _experiment(run: Path, record: Mapping[str, Any]) -> Experiment | None:
    if "experiment" not in record:
        return None
    try:
        with inside_text():
            return Experiment.from_values(record["experiment"])
    except ValueError as error:
        raise ValueError(f"{run / EXPERIMENT}: {error}") from error


def _typed(experiment: Experiment) -> dict[str, Any]:
    model, training = experiment.model, experiment.training
    return {
        "model": " ".join([model.network, *map(str, model.hidden)]),
        "latent": model.latent,
        "observation": model.observation,
        "prior": None if model.prior == "standard" else model.prior,
        "estimator": training.estimator,
        "lr": training.lr,
        "batch_size": training.batch_size,
        "seed": training.seed,
    }


def _from_python(record: Mapping[str, Any]) -> dict[str, Any]:
    """The text of a model has latent, observation and prior in it."""
    training = _object(record, "training")
    return {
        "model": record.get("model") or record.get("model_is"),
        "estimator": record.get("estimator") or record.get("estimator_is"),
        "lr": training.get("lr"),
        "batch_size": training.get("batch_size"),
        "seed": record.get("seed"),
    }


def _measured(run: Path, protocol: str | None, test: Mapping[str, Any], data: str) -> dict[Kind, Measured]:
    """The bounds of the weights that the summary measured, or of those of the newest evaluation where it measured none.

    A bound that was measured several times has its value in the summary, else the newest one.
    """
    evaluations = read_lines(run / EVALUATIONS)[::-1]
    lines = [{"part": "test", "data": data, **test}, *evaluations] if test else evaluations
    found: dict[Kind, Measured] = {}
    for line in lines:
        if all(line.get(name) == lines[0].get(name) for name in ("checkpoint", "step")):
            kind = Kind(protocol, line.get("checksum"), str(line.get("measure", "unknown measure")))
            each = found.setdefault(kind, Measured(str(line.get("data")), str(line.get("part"))))
            each.bounds = {**_bounds(run, line), **each.bounds}
    for each in found.values():
        each.bounds = dict(sorted(each.bounds.items(), key=lambda pair: order(pair[0])))
    return found


def _bounds(run: Path, line: Mapping[str, Any]) -> Bounds:
    bounds = {name: value for name, value in line.items() if name == "elbo" or name.startswith("iwae_")}
    for name, value in bounds.items():
        numbers = [value.get("value"), value.get("standard_error")] if isinstance(value, dict) else [None]
        if not isinstance(numbers[0], float | int) or not isinstance(numbers[-1], float | int | None):
            raise ValueError(
                f"a file of {run} has {name} {shown(value)}, which is no measured bound. Restore the file."
            )
    return bounds


def order(name: str) -> int:
    """The ELBO first, then the importance-weighted bounds by their number of samples."""
    samples = name.partition("_")[2]
    return int(samples) if samples.isdecimal() else 0


def _object(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}
