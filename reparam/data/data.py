"""Data: one tensor that stays where the model is, handed out in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from reparam._checks import whole

Protocol = Literal["grey", "dynamic", "threshold", "static", "as given"]


@dataclass(frozen=True, eq=False)
class Data:
    """N examples in one tensor, with the protocol that makes them numbers.

    Bytes stay bytes in memory and on the device; a batch is divided by 255 when it is taken. Under the "dynamic"
    protocol each visit then draws fresh bits with these means.

    Attributes:
        values: `[N, *event]`, uint8 (0 to 255 stand for 0 to 1) or floating point (used as it is).
        protocol: how values became x; results under different protocols do not compare.
        labels: `[N]`, if there are any. No model here sees them.
        dtype: of the batches.

    Raises:
        TypeError: values that are neither bytes nor floating point.
        ValueError: no examples, a scalar example, NaN or Inf.
    """

    values: Tensor
    protocol: Protocol = "as given"
    labels: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        values = self.values
        if values.dim() < 2 or len(values) == 0:
            raise ValueError(
                f"data have shape {tuple(values.shape)}; they must be [N, ...] with N >= 1 and one more axis."
            )
        if values.is_floating_point():
            _check_finite(values)
        elif values.dtype != torch.uint8:
            raise TypeError(
                f"data are {values.dtype}; bytes (uint8) stand for 0 to 1 in steps of 1/255, floating point is used "
                "as it is. "
                "Convert to one of the two."
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The examples at `index` as x, `[B, *event]`."""
        x = self.values[index].to(self.dtype)
        if self.values.dtype == torch.uint8:
            x = x / 255
        return torch.bernoulli(x) if self.protocol == "dynamic" else x

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same data on another device, or with batches of another dtype."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, values=self.values.to(device), labels=labels, dtype=dtype or self.dtype)

    def batches(self, batch_size: int, *, shuffle: bool = False) -> Batches:
        """All examples in batches of `batch_size`, the last one shorter; a new order at every pass if `shuffle`."""
        return Batches(self, whole("batch_size", batch_size), shuffle)

    def binarized(self, seed: int) -> Data:
        """Bits drawn once from grey values, with a fixed seed: what a "dynamic" model is tested on."""
        generator = torch.Generator().manual_seed(seed)
        bits = torch.cat(
            [torch.bernoulli(block / 255, generator=generator) for block in self.values.float().split(4096)]
        )
        return replace(self, values=(bits * 255).to(torch.uint8), protocol="static")


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over the data for every `iter()`, `len()` batches long."""

    data: Data
    batch_size: int
    shuffle: bool

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            order = torch.randperm(len(self.data)).to(self.data.values.device)
            for index in order.split(self.batch_size):
                yield self.data[index]
        else:
            for start in range(0, len(self.data), self.batch_size):
                yield self.data[start : start + self.batch_size]


def as_data(values: Data | Tensor | np.ndarray[Any, Any], dtype: torch.dtype = torch.float32) -> Data:
    """Any tensor or array as `Data`; `Data` with its own dtype set to `dtype`."""
    if isinstance(values, Data):
        return values.to(dtype=dtype)
    return Data(torch.as_tensor(values), dtype=dtype)


def as_batch(item: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What an iterable yields as x `[B, *event]`: the first of a tuple, bytes scaled to [0, 1]."""
    values = torch.as_tensor(item[0] if isinstance(item, tuple | list) else item)
    x = values.to(device=device, dtype=dtype, non_blocking=True)
    return x / 255 if values.dtype == torch.uint8 else x


def _check_finite(values: Tensor) -> None:
    for start in range(0, len(values), 4096):
        bad = ~values[start : start + 4096].isfinite()
        if bad.any():
            first = [int(i) for i in bad.nonzero()[0]]
            first[0] += start
            raise ValueError(
                f"data hold {values[tuple(first)].item()} at index {first}; every value must be finite. "
                "Remove or fill such entries first."
            )
