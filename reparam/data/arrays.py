"""Tables of numbers from other libraries as tensors: arrays, sparse matrices, data frames, nested lists."""

from __future__ import annotations

import mmap
import warnings
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reparam.data.rows import is_sparse, sparse_rows


def is_table(data: object) -> bool:
    """Whether `data` holds examples, a row each, and is not an iterable of batches.

    True of tensors, NumPy arrays, sparse matrices of torch and SciPy, data frames of pandas and polars, arrays of other
    libraries (with `__dlpack__` or `__array__`, such as JAX's), and lists of lists of numbers.
    """
    if isinstance(data, Tensor | np.ndarray):
        return True
    if isinstance(data, Dataset | DataLoader | type):
        return False
    return _is_scipy(data) or _is_frame(data) or _is_array(data) or _is_nested(data)


def as_tensor(values: object, source: str = "") -> Tensor:
    """A table of numbers as a tensor, which shares its memory where it can, a mapped file's always.

    Args:
        values: anything of which `is_table` is true.
        source: what an error calls the values; if empty, "x".

    Returns:
        A dense tensor, or for a sparse matrix a CSR tensor.

    Raises:
        TypeError: anything else, or values that are not numbers.
        ValueError: a mapped file that cannot be used without a copy, masked entries, rows of different lengths.
    """
    if isinstance(values, Tensor):
        return values.detach() if values.layout is torch.strided else _compressed(values.detach(), source)
    if isinstance(values, np.ndarray):
        return _of_array(values, source)
    if _is_scipy(values):
        return _of_scipy(values, source)
    if _is_frame(values):
        return _of_frame(values, source)
    if _is_array(values):
        return _of_foreign(values, source)
    if _is_nested(values):
        return _of_nested(values, source)
    raise _refused(f"a {type(values).__name__}", source)


def is_mapped(values: object) -> bool:
    """Whether an array is a view of a file that is mapped into memory."""
    while isinstance(values, np.ndarray) and not isinstance(values, np.memmap):
        values = values.base
    return isinstance(values, np.memmap | mmap.mmap)


def _refused(what: str, source: str) -> TypeError:
    if source:
        return TypeError(f"{source} holds {what}; it must hold numbers. Store numbers of one type and equal shape.")
    return TypeError(
        f"x is {what}; it must be a tensor or an array of numbers, or a tuple whose first element is that. "
        "Let the loader yield x, or (x, ...)."
    )


def _of_array(values: NDArray[Any], source: str) -> Tensor:
    if values.dtype.kind not in "fuib":
        raise _refused(str(values.dtype) if source else f"an array of {values.dtype}", source)
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise ValueError(
                f"{source or 'x'} is a masked array with masked entries; every value must be there. Fill them with "
                "x.filled(0), or remove the rows."
            )
        values = values.data
    if is_mapped(values):
        return _of_mapped(values, source)
    kind = np.dtype(np.float64) if values.dtype == np.longdouble else values.dtype
    native = np.ascontiguousarray(values, dtype=kind.newbyteorder("="))
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def _of_mapped(values: NDArray[Any], source: str) -> Tensor:
    """A tensor over a mapped file, which is not copied."""
    if not values.dtype.isnative or min(values.strides, default=0) < 0:
        raise ValueError(
            f"{source or 'the mapped file'} holds {values.dtype} with strides {values.strides}; without a copy only "
            "numbers of this machine's byte order, read forwards, can be used. Write the file anew by numpy.save."
        )
    with warnings.catch_warnings():  # that writing to it would fail: nothing here does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(values)


def _is_scipy(values: object) -> bool:
    return hasattr(values, "tocsr") and hasattr(values, "nnz")


def _of_scipy(values: Any, source: str) -> Tensor:
    matrix = values.tocsr()
    parts = [_of_array(np.asarray(each), source) for each in (matrix.indptr, matrix.indices, matrix.data)]
    return sparse_rows(parts[0], parts[1], parts[2], matrix.shape, source or "x")


def _compressed(values: Tensor, source: str) -> Tensor:
    """A sparse tensor of torch, of any layout, as CSR."""
    if values.dim() != 2:
        raise ValueError(
            f"{source or 'x'} is a sparse tensor of shape {tuple(values.shape)}; it must be a matrix [N, D]. Use "
            "x.to_dense()."
        )
    if not is_sparse(values):
        values = values.coalesce() if values.layout is torch.sparse_coo else values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = values.to_sparse_csr()
    shape = (values.shape[0], values.shape[1])
    return sparse_rows(values.crow_indices(), values.col_indices(), values.values(), shape, source or "x")


def _is_frame(values: object) -> bool:
    return hasattr(values, "to_numpy") and hasattr(values, "columns")


def _of_frame(frame: Any, source: str) -> Tensor:
    """A data frame of pandas or polars, if every column holds numbers."""
    columns = [np.asarray(frame[name].to_numpy()) for name in frame.columns]
    for name, column in zip(frame.columns, columns, strict=True):
        if column.dtype.kind not in "fuib":
            raise TypeError(
                f"{source or 'x'} is a {type(frame).__name__} whose column {name!r} holds {column.dtype}; every column "
                "must hold numbers, without missing ones. Drop or encode the column first."
            )
    together = np.asarray(frame.to_numpy())
    if together.dtype.kind not in "fuib":  # as pandas joins its own types of numbers
        together = np.stack(columns, axis=1)
    return _of_array(together, source)


def _is_array(values: object) -> bool:
    return hasattr(values, "__dlpack__") or hasattr(values, "__array__")


def _of_foreign(values: Any, source: str) -> Tensor:
    """An array of another library: shared through DLPack where it can be, on the device where it is, else copied."""
    if hasattr(values, "__dlpack__"):
        try:
            return torch.utils.dlpack.from_dlpack(values).detach()
        except (BufferError, RuntimeError, TypeError, ValueError, AttributeError):
            if not hasattr(values, "__array__"):
                raise _refused(f"a {type(values).__name__} that DLPack does not hand over", source) from None
    return _of_array(np.asarray(values), source)


def _is_nested(values: object) -> bool:
    """Whether `values` is a list of lists of numbers, of any depth above one."""
    depth = 0
    while isinstance(values, list | tuple) and values:
        values, depth = values[0], depth + 1
    return depth > 1 and isinstance(values, Real)


def _of_nested(values: Any, source: str) -> Tensor:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{source or 'x'} is a list of rows of different lengths; every row must have the same length. Pad or cut "
            "the rows."
        ) from None
    return _of_array(array, source)
