"""Tables: comma-separated and tab-separated values, and Parquet. A row is an example."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reparam.data.extras import needed
from reparam.data.labels import delimiter_of
from reparam.data.roles import LABEL_COLUMNS, NAME_COLUMNS
from reparam.data.stored import Choice, Stored, part_of

PANDAS_INDEX = "__index_level_0__"


@dataclass(frozen=True)
class _Columns:
    """Which column of a table is for what."""

    values: list[int]
    labels: int | None
    names: int | None


def read_csv(path: Path, choice: Choice) -> Stored:
    """The numbers of a text table; `choice.labels` is the name or the number of the column of labels.

    The first line is a header if a cell of it is no number, or if it counts the columns from 0. Without
    `choice.labels`, a column called label, labels, class or target holds the labels; a first column without a name, or
    called id, index, name or file, holds the names of the rows.

    Raises:
        ValueError: a text in UTF-8 that is no table, a cell that is no number.
    """
    first = next((row for row in _rows(path)), None)
    if first is None:
        raise ValueError(
            f"{path} is empty; a table of numbers is expected, a line for each example. Write the file anew."
        )
    header = [cell.strip() for cell in first] if _is_header(first) else []
    columns = _columns(header or [str(number) for number in range(len(first))], choice.labels, path)
    notes = _notes(header, columns, path)
    values = _numbers(path, columns, header)
    texts: dict[int | None, list[str]] = {each: [] for each in (columns.labels, columns.names) if each is not None}
    for row in islice(_rows(path), int(bool(header)), None) if texts else ():
        if len(row) != len(first):
            raise ValueError(_offender(path, columns.values, header))
        for column, found in texts.items():
            found.append("" if column is None else row[column].strip())
    labels = np.array(texts[columns.labels]) if columns.labels in texts else None
    names = tuple(texts[columns.names]) if columns.names in texts else None
    return Stored({"train": part_of(values, str(path), labels, names)}, untyped=True, notes=notes)


def _rows(path: Path) -> Iterator[list[str]]:
    """The rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (row for row in csv.reader(file, delimiter=_delimiter(path)) if row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path} is no table of numbers ({error}). Write the file anew.") from error


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return delimiter_of(file.readline(2**20))


def _is_header(row: Sequence[str]) -> bool:
    counted = len(row) > 2 and [cell.strip() for cell in row] == [str(number) for number in range(len(row))]
    return counted or not all(_is_number(cell) for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _columns(names: Sequence[str], labels: str | None, path: Path) -> _Columns:
    lower = [name.strip().lower() for name in names]
    found = [number for number, name in enumerate(lower) if name in LABEL_COLUMNS]
    if labels is not None:
        found = [names.index(labels)] if labels in names else [int(labels)] if labels.isdecimal() else [len(names)]
        if found[0] >= len(names):
            shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            raise ValueError(f"labels is {labels!r}; {path} has no such column; there are {shown}. Name one of these.")
    if len(found) > 1:
        raise ValueError(
            f"{path} has the columns {' and '.join(names[each] for each in found)}, which may all be the labels. Name "
            "one of them by labels= (--labels), and drop the others."
        )
    label = found[0] if found else None
    name = next((number for number, each in enumerate(lower) if each == PANDAS_INDEX), None)
    if name is None and lower[0] in NAME_COLUMNS and label != 0:
        name = 0
    values = [number for number in range(len(names)) if number not in (label, name)]
    if not values:
        raise ValueError(f"{path} has no column of values: there are {', '.join(names)}. Add some.")
    return _Columns(values, label, name)


def _notes(header: Sequence[str], columns: _Columns, path: Path) -> tuple[str, ...]:
    kinds = {"the labels": columns.labels, "the names of the rows": columns.names}
    called = {kind: header[at] if header else f"number {at}" for kind, at in kinds.items() if at is not None}
    notes = [f"{path}: the column {name or 'without a name'} holds {kind}" for kind, name in called.items()]
    if header and all(cell.isdecimal() for cell in header):
        notes.append(f"{path}: the first line counts the columns, and is read as a header")
    return tuple(notes)


def _numbers(path: Path, columns: _Columns, header: Sequence[str]) -> NDArray[Any]:
    """The values of a text table: int64 if all are written as whole numbers, else float64."""
    all_of_them = columns.labels is None and columns.names is None  # then NumPy sees rows of another length
    options: dict[str, Any] = {
        "delimiter": _delimiter(path),
        "skiprows": int(bool(header)),
        "usecols": None if all_of_them else columns.values,
        "ndmin": 2,
        "comments": None,
        "quotechar": '"',
        "encoding": "utf-8-sig",
    }
    for kind in (np.int64, np.float64):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # by which NumPy 1 says that it cuts 1.5 to 1
                values: NDArray[Any] = np.loadtxt(path, dtype=kind, **options)
                return values
        except (ValueError, OverflowError, DeprecationWarning) as error:
            reason = error
    raise ValueError(
        _offender(path, columns.values, header) or f"{path} is no table of numbers ({reason}). Write the file anew."
    )


def _offender(path: Path, columns: Sequence[int], header: Sequence[str]) -> str:
    """The first cell that is no number, or the first row of another length, in words."""
    expected = 0
    for number, row in enumerate(_rows(path), 1):
        expected = expected or len(row)
        if number == 1 and header:
            continue
        if len(row) != expected:
            return (
                f"{path} has {len(row)} cells in row {number} and {expected} in the first. Every row must have a cell "
                "for each column. Fill or remove it."
            )
        for column in columns:
            if not _is_number(row[column]):
                name = repr(header[column]) if header else f"number {column}"
                what = repr(row[column]) if row[column].strip() else "an empty cell"
                return (
                    f"{path} holds {what} in row {number}, column {name}; every value must be a number. Fill or remove "
                    "it, or name the column by labels= (--labels) if it holds the labels."
                )
    return ""


def read_parquet(path: Path, choice: Choice) -> Stored:
    """The numbers of a Parquet file; columns of labels and names are found as in `read_csv`.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: a damaged file, a column with missing values.
        TypeError: a column of something else than numbers.
    """
    pyarrow, parquet = needed("pyarrow", "parquet", path), needed("pyarrow.parquet", "parquet", path)
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged or no Parquet file ({reason}). Write the file anew.") from error
    header = list(table.column_names)
    columns = _columns(header, choice.labels, path)
    arrays = []
    for number in columns.values:
        column = table.column(number)
        if column.null_count:
            raise ValueError(
                f"{path} has {column.null_count} missing values in the column {header[number]!r}; every value must be "
                "a number. Fill or remove them."
            )
        arrays.append(np.asarray(column.to_numpy()))
        if arrays[-1].dtype.kind not in "fuib":
            raise TypeError(
                f"{path} holds {column.type} in the column {header[number]!r}; every column must hold numbers. Drop "
                "the column, or name it by labels= (--labels) if it holds the labels."
            )
    labels = None if columns.labels is None else np.array(table.column(columns.labels).to_pylist())
    names = None if columns.names is None else tuple(map(str, table.column(columns.names).to_pylist()))
    part = part_of(np.stack(arrays, axis=1), str(path), labels, names)
    return Stored({"train": part}, notes=_notes(header, columns, path))
