"""Rows of examples, dense or in a sparse matrix, of which only batches are made dense."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_CHUNK = 2**24  # numbers of a sparse matrix that are looked at together


def is_sparse(values: Tensor) -> bool:
    """Whether `values` is a matrix `[N, D]` of compressed sparse rows (CSR)."""
    return values.layout is torch.sparse_csr


def take(values: Tensor, index: slice | Tensor) -> Tensor:
    """The rows at `index`, a slice or whole numbers `[B]`, dense, in the type in which they are stored."""
    if is_sparse(values):
        return _dense(values, index)
    return values.index_select(0, index) if isinstance(index, Tensor) else values[index]


def subset(values: Tensor, index: slice | Tensor) -> Tensor:
    """The rows at `index` as they are kept: dense rows, or a sparse matrix of them. A slice shares memory."""
    if not is_sparse(values):
        return take(values, index)
    counts, places = _entries(values, index)
    crow = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return _csr(crow, values.col_indices()[places], values.values()[places], (len(counts), values.shape[1]))


def num_in_row(values: Tensor) -> int:
    """How many numbers one example has."""
    return values.shape[1:].numel()


def blocks_of(values: Tensor) -> Iterator[slice]:
    """All rows in slices of at most 4096, fewer where those would take more than 64 MiB in float32."""
    size = max(1, min(4096, 2**24 // max(1, num_in_row(values))))
    return (slice(start, min(start + size, len(values))) for start in range(0, len(values), size))


def chunks_of(values: Tensor) -> Iterator[Tensor]:
    """All stored numbers, piece by piece: rows, or of a sparse matrix the entries that it holds."""
    if is_sparse(values):
        return iter(values.values().split(_CHUNK))
    return (values[block] for block in blocks_of(values))


def index_of(values: Tensor, start: int, place: list[int]) -> list[int]:
    """The index in `values` of the number at `place` in a chunk that begins at row, or entry, `start`."""
    first = start + place[0]
    if not is_sparse(values):
        return [first, *place[1:]]
    row = int(torch.searchsorted(values.crow_indices(), first, right=True)) - 1
    return [row, int(values.col_indices()[first])]


def with_numbers(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`values` with other numbers, made by `change` from the stored ones."""
    if is_sparse(values):
        return _csr(values.crow_indices(), values.col_indices(), change(values.values()), tuple(values.shape))
    return change(values)


def sparse_rows(crow: Tensor, col: Tensor, numbers: Tensor, shape: tuple[int, int], source: str) -> Tensor:
    """A checked CSR matrix; entries of one place are added up.

    Args:
        crow: `[N + 1]`, where the entries of each row begin.
        col: `[entries]`, the column of each entry.
        numbers: `[entries]`, the value of each entry.
        shape: (N, D).
        source: what an error calls the matrix.

    Raises:
        ValueError: indices that point outside of the matrix, or do not fit together.
    """
    crow, col, entries = crow.to(torch.int64), col.to(torch.int64), len(numbers)
    whole = len(crow) == shape[0] + 1 and len(col) == entries and int(crow[0]) == 0 and int(crow[-1]) == entries
    inside = entries == 0 or (int(col.min()) >= 0 and int(col.max()) < shape[1])
    if not (whole and inside and bool((crow.diff() >= 0).all())):
        raise ValueError(
            f"{source} is no sparse matrix of shape {tuple(shape)}: its row pointers and column indices do not fit. "
            "Store the matrix anew."
        )
    begins = crow[1:-1]
    rising = col.diff() > 0
    rising[begins[(begins > 0) & (begins < entries)] - 1] = True  # between two rows a column may fall
    matrix = _csr(crow, col, numbers.to(_WIDER.get(numbers.dtype, numbers.dtype)), shape)
    return matrix if bool(rising.all()) else _in_order(matrix)


def from_coordinates(row: Tensor, col: Tensor, numbers: Tensor, shape: tuple[int, int], source: str) -> Tensor:
    """A checked CSR matrix of entries in any order; entries of one place are added up.

    Args:
        row: `[entries]`, the row of each entry.
        col: `[entries]`, the column of each entry.
        numbers: `[entries]`, the value of each entry.
        shape: (N, D).
        source: what an error calls the matrix.

    Raises:
        ValueError: indices that point outside of the matrix.
    """
    row = row.to(torch.int64)
    if len(row) and (int(row.min()) < 0 or int(row.max()) >= shape[0]):
        raise ValueError(
            f"{source} is no sparse matrix of shape {shape}: a row index is outside. Store the matrix anew."
        )
    order = row.argsort(stable=True)
    crow = torch.cat([row.new_zeros(1), torch.bincount(row, minlength=shape[0]).cumsum(0)])
    return sparse_rows(crow, col[order], numbers[order], shape, source)


_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}  # torch cannot place these


def _in_order(matrix: Tensor) -> Tensor:
    """The same matrix with the columns of each row rising, and entries of one place added up."""
    counts = matrix.crow_indices().diff()
    row = torch.arange(len(counts), device=matrix.device).repeat_interleave(counts)
    place, back = (row * matrix.shape[1] + matrix.col_indices()).unique(return_inverse=True)
    numbers = torch.zeros(len(place), dtype=matrix.dtype, device=matrix.device).index_add_(0, back, matrix.values())
    crow = torch.cat([counts.new_zeros(1), torch.bincount(place // matrix.shape[1], minlength=len(counts)).cumsum(0)])
    return _csr(crow, place % matrix.shape[1], numbers, (len(counts), matrix.shape[1]))


def _csr(crow: Tensor, col: Tensor, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():  # that torch's sparse tensors are in beta: nothing but their storage is used here
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(crow, col, numbers, shape, check_invariants=False)


def _entries(values: Tensor, index: slice | Tensor) -> tuple[Tensor, Tensor | slice]:
    """How many entries each row at `index` has, `[B]`, and where they are."""
    crow = values.crow_indices()
    if isinstance(index, slice):
        start, stop, step = index.indices(len(values))
        if step == 1:
            bounds = crow[start : max(start, stop) + 1]
            return bounds.diff(), slice(int(bounds[0]), int(bounds[-1]))
        index = torch.arange(start, stop, step, device=values.device)
    begins, counts = crow[index], crow[index + 1] - crow[index]
    shift = (begins - (counts.cumsum(0) - counts)).repeat_interleave(counts)
    return counts, shift + torch.arange(len(shift), device=values.device)


def _dense(values: Tensor, index: slice | Tensor) -> Tensor:
    counts, places = _entries(values, index)
    row = torch.arange(len(counts), device=values.device).repeat_interleave(counts)
    rows = torch.zeros(len(counts), values.shape[1], dtype=values.dtype, device=values.device)
    rows[row, values.col_indices()[places]] = values.values()[places]
    return rows
