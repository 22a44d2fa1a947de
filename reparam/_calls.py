"""What a network was made by: the name of a function and its arguments, kept on the module that it returned."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from torch import Tensor, nn

P = ParamSpec("P")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Initial:
    """In place of a tensor among the arguments: it only said where a weight begins, and of that the shape is kept."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A call of a function that makes a module.

    Attributes:
        make: the function's name.
        arguments: by name, those that were given.
    """

    make: str
    arguments: Mapping[str, object]


def recorded(make: Callable[P, M]) -> Callable[P, M]:
    """`make`, with the call noted on what it returns, so that `expressions.writing` can write it down.

    A call with a function among its arguments (`lambda: nn.LeakyReLU(0.2)`) is not noted: it cannot be written, and a
    module that holds a lambda cannot be pickled by those who want to.
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def noted(*args: P.args, **kwargs: P.kwargs) -> M:
        module = make(*args, **kwargs)
        arguments = {name: _plain(value) for name, value in signature.bind(*args, **kwargs).arguments.items()}
        if not any(callable(value) and not isinstance(value, type) for value in arguments.values()):
            module.__dict__["_made_by"] = Call(make.__name__, arguments)
        return module

    return noted


def call_of(module: nn.Module) -> Call | None:
    """The call that made it, if that was noted."""
    call = module.__dict__.get("_made_by")
    return call if isinstance(call, Call) else None


def _plain(value: object) -> object:
    if isinstance(value, Tensor):
        return Initial(tuple(value.shape))
    return list(value) if isinstance(value, list) else value  # a list may be changed later by its owner
