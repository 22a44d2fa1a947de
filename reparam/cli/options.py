"""The options of the commands: their names, types and limits."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from reparam.experiment import Experiment
from reparam.experiment.config import DRAWS, FROM_0, FROM_1, SEED
from reparam.experiment.rules import limits_of, type_of


class Limits(dict[str, float]):
    """Limits of a number, as in the metadata of an experiment's fields; with a hash, which annotations must have."""

    __hash__ = object.__hash__  # type: ignore[assignment]


Part = Literal["test", "validation", "train"]
Checkpoint = Literal["auto", "best", "last"]
Draws = Annotated[int, Limits(DRAWS)]
Seed = Annotated[int, Limits(SEED)]
Count = Annotated[int, Limits(least=1, ceiling=10**6)]
Repeats = Annotated[int, Limits(least=20, ceiling=10**6)]
FromTwo = Annotated[int, Limits(least=2, ceiling=10**6)]
FromOne = Annotated[int, Limits(FROM_1)]
FromZero = Annotated[int, Limits(FROM_0)]

_MISSING = inspect.Parameter.empty


@dataclass(frozen=True)
class Option:
    """One option of a command, or a value that stands without one.

    Attributes:
        name: the argument in Python.
        kind: its type.
        default: the value if it is not given; a value without a default stands without an option, in its place.
        limits: of a number.
    """

    name: str
    kind: Any
    default: Any = _MISSING
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def positional(self) -> bool:
        """Whether the value stands without an option."""
        return self.default is _MISSING

    @property
    def word(self) -> str:
        """What is typed: `--num-samples`; or what stands for a value in its place: `RUN`."""
        name = self.name.replace("_", "-")
        if self.positional:
            return name.upper().removesuffix("S") if get_origin(self.kind) is tuple else name.upper()
        return f"--no-{name}" if self.default is True else f"--{name}"

    @property
    def optional(self) -> bool:
        """Whether the value may be None."""
        return get_origin(self.kind) is UnionType

    @property
    def inner(self) -> Any:
        """The type of the value if it is not None."""
        return next(each for each in get_args(self.kind) if each is not NoneType) if self.optional else self.kind

    @property
    def least_words(self) -> int:
        """How many words the value has at least."""
        return 0 if self.kind is bool or get_args(self.inner)[1:] == (...,) else 1

    def most_words(self, taken: Sequence[str] = ()) -> float:
        """How many words the value has at most, where some are taken already."""
        if self.kind is bool:
            return 0
        if get_origin(self.inner) is not tuple or (self.optional and list(taken) == ["None"]):
            return 1
        return inf if get_args(self.inner)[1:] == (...,) else len(get_args(self.inner))

    @property
    def remedy(self) -> str:
        """What to do about a wrong value."""
        if self.positional:
            return ""
        if self.default in (None, "", ()):
            return f"Correct it, or leave {self.word} out."
        words = self.default if isinstance(self.default, tuple) else (self.default,)
        return f"Leave {self.word} out for {' '.join(map(str, words))}."


def options_of(command: Callable[..., Any]) -> list[Option]:
    """The options of a function, from its signature."""
    kinds = get_type_hints(command, include_extras=True)
    return [_option(name, kinds[name], each.default) for name, each in inspect.signature(command).parameters.items()]


def options_of_experiment(experiment: Experiment) -> list[Option]:
    """The options of an experiment, whatever section they stand in, with its values as their defaults."""
    found: list[Option] = []
    for each in dataclasses.fields(Experiment):
        section = getattr(experiment, each.name)
        if dataclasses.is_dataclass(section):
            found += [
                Option(f.name, type_of(type(section), f.name), getattr(section, f.name), limits_of(f.metadata))
                for f in dataclasses.fields(section)
            ]
    return found


def _option(name: str, kind: Any, default: Any) -> Option:
    found = [each for part in (kind, *get_args(kind)) for each in get_args(part)[1:] if isinstance(each, Limits)]
    return Option(name, _bare(kind), default, found[0] if found else {})


def _bare(kind: Any) -> Any:
    """A type without what annotates it, or the parts of a union."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):  # one of an annotated type is of typing's own kind
        return functools.reduce(operator.or_, map(_bare, get_args(kind)))
    return kind
