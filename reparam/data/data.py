"""Data: one tensor that stays where the model is, handed out in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam._checks import choice, whole

Protocol = Literal["grey", "dynamic", "threshold", "static", "as given"]


@dataclass(frozen=True, eq=False)
class Data:
    """N examples in one tensor, with the protocol that makes them numbers.

    Bytes stay bytes in memory and on the device; a batch is divided by 255 when it is taken. Under the "dynamic"
    protocol each visit then draws fresh bits with these means.

    Attributes:
        values: `[N, *event]`, uint8 (0 to 255 stand for 0 to 1) or floating point (used as it is).
        protocol: how values became x, a name under which results may be compared; "dynamic" also acts, see above.
        labels: `[N]`, if there are any. No model here sees them.
        dtype: of the batches.

    Raises:
        TypeError: values that are neither bytes nor floating point.
        ValueError: no examples, a scalar example, NaN or Inf, bits posing as bytes.
    """

    values: Tensor
    protocol: Protocol = "as given"
    labels: Tensor | None = None
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor):
            raise TypeError(
                f"values is a {type(self.values).__name__}; it must be a tensor. Use torch.as_tensor(values)."
            )
        choice("protocol", self.protocol, get_args(Protocol))
        if self.values.dim() < 2 or len(self.values) == 0:
            raise ValueError(
                f"data have shape {tuple(self.values.shape)}; they must be [N, ...] with N >= 1 and one more axis. "
                "A single example is values[None]; a list or loader holds batches, not examples."
            )
        if self.labels is not None and len(self.labels) != len(self.values):
            raise ValueError(f"{len(self.labels)} labels for {len(self.values)} examples; there must be one for each.")
        if self.values.is_floating_point():
            _check_finite(self.values)
        elif self.values.dtype != torch.uint8:
            raise TypeError(_unreadable(self.values.dtype))
        elif self.protocol == "as given" and self.values.max() == 1:
            raise ValueError(_BITS_AS_BYTES)
        if self.protocol == "dynamic" and not self._are_means():
            raise ValueError("data lie outside [0, 1]; bits are drawn with means in [0, 1]. Rescale the values.")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The examples at `index`, a slice or whole numbers `[B]`, as x, `[B, *event]`."""
        rows = self.values.index_select(0, index) if isinstance(index, Tensor) else self.values[index]
        x = _scaled(rows, self.dtype)
        return torch.bernoulli(x) if self.protocol == "dynamic" else x

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same data on another device, or with batches of another dtype."""
        values, dtype = self.values.to(device), dtype or self.dtype
        if values is self.values and dtype == self.dtype:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, values=values, labels=labels, dtype=dtype)

    def batches(self, batch_size: int, *, shuffle: bool = False) -> Batches:
        """All examples in batches of `batch_size`, the last one shorter; a new order at every pass if `shuffle`."""
        return Batches(self, whole("batch_size", batch_size), shuffle)

    def mean_logits(self) -> Tensor:
        """Log-odds of each value's mean over the examples, `[numel]`; means are kept 1e-3 away from 0 and 1.

        Where the last bias of a Bernoulli decoder may start: `mlp(20, [400], 784, output_bias=data.mean_logits())`.

        Raises:
            ValueError: values outside [0, 1].
        """
        if not self._are_means():
            raise ValueError("data lie outside [0, 1]; log-odds are those of means in [0, 1]. Rescale the values.")
        total = sum(_scaled(block, torch.float64).sum(0) for block in self.values.split(4096))
        return (torch.as_tensor(total) / len(self)).flatten().clamp(1e-3, 1 - 1e-3).logit().to(self.dtype)

    def binarized(self, seed: int) -> Data:
        """Bits drawn once with these values as means and a fixed seed: what a "dynamic" model is tested on.

        Raises:
            ValueError: values outside [0, 1].
        """
        if not self._are_means():
            raise ValueError("data lie outside [0, 1]; bits are drawn with means in [0, 1]. Rescale the values.")
        generator = torch.Generator().manual_seed(seed)
        blocks = [_scaled(block, torch.float32).cpu() for block in self.values.split(4096)]
        bits = torch.cat([(torch.bernoulli(block, generator=generator) * 255).to(torch.uint8) for block in blocks])
        return replace(self, values=bits.to(self.values.device), protocol="static")

    def _are_means(self) -> bool:
        return self.values.dtype == torch.uint8 or bool(self.values.min() >= 0 and self.values.max() <= 1)


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


def as_data(values: Data | Tensor | NDArray[Any], dtype: torch.dtype) -> Data:
    """Any tensor or array as `Data` with batches of `dtype`."""
    if isinstance(values, Data):
        return values.to(dtype=dtype)
    return Data(_as_tensor(values), dtype=dtype)


def as_batch(item: object, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What an iterable yields as x `[B, *event]`: the first of a tuple or list, under the rules of `Data`."""
    values = _as_tensor(item[0] if isinstance(item, tuple | list) and item else item)
    if not values.is_floating_point() and values.dtype != torch.uint8:
        raise TypeError(_unreadable(values.dtype))
    return _scaled(values.to(device, non_blocking=True), dtype)


def _scaled(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).div_(255) if values.dtype == torch.uint8 else values.to(dtype)


def _as_tensor(values: object) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, np.ndarray) and values.dtype.kind in "fui":
        native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    what = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
    raise TypeError(
        f"x is {what}; it must be a tensor or an array of numbers, or a tuple whose first element is that. "
        "Let the loader yield x, or (x, ...)."
    )


_BITS_AS_BYTES = (
    "data are uint8 and hold only 0 and 1; uint8 stands for 0 to 255, so these would be almost black. "
    "Pass values.float() for bits, or values * 255 for bytes."
)


def _unreadable(dtype: torch.dtype) -> str:
    return (
        f"data are {dtype}; bytes (uint8) stand for 0 to 1 in steps of 1/255, floating point is used as it is. "
        "Convert to one of the two, for example values.float()."
    )


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
