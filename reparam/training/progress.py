"""A progress bar that is there when somebody watches."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Generator, Iterable
from operator import length_hint
from typing import TypeVar

from reparam._printable import printable

T = TypeVar("T")


def progress(
    items: Iterable[T], description: str, status: Callable[[], str] = str, shown: bool = True
) -> Generator[T, None, None]:
    """The same items, with a bar on standard error while they pass; nothing at all where that is no terminal.

    Args:
        items: anything to go over; the bar shows an end if it has a length.
        description: what stands before the bar.
        status: asked for a text to stand behind the bar a few times a second, never at every item.
        shown: whether this process is the one that shows it.
    """
    if not (shown and sys.stderr.isatty()):
        yield from items
        return
    # rich is imported where it is needed: it takes time, and draws from the global `random` when it is imported
    state = random.getstate()
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    random.setstate(state)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    text = (TextColumn("{task.description}", markup=False), *columns, TextColumn("{task.fields[status]}", markup=False))
    together = sys.stdout.isatty()  # then what a model prints goes above the bar; else it goes where it was sent
    console = Console(stderr=True)
    with Progress(*text, console=console, transient=True, auto_refresh=False, redirect_stdout=together) as bar:
        task = bar.add_task(printable(description), total=length_hint(items) or None, status="")
        drawn = bar.get_time()
        for done, item in enumerate(items):
            if bar.get_time() - drawn > 0.2:
                drawn = bar.get_time()
                bar.update(task, completed=done, status=printable(status()), refresh=True)
            yield item
