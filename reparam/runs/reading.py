"""What a run holds: its experiment, its data, its model."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from reparam._checks import choice, usable_device
from reparam._printable import printable, printable_errors
from reparam._spelling import argument, inside_text, regarding
from reparam.data import Splits, checksum, load_data
from reparam.data.sources import SOURCES
from reparam.experiment import Experiment
from reparam.expressions import parse
from reparam.hierarchy import Hierarchy, Ladder
from reparam.inspection import check_model
from reparam.model import VAE, LatentVariableModel
from reparam.training.checkpoint import DamagedCheckpoint, read_checkpoint
from reparam.training.run import CHECKPOINTS, EXPERIMENT, checkpoints, read_record
from reparam.training.session import load_state

Which = Literal["auto", "best", "last"]
M = TypeVar("M", bound=LatentVariableModel)


@printable_errors()
def load(
    run: str | Path,
    *,
    model: M | None = None,
    checkpoint: Which = "auto",
    device: torch.device | str = "cpu",
) -> M | VAE | Hierarchy | Ladder:
    """The model of a run, trained, in eval mode.

    Args:
        run: its folder.
        model: one that you built as it was, for a model that is not made of this library's parts; it is filled in
            place, on the device it is on.
        checkpoint: "best" by the exact validation bound, "last", or "auto": the best if there was a validation.
        device: where the model is to be.

    Raises:
        FileNotFoundError: no run, or none of its checkpoints.
        ValueError: a run whose model cannot be built from text, and no `model`; weights that are not its.
    """
    folder = Path(run)
    record = read_record(folder)
    state = saved(folder, checkpoint)[1]["model"]
    if model is not None:
        check_model(model)
        load_state(model, state)
        return model
    return model_of(folder, record, state, device)


def model_of(
    folder: Path, record: dict[str, Any], state: dict[str, torch.Tensor], device: torch.device | str
) -> VAE | Hierarchy | Ladder:
    """The model of a run's record with the weights of a checkpoint, in eval mode; errors as those of `load`."""
    if not isinstance(record.get("model"), str):
        raise ValueError(
            f"the model of {folder} is a {record.get('model_is')}, which cannot be built from text. Build it as it "
            "was, and pass it: rp.load(run, model=your_model)."
        )
    try:
        with torch.random.fork_rng([]), inside_text():
            built = parse(record["model"])
    except ValueError as error:
        raise ValueError(f"{folder / EXPERIMENT}: model: {error}") from error
    if not isinstance(built, VAE | Hierarchy | Ladder):
        raise ValueError(
            f"the model in {folder / EXPERIMENT} is no model but {record['model'][:80]!r}. Restore the file."
        )
    built = built.to(usable_device(device), _precision(state))
    load_state(built, state)
    return built.eval()


def _precision(state: dict[str, torch.Tensor]) -> torch.dtype:
    """The dtype of the largest tensor: a buffer may be kept in more digits than the weights."""
    floating = [value for value in state.values() if value.is_floating_point()]
    return max(floating, key=torch.Tensor.numel).dtype if floating else torch.get_default_dtype()


def saved(folder: Path, which: Which) -> tuple[str, dict[str, Any]]:
    """A checkpoint that is whole: its file's name and what is in it.

    Raises:
        FileNotFoundError: there is none.
        DamagedCheckpoint: there are some, all of them damaged.
    """
    choice("checkpoint", which, ("auto", "best", "last"))
    best = folder / CHECKPOINTS / "best.safetensors"
    candidates = [best] if which != "last" and best.exists() else []
    if which != "best":
        candidates += reversed(checkpoints(folder))
    damaged = []
    for path in candidates:
        try:
            tree = read_checkpoint(path)
            if not isinstance(tree.get("model"), dict):
                raise DamagedCheckpoint(f"{path} holds no model")
        except DamagedCheckpoint as error:
            damaged.append(str(error))
        except FileNotFoundError:  # removed since it was listed, by the training that goes on
            continue
        else:
            for each in damaged:
                warnings.warn(printable(f"{each}; {path.name} is used."), stacklevel=2)
            return path.name, tree
    kind = "best checkpoint; it had no validation" if which == "best" and not damaged else "checkpoint that is whole"
    if damaged:
        raise DamagedCheckpoint(". ".join([f"{folder} has no {kind}", *damaged]) + ".")
    raise FileNotFoundError(f"{folder} has no {kind}.")


@printable_errors()
def experiment_of(folder: str | Path) -> Experiment:
    """What a run was started from.

    Raises:
        FileNotFoundError: no run there.
        ValueError: a run that was started by `rp.fit`, or whose experiment.json was changed to something else.
    """
    path = Path(folder)
    record = read_record(path)
    if "experiment" not in record:
        raise ValueError(
            f"{path} was started from Python, and its data and optimiser are known there. Go on with "
            f"rp.fit(..., run=rp.Run({str(path)!r}, resume=True))."
        )
    try:
        with inside_text():
            return Experiment.from_values(record["experiment"])
    except ValueError as error:
        raise ValueError(f"{path / EXPERIMENT}: {error}") from error


def data_of(experiment: Experiment) -> Splits:
    """The data that an experiment names: square grey images as rows, unless its network takes images; others as stored.

    Of rows that are squares pictures can be drawn; of other images the shape has to be kept for that.
    """
    options, takes_images = experiment.dataset, experiment.model.takes_images
    named = options.data in SOURCES and not takes_images
    with regarding("data", options.data):
        data = load_data(
            options.data,
            options.protocol,
            validation=options.validation,
            shape=options.shape or (None if named else "image"),
            resize=options.resize,
            colour=options.colour,
            array=options.array,
            labels=options.labels,
        )
    event_shape = data.train.values.shape[1:]
    if (
        options.shape
        or takes_images
        or len(event_shape) != 3
        or event_shape[0] != 1
        or event_shape[1] != event_shape[2]
    ):
        return data
    rows = {name: dataclasses.replace(part, values=part.values.flatten(1)) for name, part in data.parts().items()}
    return Splits(rows["train"], rows.get("validation"), rows["test"], data.notes)


def check_data(run: str | Path, data: Splits) -> None:
    """Refuses data that are not those the run was trained on.

    Raises:
        ValueError: their checksum is another than experiment.json has.
    """
    record = read_record(Path(run)).get("data")
    before = record.get("checksum") if isinstance(record, dict) else None
    now = checksum(data.train)
    if before is not None and before != now:
        raise ValueError(
            f"the data have changed since {run} was trained: their checksum was {before} and is {now}. Restore them, "
            f"or name other data with {argument('data')} to measure on them."
        )
