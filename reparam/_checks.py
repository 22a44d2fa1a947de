"""Checks at the boundary: each raises once, with what was received, the rule, and what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

Shape = int | tuple[int, ...]


def whole(name: str, value: object, *, least: int = 1, remedy: str = "") -> int:
    """`value` as an int of at least `least`, or an error that says what to pass."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it must be a whole number. {remedy}".rstrip())
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}. {remedy}".rstrip())
    return value


def positive(name: str, value: object, *, remedy: str = "") -> float:
    """`value` as a finite float above zero, or an error that says what to pass."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; it must be a number above 0. {remedy}".rstrip())
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be finite and above 0. {remedy}".rstrip())
    return float(value)


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """`value`, if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.")
    return str(value)


def shape(name: str, value: object) -> torch.Size:
    """An int or a sequence of ints, all at least 1, as a `torch.Size`."""
    sizes = (value,) if isinstance(value, int) else value
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or not sizes:
        raise TypeError(f"{name} is {value!r}; give a whole number such as 784 or a shape such as (1, 28, 28).")
    return torch.Size([whole(f"a size in {name} {value!r}", size) for size in sizes])
