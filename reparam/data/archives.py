"""Files of several arrays with names, .npz and .safetensors: which of them are values, and which labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reparam.data.readers import check_room_for, names_in_npz, read_npz
from reparam.data.roles import Role, by_role
from reparam.data.rows import from_coordinates, sparse_rows
from reparam.data.stored import ORDER, Choice, Part, PartName, Stored, part_of

_NPZ = "Expected: an .npz with arrays train, valid (or not) and test, or one array."

Read = Callable[[str], Any]


def read_npz_parts(path: Path, choice: Choice) -> Stored:
    """The arrays of an .npz, or the sparse matrix that SciPy stored in it.

    Raises:
        ValueError: a damaged archive, or several arrays of which none is chosen.
    """
    names = names_in_npz(path, _NPZ)
    if {"format", "shape", "data"} <= set(names):
        return Stored({"train": Part(_read_scipy(path, names))})
    check_room_for(path, _chosen_names(path, names, choice))
    return _parts(path, names, lambda name: read_npz(path, (name,), _NPZ)[name], choice, _NPZ)


def _chosen_names(path: Path, names: Sequence[str], choice: Choice) -> tuple[str, ...]:
    values, labels, _ = _chosen(path, names, choice, _NPZ)
    return (*values.values(), *labels.values())


def read_safetensors(path: Path, choice: Choice) -> Stored:
    """The tensors of a .safetensors file.

    Raises:
        ValueError: a damaged file, or several tensors of which none is chosen.
    """
    expected = "Expected: a .safetensors with tensors train, valid (or not) and test, or one tensor."
    try:
        with safe_open(path, framework="pt") as file:  # of NumPy's types none is bfloat16
            return _parts(path, list(file.keys()), file.get_tensor, choice, expected)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file ({error}). {expected}") from error


def _parts(path: Path, names: Sequence[str], read: Read, choice: Choice, expected: str) -> Stored:
    values, labels, classes = _chosen(path, names, choice, expected)
    warnings: list[str] = []
    found = {}
    for name, array in values.items():
        given = None
        if name in labels:
            try:
                given = _plain(read(labels[name]))
            except (TypeError, ValueError) as error:
                if choice.labels is not None:
                    raise
                warnings.append(f"{error} The labels are left out.")
        found[name] = part_of(read(array), f"{path}: array {array}" if len(names) > 1 else str(path), given)
    used = {*values.values(), *labels.values(), classes}
    left = [name for name in names if name not in used]
    notes = [f"{path} holds other arrays, which are left out: {_some(left)}"] if left else []
    texts = None if classes is None else _texts(read, classes)
    return Stored(found, classes=texts, notes=tuple(notes), warnings=tuple(warnings))


def _chosen(
    path: Path, names: Sequence[str], choice: Choice, expected: str
) -> tuple[dict[PartName, str], dict[PartName, str], str | None]:
    """The names of values and labels of each part, and that of the classes' names."""
    for name in (choice.array, choice.labels):
        if name is not None and name not in names:
            raise ValueError(f"{path} has no array {name}; there are {_some(names) or 'none'}. {expected}")
    asked: dict[PartName, str] = {} if choice.labels is None else {"train": choice.labels}
    if choice.array is not None or len(names) == 1:
        return {"train": choice.array or names[0]}, asked, None
    roles = by_role({name: name for name in names if name != choice.labels}, str(path))
    if Role("train", "values") not in roles and Role(None, "values") in roles:  # x and y: all rows, their labels
        roles = {Role(role.part or "train", role.kind): name for role, name in roles.items()}
    values = {part: roles[Role(part, "values")] for part in ORDER if Role(part, "values") in roles}
    if "train" not in values:
        raise ValueError(
            f"{path} holds {_some(names) or 'no array'}. {expected} Give the name of one by array= (--array)."
        )
    labels = {part: roles[Role(part, "labels")] for part in values if Role(part, "labels") in roles}
    return values, labels | asked, roles.get(Role(None, "classes"), roles.get(Role("train", "classes")))


def _some(names: Sequence[str]) -> str:
    """The first names; a model's file has hundreds."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _plain(labels: Any) -> NDArray[Any]:
    array: NDArray[Any] = labels.numpy() if isinstance(labels, Tensor) else labels
    return array


def _texts(read: Read, name: str) -> tuple[str, ...] | None:
    """The names of classes, if the array called `name` holds texts."""
    try:
        found = np.asarray(read(name))
    except (TypeError, ValueError):
        return None
    return tuple(found.tolist()) if found.ndim == 1 and found.dtype.kind == "U" else None


def _read_scipy(path: Path, names: Sequence[str]) -> Tensor:
    """The matrix that `scipy.sparse.save_npz` wrote."""
    expected = "Expected: a sparse matrix as scipy.sparse.save_npz writes it."
    arrays = read_npz(path, tuple(names), expected)
    kind = arrays["format"].item()
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    index = {"csr": ("indptr", "indices"), "csc": ("indptr", "indices"), "coo": ("row", "col")}.get(kind)
    if index is None or not set(index) <= set(names) or arrays["shape"].shape != (2,):
        raise ValueError(
            f"{path} holds a sparse matrix of the form {kind!r}; csr, csc and coo are read. Save "
            "x.tocsr() by scipy.sparse.save_npz."
        )
    shape = (int(arrays["shape"][0]), int(arrays["shape"][1]))
    first, second = (torch.from_numpy(arrays[name].astype(np.int64)) for name in index)
    return sparse_of(kind, first, second, part_of(arrays["data"], str(path)).values, shape, str(path))


def sparse_of(kind: str, first: Tensor, second: Tensor, numbers: Tensor, shape: tuple[int, int], source: str) -> Tensor:
    """A CSR matrix of the arrays in which "csr", "csc" (pointers and indices) or "coo" (rows and columns) store one.

    Raises:
        ValueError: arrays that do not fit together.
    """
    if kind == "csr":
        return sparse_rows(first, second, numbers, shape, source)
    if kind == "csc":
        counts = first.diff()
        if len(first) != shape[1] + 1 or int(counts.min()) < 0 or int(counts.sum()) != len(second):
            raise ValueError(
                f"{source} is no sparse matrix of shape {shape}: its column pointers do not fit. Store the matrix anew."
            )
        first, second = second, torch.arange(shape[1]).repeat_interleave(counts)
    if shape[0] > 1000 * (len(numbers) + 1000):  # a few bytes may claim any number of rows
        raise ValueError(f"{source} claims {shape[0]} rows for {len(numbers)} entries. Store the matrix as csr.")
    if not len(first) == len(second) == len(numbers):
        raise ValueError(f"{source} is no matrix of shape {shape}: its arrays differ in length. Store the matrix anew.")
    return from_coordinates(first, second, numbers, shape, source)
