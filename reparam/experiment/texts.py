"""The texts of an experiment as objects: families, estimators and learning rates."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from reparam._checks import Shape, positive
from reparam._nearest import nearest
from reparam._shown import shown
from reparam._spelling import argument
from reparam.estimators import Estimator
from reparam.experiment.config import Experiment
from reparam.expressions import Make, Unreadable, call, parse_as
from reparam.expressions.names import ESTIMATORS, FAMILIES, SCHEDULES
from reparam.families import Family
from reparam.hierarchy import Hierarchy, Ladder
from reparam.schedules import Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class Layers:
    """Several layers of latents, and the model that they make.

    Attributes:
        kind: `Hierarchy` or `Ladder`.
        latents: the families of z_1 (next to x) to z_L.
    """

    kind: type[Hierarchy] | type[Ladder]
    latents: Sequence[Family]


def build_estimator(experiment: Experiment, num_steps: int) -> Estimator:
    """The estimator, for a training of so many optimiser steps; one with networks of its own draws random numbers.

    Raises:
        ValueError: a text that is no estimator.
    """
    text = experiment.training.estimator
    with _option("estimator", text, "an estimator such as RLOO(4)", ESTIMATORS):
        made: Estimator = parse_as(_one_of(ESTIMATORS), text, steps=num_steps)
        return _checked(made, isinstance(made, ESTIMATORS))


def build_lr(experiment: Experiment, num_steps: int) -> float | Schedule:
    """The learning rate, for a training of so many optimiser steps: a number, or a schedule of the step.

    Raises:
        ValueError: a text that is neither, a number that is not above 0.
    """
    text = experiment.training.lr
    with _option("lr", text, "a number or a schedule such as cosine(5e-3, steps, warmup=500)", SCHEDULES):
        made = parse_as(_one_of(SCHEDULES), text, steps=num_steps)
        counts = re.search(r"\bsteps\b", text) is not None
        is_number = isinstance(made, int | float) and not isinstance(made, bool) and not counts
        rate = _checked(made, is_number or isinstance(made, SCHEDULES))
    return positive("lr", rate, remedy="Such a number is 0.001.") if is_number else rate


def latent_of(experiment: Experiment) -> Family | Layers:
    """The family of the latent, or the layers of several.

    Raises:
        ValueError: a text that is neither.
    """
    text = experiment.model.latent
    with _option(
        "latent",
        text,
        "a family such as Gaussian(20), or layers such as Hierarchy(Gaussian(50), Gaussian(20))",
        _LATENTS,
    ):
        made: Family | Layers = parse_as(_latent, text)
        return _checked(made, isinstance(made, Family | Layers))


def observation_of(experiment: Experiment, shape: Shape) -> Family:
    """The family of the observations, with the shape of the data, which the text need not name.

    Raises:
        ValueError: a text that is no family, or one of another shape.
    """
    text = experiment.model.observation
    with _option("observation", text, "a family such as Bernoulli or Gaussian(scale=0.1)", FAMILIES):
        make = _one_of(FAMILIES) if re.search(r"\bshape\b", text) else _with_shape(shape)
        made = parse_as(make, text, shape=shape)
        family: Family = _checked(made, isinstance(made, Family))
    if family.event_shape != torch.Size(shape if isinstance(shape, tuple) else (shape,)):
        raise ValueError(
            f"{argument('observation')} is {shown(text)}, of shape {tuple(family.event_shape)}, and an example has the "
            f"shape {shape}. Leave the shape out: Bernoulli, or Gaussian(scale=0.1)."
        )
    return family


_LATENTS = (*FAMILIES, Hierarchy, Ladder)


class _Another(ValueError):
    """A text that stands for something, but not for what the option is about."""


def _checked(made: T, right: bool) -> T:
    if not right:
        raise _Another
    return made


@contextmanager
def _option(name: str, text: str, expected: str, kinds: Sequence[Any]) -> Iterator[None]:
    """Says of which option an error is.

    Args:
        name: of the option.
        text: its value.
        expected: what the text must stand for.
        kinds: what it may name, for the nearest name to one that there is not.
    """
    told = f"{argument(name)} is {shown(text)}; "
    try:
        yield
    except Unreadable as error:
        why = error.why
        if isinstance(error.__cause__, _Another):
            why = f"it must be {expected}."
        elif error.whole and error.unknown is not None:
            near = nearest(error.unknown, [each.__name__ for each in kinds])
            near = near if near.startswith("The nearest") else f"It must be {expected}."
            why = f"there is no {error.unknown}. {near}"
        raise ValueError(f"{told}{why}") from error
    except _Another:
        raise ValueError(f"{told}it must be {expected}.") from None


def _one_of(kinds: tuple[Any, ...]) -> Make:
    """Makes what is of these kinds, and refuses all else, whatever its arguments."""

    def make(function: Callable[..., Any], positional: list[Any], by_name: dict[str, Any]) -> Any:
        if function not in kinds:
            raise _Another
        return call(function, positional, by_name)

    return make


def _with_shape(shape: Shape) -> Make:
    """Makes a family with the shape in its place; without it, if somebody gave it."""
    made = _one_of(FAMILIES)

    def make(family: Callable[..., Any], positional: list[Any], by_name: dict[str, Any]) -> Any:
        names = list(inspect.signature(family).parameters)
        if "shape" not in names:
            return made(family, positional, by_name)
        at = names.index("shape")
        try:
            return made(family, [*positional[:at], shape, *positional[at:]], by_name)
        except (TypeError, ValueError) as error:
            try:
                return made(family, positional, by_name)
            except (TypeError, ValueError):
                raise error from None

    return make


def _latent(make: Callable[..., Any], positional: list[Any], by_name: dict[str, Any]) -> Any:
    """Of `Hierarchy` and `Ladder` the layers: the experiment's other options say what their networks are."""
    if make is not Hierarchy and make is not Ladder:
        return _one_of(FAMILIES)(make, positional, by_name)
    given = [*positional, *([by_name.pop("latents")] if "latents" in by_name else [])]
    latents = given[0] if len(given) == 1 and isinstance(given[0], list | tuple) else given
    if by_name or not latents or not all(isinstance(each, Family) for each in latents):
        raise ValueError(
            f"{make.__name__} takes the families of its layers here and nothing else, the one next to x first, such as "
            f"{make.__name__}(Gaussian(50), Gaussian(20)); {argument('network')}, {argument('hidden')} and "
            f"{argument('prior')} say the rest"
        )
    return Layers(make, latents)
