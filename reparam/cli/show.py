"""What a command prints: one JSON object, or tables for people."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from reparam._printable import printable


def say(text: object, stream: IO[str] | None = None) -> None:
    """Prints a line, with control characters of the names in it escaped; on standard output if no stream is given."""
    print(printable(text), file=stream, flush=True)


def print_json(values: object) -> None:
    """One JSON object on standard output; what is no number there is null."""
    print(json.dumps(_plain(values), allow_nan=False))


def width() -> int:
    """Columns of the terminal, or of the environment variable COLUMNS; 80 where there is neither."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, width: int | None = None
) -> None:
    """A table; columns whose cells are all numbers stand to the right.

    Without a width a terminal's is taken; where nobody watches the table is as wide as it is.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if width is None and not sys.stdout.isatty():
        width = 240
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title and printable(title),
        title_justify="left",
        show_header=any(columns),
        pad_edge=False,
    )
    for number, name in enumerate(columns):
        right = all(_is_number(row[number]) for row in rows)
        table.add_column(printable(name), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False)
    with console.capture() as text:
        console.print(table)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))


def measured(value: Mapping[str, Any]) -> str:
    """A mean with its standard error, in nats; null stands for a mean that is not finite."""
    if value["value"] is None:
        return "not finite"
    error = value["standard_error"]
    return f"{value['value']:.2f}" + ("" if error is None else f" +/- {error:.2f}")


def seconds(value: float) -> str:
    """A time to read."""
    return f"{value:.1f} s" if value < 120 else f"{int(value // 60)} min {value % 60:.0f} s"


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "-0123456789"


def _plain(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(name): _plain(each) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(each) for each in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values if values is None or isinstance(values, bool | int | float) else str(values)
