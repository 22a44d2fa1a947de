"""Checks at the boundary: each raises once, with what was received, the rule, and what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch

from reparam._shown import shown
from reparam._spelling import argument

Shape = int | tuple[int, ...]


def whole(name: str, value: object, *, least: int = 1, remedy: str = "") -> int:
    """`value` as an int of at least `least`, or an error that says what to pass."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{argument(name)} is {shown(value)}; it must be a whole number. {remedy}".rstrip())
    if int(value) < least:
        raise ValueError(f"{argument(name)} is {value}; it must be at least {least}. {remedy}".rstrip())
    return int(value)


def number(name: str, value: object, *, remedy: str = "") -> float:
    """`value` as a finite float, or an error that says what to pass."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument(name)} is {shown(value)}; it must be a number. {remedy}".rstrip())
    if not math.isfinite(value):
        raise ValueError(f"{argument(name)} is {value}; it must be finite. {remedy}".rstrip())
    return float(value)


def positive(name: str, value: object, *, remedy: str = "") -> float:
    """`value` as a finite float above zero, or an error that says what to pass."""
    if isinstance(value, Real) and not (math.isfinite(value) and float(value) > 0):
        raise ValueError(f"{argument(name)} is {value}; it must be finite and above 0. {remedy}".rstrip())
    return number(name, value, remedy=remedy)


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """`value`, if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{argument(name)} is {shown(value)}; it must be one of {', '.join(map(repr, allowed))}.")
    return str(value)


def shape(name: str, value: object) -> torch.Size:
    """An int or a tuple of ints, all at least 1, as a `torch.Size`."""
    sizes = value if isinstance(value, tuple) else (value,)
    remedy = "Give a whole number such as 784, or a tuple such as (1, 28, 28)."
    if not sizes:
        raise ValueError(f"{argument(name)} is {shown(value)}; it must have at least one axis. {remedy}")
    one = f"{argument(name)}, {value!r}," if len(sizes) > 1 else name
    return torch.Size([whole(one, size, remedy=remedy) for size in sizes])


def single_tensor(x: object) -> None:
    """Refuses a batch that is no tensor, such as the (x, y) that a loader of labelled examples yields.

    Raises:
        TypeError: `x` is not a tensor.
    """
    if not isinstance(x, torch.Tensor):
        remedy = f"Pass its first element, of {len(x)}." if isinstance(x, tuple | list) else "Use torch.as_tensor(x)."
        raise TypeError(f"x is a {type(x).__name__}; a model takes one tensor [batch, ...] without labels. {remedy}")


def usable_device(name: torch.device | str, asked_as: str = "device") -> torch.device:
    """The device of this name, if this machine and this build of torch have it; `asked_as` is the argument's name."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        found = torch.accelerator.current_accelerator()
        available = "cpu" if found is None else f"cpu and {found.type}"
        raise ValueError(
            f"{argument(asked_as)} is {str(name)!r}; this machine has {available} (torch {torch.__version__}). "
            "Take one that the machine has."
        ) from error
    return device
