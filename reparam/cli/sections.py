"""The options of an experiment in their sections, for tyro's help: as in `Experiment`, but without its checks."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import docstring_parser
import tyro

from reparam.experiment import Experiment
from reparam.experiment.rules import type_of


def sections(experiment: Experiment) -> dict[str, Any]:
    """The sections of an experiment with its values: objects of plain classes, for defaults."""
    return {
        name: plain(**{each.name: getattr(getattr(experiment, name), each.name) for each in dataclasses.fields(plain)})
        for name, plain in SECTIONS.items()
    }


def _plain(section: Any) -> Any:
    """A class with the fields of a section and their descriptions, but without its checks."""
    parsed = docstring_parser.parse(section.__doc__ or "")
    words = {each.arg_name: each.description or "" for each in parsed.params}
    fields: list[tuple[str, Any]] = []
    for each in dataclasses.fields(section):
        kind: Any = Annotated[type_of(section, each.name), tyro.conf.arg(help=" ".join(words[each.name].split()))]
        fields.append((each.name, kind))
    return dataclasses.make_dataclass(section.__name__, fields, namespace={"__doc__": parsed.short_description})


SECTIONS: dict[str, Any] = {
    each.name: _plain(type_of(Experiment, each.name))
    for each in dataclasses.fields(Experiment)
    if dataclasses.is_dataclass(type_of(Experiment, each.name))
}
