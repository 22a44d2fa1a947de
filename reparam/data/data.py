"""Data: one tensor that stays where the model is, or in its file, handed out in batches."""

from __future__ import annotations

import copy
import mmap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam._checks import choice, whole
from reparam.data.passes import Batches as Batches

Protocol = Literal["grey", "dynamic", "threshold", "static", "as given"]


@dataclass(frozen=True, eq=False)
class Data:
    """N examples in one tensor, with the protocol that makes them numbers.

    Bytes stay bytes in memory and on the device; a batch is divided by 255 when it is taken. Under the "dynamic"
    protocol each visit then draws fresh bits with these means; under "threshold" x is 1 where it exceeds 1/2, else 0.

    Attributes:
        values: `[N, *event]`, uint8 (0 to 255 stand for 0 to 1) or floating point (used as it is).
        protocol: how values become x, a name under which results may be compared.
        labels: `[N]`, if there are any. No model here sees them.
        dtype: of the batches.
        mapped: whether the values lie in a file that is mapped into memory, such as `numpy.load(mmap_mode="r")` gives.
            Such values are never copied as a whole: they stay where they are, batches are gathered from them and moved.
        device: where the batches go; None stands for where the values are.

    Raises:
        TypeError: values that are neither bytes nor floating point.
        ValueError: no examples, a scalar example, NaN or Inf, bits posing as bytes.
    """

    values: Tensor
    protocol: Protocol = "as given"
    labels: Tensor | None = None
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)
    mapped: bool = False
    device: torch.device | None = None

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
            self._check_finite()
        elif self.values.dtype != torch.uint8:
            raise TypeError(_unreadable(self.values.dtype))
        elif self.protocol == "as given" and self.is_bits_as_bytes():
            raise ValueError(_BITS_AS_BYTES)
        if self.protocol == "dynamic" and not self.are_means():
            raise ValueError("data lie outside [0, 1]; bits are drawn with means in [0, 1]. Rescale the values.")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The examples at `index`, a slice or whole numbers `[B]`, as x, `[B, *event]`."""
        rows = self.values.index_select(0, index) if isinstance(index, Tensor) else self.values[index]
        x = self._as_means(rows if self.device is None else rows.to(self.device), self.dtype)
        return torch.bernoulli(x) if self.protocol == "dynamic" else x

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same data on another device, or with batches of another dtype. A mapped file stays where it is."""
        dtype = dtype or self.dtype
        if self.mapped:
            where = self.device if device is None else torch.device(device)
            same = where in (self.device, None) or (self.device is None and where == self.values.device)
            return self if same and dtype == self.dtype else self._with(device=where, dtype=dtype)
        values = self.values.to(device)
        if values is self.values and dtype == self.dtype:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return self._with(values=values, labels=labels, dtype=dtype)

    def part(self, start: int, stop: int) -> Data:
        """The examples from `start` up to `stop`, as `Data` that share their memory."""
        labels = None if self.labels is None else self.labels[start:stop]
        return self._with(values=self.values[start:stop], labels=labels)

    def batches(self, batch_size: int, *, shuffle: bool = False, drop_last: bool = False) -> Batches:
        """All examples in batches of `batch_size`, in a new order at every pass if `shuffle`.

        The last batch may be shorter than the others; `drop_last` leaves a shorter one out.
        """
        return Batches(self, whole("batch_size", batch_size), shuffle, drop_last=drop_last)

    def mean_logits(self) -> Tensor:
        """Log-odds of each value's mean over the examples, `[numel]`; means are kept 1e-3 away from 0 and 1.

        Where the last bias of a Bernoulli decoder may start: `mlp(20, [400], 784, output_bias=data.mean_logits())`.

        Raises:
            ValueError: values outside [0, 1].
        """
        if not self.are_means():
            raise ValueError("data lie outside [0, 1]; log-odds are those of means in [0, 1]. Rescale the values.")
        total = sum(self._as_means(self.values[block], torch.float64).sum(0) for block in self.blocks())
        return (torch.as_tensor(total) / len(self)).flatten().clamp(1e-3, 1 - 1e-3).logit().to(self.dtype)

    def binarized(self, seed: int) -> Data:
        """Bits drawn once with these values as means and a fixed seed: what a "dynamic" model is tested on.

        Raises:
            ValueError: values outside [0, 1].
        """
        if not self.are_means():
            raise ValueError("data lie outside [0, 1]; bits are drawn with means in [0, 1]. Rescale the values.")
        generator = torch.Generator().manual_seed(seed)
        bits = torch.empty(self.values.shape, dtype=torch.uint8)
        for block in self.blocks():
            means = self._as_means(self.values[block], torch.float32).cpu()
            bits[block] = (torch.bernoulli(means, generator=generator) * 255).to(torch.uint8)
        where = self.values.device if self.device is None else self.device
        return self._with(values=bits.to(where), protocol="static", mapped=False, device=None)

    def blocks(self) -> Iterator[slice]:
        """All rows in slices of at most 4096, fewer where those would take more than 64 MiB in float32."""
        size = max(1, min(4096, 2**24 // self.values[0].numel()))
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))

    def extremes(self) -> Tensor:
        """The least and the largest of `values`, `[2]`."""
        ends = [torch.stack(self.values[block].aminmax()) for block in self.blocks()]
        return torch.stack(torch.stack(ends).aminmax())

    def are_means(self) -> bool:
        """Whether all values lie in [0, 1], bytes standing for that."""
        if self.values.dtype == torch.uint8:
            return True
        least, largest = self.extremes().tolist()
        return bool(least >= 0 and largest <= 1)

    def is_bits_as_bytes(self) -> bool:
        """Whether the largest byte is 1; the first block usually shows that it is not."""
        largest = 0
        for block in self.blocks():
            largest = max(largest, int(self.values[block].max()))
            if largest > 1:
                return False
        return largest == 1

    def _as_means(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        x = _scaled(rows, dtype)
        return (x > 0.5).to(dtype) if self.protocol == "threshold" else x

    def _check_finite(self) -> None:
        for block in self.blocks():
            bad = ~self.values[block].isfinite()
            if bad.any():
                first = [int(i) for i in bad.nonzero()[0]]
                first[0] += block.start
                raise ValueError(
                    f"data hold {self.values[tuple(first)].item()} at index {first}; every value must be finite. "
                    "Remove or fill such entries first."
                )

    def _with(self, **changes: object) -> Data:
        """A copy with other fields. `dataclasses.replace` would check again what was checked: all of a large file."""
        other = copy.copy(self)
        for name, value in changes.items():
            object.__setattr__(other, name, value)
        return other


def as_data(values: Data | Tensor | NDArray[Any], dtype: torch.dtype) -> Data:
    """Any tensor or array as `Data` with batches of `dtype`."""
    if isinstance(values, Data):
        return values.to(dtype=dtype)
    return Data(as_tensor(values), dtype=dtype, mapped=is_mapped(values))


def is_mapped(values: object) -> bool:
    """Whether an array is a view of a file that is mapped into memory."""
    while isinstance(values, np.ndarray) and not isinstance(values, np.memmap):
        values = values.base
    return isinstance(values, np.memmap | mmap.mmap)


def as_batch(item: object, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What an iterable yields as x `[B, *event]`: the first of a tuple or list, under the rules of `Data`."""
    values = as_tensor(item[0] if isinstance(item, tuple | list) and item else item)
    if not values.is_floating_point() and values.dtype != torch.uint8:
        raise TypeError(_unreadable(values.dtype))
    return _scaled(values.to(device, non_blocking=True), dtype)


def _scaled(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype).div_(255) if values.dtype == torch.uint8 else values.to(dtype)


def as_tensor(values: object) -> Tensor:
    """A tensor or an array of numbers as a tensor, which shares its memory where it can, a mapped file's always."""
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, np.ndarray) and values.dtype.kind in "fui" and is_mapped(values):
        return _share_mapped(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fui":
        native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return torch.from_numpy(native if native.flags.writeable else native.copy())
    what = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
    raise TypeError(
        f"x is {what}; it must be a tensor or an array of numbers, or a tuple whose first element is that. "
        "Let the loader yield x, or (x, ...)."
    )


def _share_mapped(values: NDArray[Any]) -> Tensor:
    """A tensor over a mapped file, which is not copied."""
    if not values.dtype.isnative or min(values.strides) < 0:
        raise ValueError(
            f"the mapped file holds {values.dtype} with strides {values.strides}; without a copy only numbers of this "
            "machine's byte order, read forwards, can be used. Write the file anew by numpy.save."
        )
    with warnings.catch_warnings():  # that writing to it would fail: nothing here does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(values)


_BITS_AS_BYTES = (
    "data are uint8 and hold only 0 and 1; uint8 stands for 0 to 255, so these would be almost black. "
    "Pass values.float() for bits, or values * 255 for bytes."
)


def _unreadable(dtype: torch.dtype) -> str:
    return (
        f"data are {dtype}; bytes (uint8) stand for 0 to 1 in steps of 1/255, floating point is used as it is. "
        "Convert to one of the two, for example values.float()."
    )
