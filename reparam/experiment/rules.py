"""What the value of an option must be, from the type and the limits of its field."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reparam._nearest import nearest
from reparam._shown import shown
from reparam._spelling import argument

LIMITS = ("least", "above", "most", "ceiling")  # the ceiling is beyond all use, and mentioned only where it is passed


def type_of(options: Any, name: str) -> Any:
    """The type of one field of a class."""
    return _types(options)[name]


@functools.cache
def _types(options: Any) -> dict[str, Any]:
    return get_type_hints(options)


def limits_of(metadata: Mapping[str, Any]) -> dict[str, float]:
    """The limits among the metadata of a field."""
    return {name: metadata[name] for name in LIMITS if name in metadata}


def check_values(options: Any) -> None:
    """Refuses a value of another type than its field's, or beyond the field's limits.

    Raises:
        ValueError: the message has the name, the value and the rule.
    """
    for each in fields(options):
        value, kind = getattr(options, each.name), type_of(type(options), each.name)
        limits = limits_of(each.metadata)
        if not fits(value, kind, limits, empty=each.default == ""):
            raise ValueError(f"{argument(each.name)} is {shown(value)}; it must be {rule_of(kind, limits, value)}")


def fits(value: object, kind: Any, limits: Mapping[str, float], *, empty: bool = False) -> bool:
    """Whether a value is of a type and within limits.

    Args:
        value: to be looked at.
        kind: bool, int, float, str, Path, a Literal of strings, a tuple or a union of these, or a dataclass.
        limits: of a number, or of each number in a tuple.
        empty: whether a text may be empty.
    """
    return _is(value, kind) and _within(value, limits) and (value != "" or empty)


def _is(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is UnionType:
        return any(_is(value, each) for each in get_args(kind))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is tuple:
        first, *rest = get_args(kind)
        right_length = rest == [...] or (isinstance(value, tuple) and len(value) == 1 + len(rest))
        return isinstance(value, tuple) and right_length and all(_is(each, first) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _within(value: Any, limits: Mapping[str, float]) -> bool:
    if isinstance(value, tuple):
        return all(_within(each, limits) for each in value)
    if value is None or not limits:
        return True
    return (
        value >= limits.get("least", value)
        and value <= limits.get("most", value)
        and value <= limits.get("ceiling", value)
        and ("above" not in limits or value > limits["above"])
    )


def rule_of(kind: Any, limits: Mapping[str, float], value: object = None) -> str:
    """What follows "it must be", to the end of the sentence; with the nearest choice to a `value` that is none."""
    mentioned = {name: end for name, end in limits.items() if name != "ceiling" or _is_beyond(value, end)}
    names = {"least": "at least", "above": "above", "most": "at most", "ceiling": "at most"}
    ends = [f"{names[name]} {end}" for name, end in mentioned.items()]
    near = nearest(value, get_args(kind)) if isinstance(value, str) and get_origin(kind) is Literal else ""
    words = f"{_words(kind)} that is not empty" if value == "" and kind is str else _words(kind)
    rule = ", ".join([words, " and ".join(ends)] if ends else [words])
    return f"{rule}. {near}" if near.startswith("The nearest") else f"{rule}."


def _words(kind: Any) -> str:
    words = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number", NoneType: "null"}
    words[Path] = "the path of a file or folder"
    origin = get_origin(kind)
    if is_dataclass(kind):
        text = f"{getattr(kind, '__name__', kind)}(...)"
    elif origin is Literal:
        text = f"one of {', '.join(get_args(kind))}"
    elif origin is UnionType:
        text = " or ".join(map(_words, get_args(kind)))
    elif origin is tuple:
        rest = get_args(kind)[1:]
        text = "a tuple of whole numbers" if rest == (...,) else f"{1 + len(rest)} whole numbers"
    else:
        text = words[kind]
    return text


def _is_beyond(value: object, ceiling: float) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return any(isinstance(each, int | float) and each > ceiling for each in values)
