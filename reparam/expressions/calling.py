"""Calls that a text asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from reparam._spelling import inside_text


def call(function: Callable[..., Any], positional: Sequence[Any], by_name: Mapping[str, Any]) -> Any:
    """What a function makes of arguments that stand in a text; errors name them as they stand there.

    Raises:
        TypeError: arguments that are missing, unknown, given twice or too many; the message has those that there are.
        MemoryError: sizes that are too large.
    """
    with inside_text():
        _check(function.__name__, function, positional, by_name)
        try:
            return function(*positional, **by_name)
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):
                raise
            raise MemoryError(
                f"there is not enough memory for {function.__name__} of this size; take a smaller one"
            ) from error


def _check(name: str, function: Callable[..., Any], positional: Sequence[Any], by_name: Mapping[str, Any]) -> None:
    """Refuses what does not fit the signature, before Python does in its own words."""
    parameters = inspect.signature(function).parameters
    kinds = [each.kind for each in parameters.values()]
    placed = [each.name for each in parameters.values() if each.kind in _PLACED]
    takes = f"it takes {', '.join(_shown(each) for each in parameters.values())}" if parameters else "it takes none"
    if len(positional) > len(placed) and Parameter.VAR_POSITIONAL not in kinds:
        values = f"{len(positional)} value{'s' if len(positional) > 1 else ''} without a name"
        raise TypeError(f"{name} has {values} and takes {len(placed) or 'none'}; {takes}")
    given = {*placed[: len(positional)]}
    for each in by_name:
        if each in given:
            raise TypeError(f"{name} has the argument {each!r} twice; {takes}")
        if each not in parameters and Parameter.VAR_KEYWORD not in kinds:
            raise TypeError(f"{name} has an unexpected keyword argument {each!r}; {takes}")
    needed = [each.name for each in parameters.values() if each.default is Parameter.empty and each.kind in _NEEDED]
    missing = [each for each in needed if each not in {*given, *by_name}]
    if missing:
        raise TypeError(f"{name} lacks {', '.join(missing)}; {takes}")


_PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NEEDED = (*_PLACED, Parameter.KEYWORD_ONLY)


def _shown(parameter: Parameter) -> str:
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return "any number of values"
    return "values with names of your own" if parameter.kind is Parameter.VAR_KEYWORD else parameter.name
