"""Annotated matrices of single cells, .h5ad, read with h5py: a row is a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam.data.archives import sparse_of
from reparam.data.arrays import as_tensor
from reparam.data.extras import needed
from reparam.data.roles import LABEL_COLUMNS
from reparam.data.stored import Choice, Part, Stored


def read_h5ad(path: Path, choice: Choice) -> Stored:
    """The matrix X of an .h5ad file, or `choice.array` such as layers/counts or raw/X; a sparse one stays sparse.

    The names of the cells are those of the rows. `choice.labels` is a column of obs.

    Raises:
        ImportError: h5py is not installed.
        ValueError: a damaged file, no such matrix or column.
    """
    h5py = needed("h5py", "h5ad", path)
    try:
        with h5py.File(path, "r") as file:
            values = _matrix(_chosen(file, choice.array, path), path)
            names, labels, columns = _obs(file, choice.labels, path)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no .h5ad file ({error}). Write the file anew by anndata.") from error
    notes = []
    if labels is None and columns:
        notes.append(f"{path}: obs has {', '.join(columns)}; labels= (--labels) names one as the labels")
    return Stored({"train": Part(values, labels, names)}, notes=tuple(notes))


def _chosen(file: Any, array: str | None, path: Path) -> Any:
    layers = [f"layers/{name}" for name in file.get("layers", {})]
    known = [name for name in ("X", "raw/X") if name in file] + layers
    name = f"layers/{array}" if f"layers/{array}" in layers else array or "X"
    if name not in file:
        raise ValueError(f"{path} has no matrix {name}; there are {', '.join(known) or 'none'}. Name one by array=.")
    return file[name]


def _matrix(node: Any, path: Path) -> Tensor:
    if not hasattr(node, "keys"):
        return as_tensor(_values(node, path), str(path))
    kind = _text(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))).removesuffix("_matrix")
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape", ()))
    if kind not in ("csr", "csc") or len(shape) != 2:
        raise ValueError(f"{path} holds {kind or 'a group'} at {node.name}; a matrix, dense, csr or csc, is expected.")
    first, second = (torch.from_numpy(_values(node[name], path).astype(np.int64)) for name in ("indptr", "indices"))
    numbers = as_tensor(_values(node["data"], path), str(path))
    return sparse_of(kind, first, second, numbers, (int(shape[0]), int(shape[1])), str(path))


def _values(node: Any, path: Path) -> NDArray[Any]:
    """All of a data set, unless it claims more than compression can hold (deflate: 1032 to 1)."""
    if node.size * node.dtype.itemsize > 2000 * path.stat().st_size:
        raise ValueError(
            f"{path} claims an array of shape {node.shape} and is too small for that. Write the file anew."
        )
    return np.asarray(node[()])


def _obs(
    file: Any, labels: str | None, path: Path
) -> tuple[tuple[str, ...] | None, NDArray[Any] | None, tuple[str, ...]]:
    """The names of the cells, the labels, and the columns that may be labels."""
    obs = file.get("obs")
    if obs is None or not hasattr(obs, "keys"):
        return None, None, ()
    index = _text(obs.attrs.get("_index", "_index"))
    names = tuple(str(each) for each in _column(obs[index])) if index in obs else None
    columns = tuple(name for name in obs if name != index and not name.startswith("__"))
    chosen = labels or next((name for name in LABEL_COLUMNS if name in columns), None)
    if chosen is None:
        return names, None, columns
    if chosen not in columns:
        raise ValueError(
            f"labels is {chosen!r}; obs of {path} has no such column; there are {', '.join(columns) or 'none'}."
        )
    return names, _column(obs[chosen]), columns


def _column(node: Any) -> NDArray[Any]:
    """A column of obs; where a value is missing, an empty text.

    Raises:
        ValueError: a column of another kind than anndata writes.
    """
    if not hasattr(node, "keys"):
        found = node[()]
        return np.array([_text(each) for each in found]) if found.dtype.kind == "O" else np.asarray(found)
    if {"categories", "codes"} <= set(node):
        texts = [str(each) for each in _column(node["categories"])]
        return np.array([texts[code] if code >= 0 else "" for code in node["codes"][()].tolist()])
    if {"values", "mask"} <= set(node):
        found, mask = _column(node["values"]), node["mask"][()]
        return np.where(mask, "", found.astype(str)) if mask.any() else found
    raise ValueError(
        f"{node.name} holds {', '.join(node)}, which is no column of labels or names. Name another column."
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
