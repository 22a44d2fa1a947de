"""Arrays of a source to `Splits` of `Data`: which rows are for what, and how values become x."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam._checks import choice, whole
from reparam.data.data import Data, Protocol, as_tensor, is_mapped

EventShape = tuple[int, ...] | Literal["image"] | None
PROTOCOLS: tuple[Protocol, ...] = ("grey", "dynamic", "threshold", "static", "as given")
BINARIZATION_SEED = 20261122


@dataclass(frozen=True, eq=False)
class Splits:
    """Data in the parts that an experiment needs; `validation` is None where there is none."""

    train: Data
    validation: Data | None
    test: Data

    def parts(self) -> dict[str, Data]:
        """The parts there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a source holds: rows `[N, *event]`, `test` where the source itself says which those are, labels `[N]`."""

    train: NDArray[Any]
    test: NDArray[Any] | None = None
    train_labels: NDArray[Any] | None = None
    test_labels: NDArray[Any] | None = None

    def parts(self) -> dict[str, NDArray[Any]]:
        """The parts there are, by name."""
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})


def split(
    arrays: Arrays,
    protocol: Protocol,
    event_shape: EventShape,
    *,
    validation: int,
    test: int | None,
    where: str,
) -> Splits:
    """The arrays as `Splits`, under the rules that `load_data` documents; `where` names the source in errors."""
    choice("protocol", protocol, PROTOCOLS)
    whole("validation", validation, least=0)
    train = _data(arrays.train, arrays.train_labels, protocol, event_shape, where)
    if arrays.test is not None:
        if test is not None:
            raise ValueError(f"test is {test}; {where} has a test part of {len(arrays.test)} already. Leave test out.")
        tested = _data(arrays.test, arrays.test_labels, protocol, event_shape, where)
        if tested.values.shape[1:] != train.values.shape[1:]:
            raise ValueError(
                f"{where} holds training examples of shape {tuple(train.values.shape[1:])} and test examples of shape "
                f"{tuple(tested.values.shape[1:])}; they must be alike."
            )
    else:
        size = min(10_000, max(1, len(train) // 10)) if test is None else whole("test", test)
        if size >= len(train):
            raise ValueError(f"test is {size} of {len(train)} examples; nothing is left to train.")
        train, tested = train.part(0, len(train) - size), train.part(len(train) - size, len(train))
    if validation >= len(train):
        raise ValueError(f"validation is {validation} of {len(train)} training images; nothing is left to train.")
    kept = len(train) - validation
    held_out = train.part(kept, len(train)) if validation else None
    if protocol == "dynamic":
        tested = tested.binarized(BINARIZATION_SEED)
        held_out = held_out and held_out.binarized(BINARIZATION_SEED)
    return Splits(train.part(0, kept), held_out, tested)


def as_bits(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Bits stored as 0 and 1 of any type, or as bytes 0 and 255, as such bytes; a mapped file only if it holds these.

    Raises:
        ValueError: other values, or a mapped file of 0 and 1 as bytes; the message begins with `what`.
    """
    if array.dtype.kind not in "buif":
        raise ValueError(f"{what} has type {array.dtype}; bits are numbers.")
    ones = 255 if array.dtype == np.uint8 and any((block == 255).any() for block in _blocks(array)) else 1
    for block in _blocks(array):
        other = block[~np.isin(block, (0, ones))]
        if len(other):
            raise ValueError(
                f"{what} holds {other[0]}; bits are 0 and 1, or bytes 0 and 255. "
                'For grey values choose the protocol "grey", "dynamic" or "threshold".'
            )
    if ones == 255 or (is_mapped(array) and array.dtype.kind == "f"):
        return array
    if is_mapped(array):
        raise ValueError(
            f"{what} holds 0 and 1 as {array.dtype} in a file that is too large to be copied into memory. "
            "Store 0 and 255 as uint8."
        )
    return array.astype(np.uint8) * 255


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + 4096] for start in range(0, len(array), 4096))


def _data(
    array: NDArray[Any],
    labels: NDArray[Any] | None,
    protocol: Protocol,
    event_shape: EventShape,
    where: str,
) -> Data:
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"{where} holds an array of shape {array.shape}; it must be [N, ...] with N >= 1.")
    if protocol == "static":
        array = as_bits(array, where)
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise TypeError(
            f"{where} holds {array.dtype}; it must hold uint8, where 0 to 255 stand for 0 to 1, or floating point, "
            'which is used as it is. Convert it, or for bits choose the protocol "static".'
        )
    values = _shaped(array, event_shape, where)
    tensor = None if labels is None else as_tensor(labels)
    return Data(values, protocol, tensor, mapped=is_mapped(array), source=where)


def _shaped(array: NDArray[Any], event_shape: EventShape, where: str) -> Tensor:
    size = int(np.prod(array.shape[1:]))
    if event_shape == "image":
        event_shape = (1, *array.shape[1:]) if array.ndim == 3 else array.shape[1:]
    shape = torch.Size([size] if event_shape is None else event_shape)
    if shape.numel() != size:
        raise ValueError(
            f"shape is {tuple(shape)}, {shape.numel()} numbers; {where} holds examples of shape {array.shape[1:]}, "
            f"{size} numbers each. Give a shape of {size} numbers."
        )
    if is_mapped(array) and not array.flags.c_contiguous:
        raise ValueError(
            f"{where} is in Fortran order and too large to be copied into memory. Write it anew in C order: "
            "numpy.save(path, numpy.ascontiguousarray(array))."
        )
    return as_tensor(array).reshape(len(array), *shape)
