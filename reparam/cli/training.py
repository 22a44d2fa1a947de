"""`reparam train PRESET`: a command for each preset, with that preset's values as the defaults of its options."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from reparam.cli.folders import kept, new, unused
from reparam.cli.live import Lines
from reparam.cli.options import SECTIONS, sections
from reparam.experiment import Experiment
from reparam.experiment.presets import presets

_OWN: dict[str, tuple[Any, Any, str]] = {
    "run": (Path | None, None, "New folder of the run; if not given, runs/PRESET-DATE-TIME."),
    "overwrite": (bool, False, "Remove the files of the run that is in the folder."),
    "tensorboard": (bool, False, "Write the metrics for TensorBoard too; needs tensorboard."),
    "json": (bool, False, "Print the summary as one JSON object on standard output, all else on standard error."),
}
_DESCRIPTION = "What this run is, in a line; kept in experiment.json."


def commands() -> dict[str, Callable[..., Callable[[], None]]]:
    """`train` for each preset, by its name: a class whose objects are what was typed, and are called to train."""
    return {name: _command(name, experiment) for name, experiment in presets.items()}


def _command(preset: str, experiment: Experiment) -> Callable[..., Callable[[], None]]:
    own = {"description": (str, experiment.description, _DESCRIPTION), **_OWN}
    fields: list[Any] = [
        (name, Annotated[kind, tyro.conf.arg(help=words)], dataclasses.field(default=default))
        for name, (kind, default, words) in own.items()
    ]
    fields += [
        (name, SECTIONS[name], dataclasses.field(default_factory=functools.partial(copy.copy, default)))
        for name, default in sections(experiment).items()
    ]

    def start(self: Any) -> None:
        chosen = {"description": self.description}
        for name in SECTIONS:
            chosen |= vars(getattr(self, name))
        if self.description == experiment.description:
            changed = _changed(experiment.replace(**chosen), experiment)
            chosen["description"] += f"; but {', '.join(changed)}" if changed else ""
        how = {"overwrite": self.overwrite, "tensorboard": self.tensorboard, "json": self.json}
        train(preset, experiment.replace(**chosen), self.run, **how)

    namespace = {"__call__": start, "__doc__": f"{experiment.description}."}
    return dataclasses.make_dataclass("Train", fields, namespace=namespace)


def _changed(chosen: Experiment, preset: Experiment) -> list[str]:
    """What of the model and its training is not the preset's."""
    parts = ((chosen.model, preset.model), (chosen.dataset, preset.dataset), (chosen.training, preset.training))
    return [
        f"{each.name} {getattr(ours, each.name)}"
        for ours, theirs in parts
        for each in dataclasses.fields(ours)
        if getattr(ours, each.name) != getattr(theirs, each.name) and each.name not in ("epochs", "seed", "validation")
    ]


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
    folder = run or (new(preset) if first else None)
    folder = folder if fabric is None else fabric.broadcast(folder)
    assert folder is not None
    lines = Lines(folder, experiment.training.epochs, json=json, quiet=not first)
    lines.say(f"{folder}: {experiment.description}.")
    try:
        with kept(folder):
            keep = Run(folder, overwrite=overwrite, tensorboard=tensorboard)
            summary = runs.train(experiment, keep, fabric=fabric, on_epoch=lines)
    finally:
        if run is None and first and {path.name for path in folder.iterdir()} <= {".lock"}:  # nothing was begun
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
    lines.end(summary)
