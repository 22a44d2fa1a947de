"""How a message names an argument: as Python has it, or as the option that was typed on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from reparam._shown import shown

_ABOUT_CONTENT: tuple[type[Exception], ...] = (
    *(FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError, OSError),
    *(TypeError, ValueError),
)
# None in Python; on the command line, the option of each argument that has one
_options: ContextVar[Mapping[str, str] | None] = ContextVar("options", default=None)


@contextmanager
def spelled_as(options: Mapping[str, str]) -> Iterator[None]:
    """Names arguments as options of the command line meanwhile.

    Args:
        options: the option of each argument that has one, such as {"num_samples": "--num-samples"}.
    """
    before = _options.set(options)
    try:
        yield
    finally:
        _options.reset(before)


@contextmanager
def inside_text() -> Iterator[None]:
    """Names arguments as they stand in a file or in a text such as "RLOO(num_samples=4)": those are no options."""
    before = _options.set(None if _options.get() is None else {})
    try:
        yield
    finally:
        _options.reset(before)


def argument(name: str) -> str:
    """The name of an argument: `num_samples`, or `--num-samples` on the command line."""
    return (_options.get() or {}).get(name, name)


def setting(name: str, value: object) -> str:
    """An argument with its value: `resize=(28, 28)`, or `--resize 28 28` on the command line."""
    option = (_options.get() or {}).get(name)
    if option is None:
        return f"{name}={value!r}"
    values = () if value is True else value if isinstance(value, tuple) else (value,)
    return " ".join([option, *(shlex.quote(str(each)) for each in values)])


def public(name: str) -> str:
    """A public name: `rp.RLOO`, or `RLOO` on the command line, where texts have no prefix."""
    return f"rp.{name}" if _options.get() is None else name


@contextmanager
def regarding(name: str, value: object) -> Iterator[None]:
    """Puts an argument and its value before an error about its content: "data is 'x.npy': x.npy does not exist"."""
    try:
        yield
    except _ABOUT_CONTENT as error:
        kind = next(each for each in _ABOUT_CONTENT if isinstance(error, each))  # not one with arguments of its own
        raise kind(f"{argument(name)} is {shown(value)}: {error}") from error
