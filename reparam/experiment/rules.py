"""What the value of an option must be, from the type and the limits of its field."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reparam._nearest import nearest
from reparam._shown import shown


def type_of(options: Any, name: str) -> Any:
    """The type of one field."""
    return get_type_hints(options)[name]


def check_values(options: Any) -> None:
    """Refuses a value of another type than its field's, or beyond the field's limits.

    Raises:
        ValueError: the message has the name, the value and the rule.
    """
    for each in fields(options):
        value, kind = getattr(options, each.name), type_of(type(options), each.name)
        limits = {name: each.metadata[name] for name in ("least", "above", "most") if name in each.metadata}
        if not (_is(value, kind) and _within(value, limits)) or (value == "" and each.default != ""):
            near = (
                f" {nearest(value, get_args(kind))}" if isinstance(value, str) and get_origin(kind) is Literal else ""
            )
            raise ValueError(f"{each.name} is {shown(value)}; it must be {_rule(kind, limits)}.{near}")


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


def _within(value: Any, limits: dict[str, float]) -> bool:
    if isinstance(value, tuple):
        return all(_within(each, limits) for each in value)
    if value is None or not limits:
        return True
    return (
        value >= limits.get("least", value)
        and value <= limits.get("most", value)
        and ("above" not in limits or value > limits["above"])
    )


def _rule(kind: Any, limits: dict[str, float]) -> str:
    words = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number", NoneType: "null"}
    origin = get_origin(kind)
    if is_dataclass(kind):
        text = f"{getattr(kind, '__name__', kind)}(...)"
    elif origin is Literal:
        text = f"one of {', '.join(get_args(kind))}"
    elif origin is UnionType:
        text = " or ".join(_rule(each, {}) for each in get_args(kind))
    elif origin is tuple:
        rest = get_args(kind)[1:]
        text = "a tuple of whole numbers" if rest == (...,) else f"{1 + len(rest)} whole numbers"
    else:
        text = words[kind]
    ends = [f"{'at ' if name != 'above' else ''}{name} {end}" for name, end in limits.items()]
    return ", ".join([text, " and ".join(ends)] if ends else [text])
