"""The tree of commands, for tyro."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tyro

from reparam.cli.comparing import compare
from reparam.cli.data import fetch, import_, info, list_
from reparam.cli.lab import lab
from reparam.cli.measuring import evaluate
from reparam.cli.pictures import interpolate, reconstruct, sample, traverse
from reparam.cli.resuming import resume
from reparam.cli.training import commands as presets
from reparam.cli.version import version

Commands = Mapping[str, Callable[..., Any]]


def groups() -> dict[str, Commands]:
    """The commands by name; one that is divided has its parts, the others have none."""
    return {name: each if isinstance(each, Mapping) else {} for name, each in _tree().items()}


def app(*, brief: bool) -> tyro.extras.SubcommandApp:
    """What tyro parses. It gives back a call to be made: an error in a command is no error of what was typed.

    Args:
        brief: describe each command in one line, as suits the list of all.
    """
    made = tyro.extras.SubcommandApp()
    for name, each in _tree().items():
        if isinstance(each, Mapping):
            group = tyro.extras.SubcommandApp()
            for inner, command in each.items():
                group.command(name=inner)(_later(command))
            made.command(group, name=name, help=_GROUPS[name])
        else:
            made.command(name=name, help=(each.__doc__ or "").splitlines()[0] if brief else None)(_later(each))
    return made


_GROUPS = {
    "train": "Trains a model on data, and measures it on test data.",
    "data": "Lists, describes, fetches and imports data.",
}


@functools.cache
def _tree() -> dict[str, Callable[..., Any] | Commands]:
    return {
        "train": presets(),
        "resume": resume,
        "evaluate": evaluate,
        "sample": sample,
        "reconstruct": reconstruct,
        "traverse": traverse,
        "interpolate": interpolate,
        "compare": compare,
        "data": {"list": list_, "info": info, "fetch": fetch, "import": import_},
        "lab": lab,
        "version": version,
    }


def _later(command: Callable[..., Any]) -> Callable[..., Callable[[], None]]:
    if isinstance(command, type):  # its objects are calls to be made already
        return command

    @functools.wraps(command)
    def parsed(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **options)

    return parsed
