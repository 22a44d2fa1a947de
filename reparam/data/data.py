"""Data: one tensor that stays where the model is, or in its file, handed out in batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor

from reparam._checks import choice, whole
from reparam.data import protocols, rows
from reparam.data.arrays import as_tensor as as_tensor
from reparam.data.arrays import is_mapped as is_mapped
from reparam.data.passes import Batches as Batches
from reparam.data.protocols import Protocol as Protocol
from reparam.data.protocols import scaled


@dataclass(frozen=True, eq=False)
class Data:
    """N examples in one tensor, with the protocol that makes them numbers.

    Values keep their type in memory and on the device; a batch becomes floating point when it is taken, and bytes are
    then divided by 255. Under the "dynamic" protocol each visit draws fresh bits with these means; under "threshold" x
    is 1 where it exceeds 1/2, else 0. A sparse matrix stays sparse; only batches of it are made dense.

    Attributes:
        values: `[N, *event]`: uint8 (0 to 255 stand for 0 to 1), or bool, other integers and floating point, which are
            used as they are. A sparse matrix `[N, D]` is kept as CSR.
        protocol: how values become x, a name under which results may be compared.
        labels: `[N]`, whole numbers, kept as int64, if there are any. No model here sees them.
        dtype: of the batches.
        mapped: whether the values lie in a file that is mapped into memory, such as `numpy.load(mmap_mode="r")` gives.
            Such values are never copied as a whole: they stay where they are, batches are gathered from them and moved.
        device: where the batches go; None stands for where the values are.
        classes: name of each class, if classes have names: label k belongs to `classes[k]`, and -1 to an example
            without a label. Otherwise labels are any whole numbers.
        names: name of each example, such as its file, if examples have names.
        source: where the data come from, for messages: a path, or the name of published data.

    Raises:
        TypeError: values of a type that has no meaning under the protocol; labels that are not whole numbers.
        ValueError: no examples, a scalar example, NaN or Inf, values that the protocol does not take, bits stored as
            bytes 0 and 1, another number of labels or names than of examples, labels without a class.
    """

    values: Tensor
    protocol: Protocol = "as given"
    labels: Tensor | None = None
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)
    mapped: bool = False
    device: torch.device | None = None
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor):
            raise TypeError(
                f"values is a {type(self.values).__name__}; it must be a tensor. Use torch.as_tensor(values), or "
                "reparam.data.as_tensor(values) for a data frame or a sparse matrix."
            )
        choice("protocol", self.protocol, get_args(Protocol))
        if self.values.dim() < 2 or 0 in self.values.shape:
            raise ValueError(
                f"data have shape {tuple(self.values.shape)}; they must be [N, ...] with N >= 1 and one more axis. "
                "A single example is values[None]; a list or loader holds batches, not examples."
            )
        values = self.values if self.values.layout is torch.strided else as_tensor(self.values)
        kept = protocols.kept(values, self.protocol, mapped=self.mapped, source=self.source)
        object.__setattr__(self, "values", kept)
        self._check_labels()

    def _check_labels(self) -> None:
        for name, given in (("labels", self.labels), ("names", self.names)):
            if given is not None and len(given) != len(self):
                raise ValueError(f"{len(given)} {name} for {len(self)} examples; there must be one for each.")
        if self.labels is None:
            return
        if self.labels.dim() != 1 or self.labels.is_floating_point() or self.labels.is_complex():
            raise TypeError(
                f"labels have shape {tuple(self.labels.shape)} and type {protocols.name_of(self.labels.dtype)}; they "
                "must be one whole number for each example. Use labels.long(), or labels.argmax(1) of one-hot labels."
            )
        labels = self.labels.to(torch.int64)
        if self.classes is not None and not -1 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise ValueError(
                f"labels go from {int(labels.min())} to {int(labels.max())} and there are {len(self.classes)} classes; "
                "a label must be the index of a class, or -1 for none. Give all classes."
            )
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The examples at `index`, a slice or whole numbers `[B]`, as x, `[B, *event]`."""
        found = rows.take(self.values, index)
        x = self._as_means(found if self.device is None else found.to(self.device), self.dtype)
        return torch.bernoulli(x) if self.protocol == "dynamic" else x

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same data on another device, or with batches of another dtype. A mapped file stays where it is."""
        dtype = dtype or self.dtype
        if self.mapped:
            where = self.device if device is None else torch.device(device)
            same = where in (self.device, None) or (self.device is None and where == self.values.device)
            return self if same and dtype == self.dtype else self._with(device=where, dtype=dtype)
        values = self.values if device is None else self.values.to(device)
        if values.device == self.values.device and dtype == self.dtype:
            return self
        labels = None if self.labels is None else self.labels.to(device)
        return self._with(values=values, labels=labels, dtype=dtype)

    def part(self, start: int, stop: int) -> Data:
        """The examples from `start` up to `stop`, as `Data` that share their memory."""
        return self.subset(slice(start, stop))

    def subset(self, index: slice | Tensor) -> Data:
        """Some of the examples, with their labels and names.

        Args:
            index: a slice, whose result shares memory, or whole numbers `[M]`, whose rows are copied into memory.

        Returns:
            `Data` of M examples, under the same protocol.
        """
        changes: dict[str, object] = {"values": rows.subset(self.values, index)}
        if self.labels is not None:
            changes["labels"] = self.labels[index]
        if self.names is not None:
            names = self.names
            changes["names"] = names[index] if isinstance(index, slice) else tuple(names[i] for i in index.tolist())
        if self.mapped and isinstance(index, Tensor):
            where = self.values.device if self.device is None else self.device
            changes |= {"values": rows.subset(self.values, index).to(where), "mapped": False, "device": None}
        return self._with(**changes)

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
        total = sum(self._as_means(rows.take(self.values, each), torch.float64).sum(0) for each in self.blocks())
        return (torch.as_tensor(total) / len(self)).flatten().clamp(1e-3, 1 - 1e-3).logit().to(self.dtype)

    def binarized(self, seed: int) -> Data:
        """Bits drawn once with these values as means and a fixed seed: what a "dynamic" model is tested on.

        Raises:
            ValueError: values outside [0, 1].
        """
        if not self.are_means():
            raise ValueError("data lie outside [0, 1]; bits are drawn with means in [0, 1]. Rescale the values.")
        generator = torch.Generator().manual_seed(seed)
        bits = torch.empty(tuple(self.values.shape), dtype=torch.uint8)
        for block in self.blocks():
            means = self._as_means(rows.take(self.values, block), torch.float32).cpu()
            bits[block] = (torch.bernoulli(means, generator=generator) * 255).to(torch.uint8)
        where = self.values.device if self.device is None else self.device
        return self._with(values=bits.to(where), protocol="static", mapped=False, device=None)

    def blocks(self) -> Iterator[slice]:
        """All rows in slices of at most 4096, fewer where those would take more than 64 MiB in float32."""
        return rows.blocks_of(self.values)

    def extremes(self) -> Tensor:
        """The least and the largest of `values`, `[2]`."""
        dtype = self.values.dtype if self.values.dtype.is_floating_point else torch.float64
        return torch.tensor(protocols.extremes(self.values), dtype=dtype, device=self.values.device)

    def are_means(self) -> bool:
        """Whether all values lie in [0, 1], bytes standing for that."""
        return protocols.are_means(self.values)

    def is_bits_as_bytes(self) -> bool:
        """Whether the values are bytes of which the largest is 1."""
        return protocols.holds_bits_as_bytes(self.values)

    def _as_means(self, found: Tensor, dtype: torch.dtype) -> Tensor:
        x = scaled(found, dtype)
        return (x > 0.5).to(dtype) if self.protocol == "threshold" else x

    def _with(self, **changes: object) -> Data:
        """A copy with other fields. `dataclasses.replace` would check again what was checked: all of a large file."""
        other = copy.copy(self)
        for name, value in changes.items():
            object.__setattr__(other, name, value)
        return other


def as_data(values: Any, dtype: torch.dtype) -> Data:
    """Examples of any kind that `as_tensor` takes, as `Data` with batches of `dtype`."""
    if isinstance(values, Data):
        return values.to(dtype=dtype)
    return Data(as_tensor(values), dtype=dtype, mapped=is_mapped(values))


def stored_batch(item: object) -> Tensor:
    """The values of a batch that an iterable yields, `[B, *event]`: the first of a tuple or list, in its own type."""
    values = as_tensor(item[0] if isinstance(item, tuple | list) and item else item)
    protocols.check_type(values.dtype, "as given")
    return values.to_dense() if rows.is_sparse(values) else values


def as_batch(item: object, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What an iterable yields as x `[B, *event]`, under the rules of `Data`."""
    return scaled(stored_batch(item).to(device, non_blocking=True), dtype)
