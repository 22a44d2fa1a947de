"""`reparam train PRESET`: a command for each preset, with that preset's values as the defaults of its options."""

from __future__ import annotations

import copy
import dataclasses
import functools
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import tyro

from reparam.cli.folders import kept, reserved, unused
from reparam.cli.live import Lines
from reparam.cli.options import Option, options_of_experiment
from reparam.cli.sections import SECTIONS, sections
from reparam.experiment import Experiment
from reparam.experiment.presets import presets

_OWN: dict[str, tuple[Any, Any, str]] = {
    "run": (Path | None, None, "New folder of the run; if not given, runs/PRESET-DATE-TIME."),
    "overwrite": (bool, False, "Remove the files of the run that is in the folder."),
    "tensorboard": (bool, False, "Write the metrics for TensorBoard too; needs tensorboard."),
    "json": (bool, False, "Print the summary as one JSON object on standard output, all else on standard error."),
}
_DESCRIPTION = "What this run is, in a line; kept in experiment.json."


def described(preset: str) -> type:
    """What tyro makes the help of a preset's command of: a class with a field for each option."""
    experiment = presets[preset]
    own = {"description": (str, experiment.description, _DESCRIPTION), **_OWN}
    fields: list[Any] = [
        (name, Annotated[kind, tyro.conf.arg(help=words)], dataclasses.field(default=default))
        for name, (kind, default, words) in own.items()
    ]
    fields += [
        (name, SECTIONS[name], dataclasses.field(default_factory=functools.partial(copy.copy, default)))
        for name, default in sections(experiment).items()
    ]
    return dataclasses.make_dataclass("Train", fields, namespace={"__doc__": f"{experiment.description}."})


def options_of_preset(preset: str) -> list[Option]:
    """The options of a preset's command."""
    own = [Option(name, kind, default) for name, (kind, default, _) in _OWN.items()]
    return [Option("description", str, ""), *own, *options_of_experiment(presets[preset])]


def start(preset: str, **typed: Any) -> None:
    """Trains a preset with the options that were typed."""
    how = {name: typed.pop(name, default) for name, (_, default, _) in _OWN.items()}
    before = presets[preset]
    experiment = before.replace(**typed)
    if experiment.description == before.description:
        changed = _changed(experiment, before)
        also = f"; but {', '.join(changed)}" if changed else ""
        experiment = experiment.replace(description=f"{before.description}{also}")
    train(preset, experiment, **how)


def _changed(chosen: Experiment, preset: Experiment) -> list[str]:
    """What of the model and its training is not the preset's."""
    parts = ((chosen.model, preset.model), (chosen.dataset, preset.dataset), (chosen.training, preset.training))
    return [
        f"{each.name} {_words(getattr(ours, each.name))}"
        for ours, theirs in parts
        for each in dataclasses.fields(ours)
        if getattr(ours, each.name) != getattr(theirs, each.name) and each.name not in ("epochs", "seed", "validation")
    ]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def train(
    preset: str, experiment: Experiment, run: Path | None, *, overwrite: bool, tensorboard: bool, json: bool
) -> None:
    """Trains, with lines on the way and a table at the end."""
    if run is not None:
        unused(run, overwrite)
    from reparam import runs
    from reparam.training import Run

    fabric = runs.launch_of(experiment)
    first = fabric is None or fabric.is_global_zero
    with ExitStack() as stack:
        folder = run or (stack.enter_context(reserved(preset)) if first else None)
        folder = folder if fabric is None else fabric.broadcast(folder)
        assert folder is not None
        stack.enter_context(kept(folder))
        lines = Lines(folder, experiment.training.epochs, json=json, quiet=not first)
        summary = runs.train(
            experiment,
            Run(folder, overwrite=overwrite, tensorboard=tensorboard),
            fabric=fabric,
            on_epoch=lines,
            on_start=functools.partial(lines.say, f"{folder}: {experiment.description}."),
        )
    lines.end(summary)
