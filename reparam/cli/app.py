"""The tree of commands: what each one runs, its options, and what tyro shows of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tyro

from reparam.cli.comparing import compare
from reparam.cli.data import fetch, import_, info, list_
from reparam.cli.lab import lab
from reparam.cli.measuring import evaluate
from reparam.cli.options import Option, options_of
from reparam.cli.pictures import interpolate, reconstruct, sample, traverse
from reparam.cli.resuming import resume
from reparam.cli.training import described, options_of_preset, start
from reparam.cli.version import version
from reparam.experiment.presets import presets


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        run: called with the values of the options.
        shown: what tyro makes its help of.
        options: gives the options.
    """

    run: Callable[..., None]
    shown: Callable[[], Callable[..., Any]]
    options: Callable[[], list[Option]]


Group = Mapping[str, Command]


def app(*, brief: bool) -> tyro.extras.SubcommandApp:
    """What tyro shows the help and the completion of.

    Args:
        brief: describe each command in one line, as suits the list of all.
    """
    made = tyro.extras.SubcommandApp()
    for name, each in tree().items():
        if isinstance(each, Mapping):
            group = tyro.extras.SubcommandApp()
            for inner, command in each.items():
                group.command(name=inner)(command.shown())
            made.command(group, name=name, help=_GROUPS[name])
        else:
            shown = each.shown()
            made.command(name=name, help=(shown.__doc__ or "").splitlines()[0] if brief else None)(shown)
    return made


_GROUPS = {
    "train": "Trains a model on data, and measures it on test data.",
    "data": "Lists, describes, fetches and imports data.",
}


@functools.cache
def tree() -> dict[str, Command | Group]:
    """The commands by name; one that is divided has its parts by name."""
    return {
        "train": {name: _training(name) for name in presets},
        "resume": _command(resume),
        "evaluate": _command(evaluate),
        "sample": _command(sample),
        "reconstruct": _command(reconstruct),
        "traverse": _command(traverse),
        "interpolate": _command(interpolate),
        "compare": _command(compare),
        "data": {
            "list": _command(list_),
            "info": _command(info),
            "fetch": _command(fetch),
            "import": _command(import_),
        },
        "lab": _command(lab),
        "version": _command(version),
    }


def _command(function: Callable[..., None]) -> Command:
    return Command(function, lambda: function, functools.partial(options_of, function))


def _training(preset: str) -> Command:
    return Command(
        functools.partial(start, preset),
        functools.partial(described, preset),
        functools.partial(options_of_preset, preset),
    )
