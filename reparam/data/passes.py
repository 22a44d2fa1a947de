"""Batches: passes over data, in order or shuffled, whole or a rank's share, from the beginning or from later on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reparam._checks import whole
from reparam.data.rows import num_in_row

if TYPE_CHECKING:
    from reparam.data.data import Data

BLOCK_BYTES = 2**18
BLOCKS_IN_WINDOW = 512


def num_batches(num_examples: int, batch_size: int, drop_last: bool = False) -> int:
    """Batches of a pass over the examples, a last shorter one counted unless it is dropped."""
    return num_examples // batch_size if drop_last else math.ceil(num_examples / batch_size)


class _Pass(Iterator[Tensor]):
    """Batches that come one after another, and how many are left: a progress bar wants to know."""

    def __init__(self, walk: Iterator[Tensor], left: int) -> None:
        self._walk = walk
        self._left = left

    def __next__(self) -> Tensor:
        x = next(self._walk)
        self._left -= 1
        return x

    def __length_hint__(self) -> int:
        return self._left


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over the data for every `iter()`, `len()` batches long.

    A pass is an order and a walk along it, and either can be had alone: `batches.over(batches.order())` is what
    `iter(batches)` does. All randomness of the shuffle is in `order()`, which draws from torch's CPU generator and
    nothing else; the walk draws only the bits of "dynamic" data. So a pass can be resumed, or walked by several
    processes, from the random state before `order()`, or from the order itself, which is one int64 tensor on the CPU:

        order = batches.order()                           # on every rank from one random state, or broadcast
        for x in batches.share(rank, world).starting_at(k).over(order): ...

    Data in memory are shuffled by one permutation of all rows. A mapped file is shuffled in windows, since a
    permutation would read a page of the disk for each row: the file's blocks of contiguous rows, 256 KiB each, are
    permuted, every 512 of them (128 MiB) make a window, and the rows of a window are permuted. A file of at most one
    window is thereby permuted wholly; of a larger one store the rows in no meaningful order, such as by class.

    Attributes:
        data: what is gone over.
        batch_size: examples a batch, over all ranks; the last batch of a pass is shorter.
        shuffle: a new order at every pass.
        drop_last: leave out the last batch of a pass if it would be shorter than the others.
        first: the number of the batch with which a pass begins.
        rank: whose share of each batch this is, of
        world: so many.
    """

    data: Data
    batch_size: int
    shuffle: bool
    first: int = 0
    rank: int = 0
    world: int = 1
    drop_last: bool = False

    def __len__(self) -> int:
        return max(0, num_batches(len(self.data), self.batch_size, self.drop_last) - self.first)

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.over(self.order())

    def order(self) -> Tensor:
        """What `over` follows in one pass; it is drawn whether or not a pass begins later than at batch 0.

        Returns:
            int64 on the CPU: a permutation `[N]`; for a mapped file a permutation of its blocks and the seed of its
            windows, `[blocks + 1]`; `[0]` where nothing is shuffled.
        """
        if not self.shuffle:
            return torch.empty(0, dtype=torch.int64)
        if not self.data.mapped:
            return torch.randperm(len(self.data))
        return torch.cat([torch.randperm(self._num_blocks()), torch.randint(2**62, (1,))])

    def over(self, order: Tensor) -> Iterator[Tensor]:
        """The batches of the pass that follows `order`; how many there are is known to `operator.length_hint`.

        Raises:
            ValueError: an order of other data.
        """
        expected = self._order_length()
        if order.shape != (expected,):
            raise ValueError(
                f"the order has shape {tuple(order.shape)}; that of these data has {(expected,)}. "
                "Take it from order() of batches of the same data."
            )
        return _Pass(islice(self._walk(order), len(self)), len(self))

    def starting_at(self, number: int) -> Batches:
        """These batches from number `number` of a pass on, counted from 0; the rows before it are not read."""
        return replace(self, first=whole("number", number, least=0))

    def indices(self, order: Tensor) -> Iterator[Tensor]:
        """The rows of the data that each batch of `over(order)` holds, to look up their labels and names.

        Args:
            order: of the pass, from `order()`.

        Returns:
            For each batch int64 `[B]`, on the device of the values: `data.labels[rows]` are the labels of its examples.

        Raises:
            ValueError: an order of other data.
        """
        self.over(order)  # refuses an order of other data
        where, places = self.data.values.device, islice(self._places(order), len(self))
        return (
            torch.arange(place.start, place.stop, device=where) if isinstance(place, slice) else place
            for place in places
        )

    def share(self, rank: int, world: int) -> Batches:
        """The part of each batch that is for `rank` of `world` processes: contiguous, sizes that differ by at most one.

        A mean over the whole batch is the mean over the ranks of `len(x) * world / rows(number)` times their own.

        Raises:
            ValueError: a rank that is none of `world`; a last batch of fewer examples than ranks, where one would have
                nothing to do while the others wait for it.
        """
        whole("world", world)
        if whole("rank", rank, least=0) >= world:
            raise ValueError(f"rank is {rank} of {world}; ranks are counted from 0.")
        if not self._enough(self.batch_size, world):
            fitting = (size for size in range(self.batch_size, 0, -1) if self._enough(size, world))
            size = next(fitting, None)
            remedy = "Use fewer processes." if size is None else f"Such a batch size is {size}."
            raise ValueError(
                f"{len(self.data)} examples in batches of {self.batch_size} leave a batch with fewer examples than the "
                f"{world} processes that share it. {remedy}"
            )
        return replace(self, rank=rank, world=world)

    def rows(self, number: int) -> int:
        """Examples in batch `number` of a pass, over all ranks."""
        return max(0, min(self.batch_size, len(self.data) - number * self.batch_size))

    @property
    def fewest(self) -> int:
        """Examples of the shortest batch of a pass, over all ranks; 0 where a pass has no batch."""
        whole_pass = replace(self, first=0)
        return whole_pass.rows(len(whole_pass) - 1) if len(whole_pass) else 0

    def _enough(self, batch_size: int, world: int) -> bool:
        rest = 0 if self.drop_last else len(self.data) % batch_size
        return min(batch_size, len(self.data)) >= world and (rest == 0 or rest >= world)

    def _walk(self, order: Tensor) -> Iterator[Tensor]:
        for place in self._places(order):
            yield self.data[place]

    def _places(self, order: Tensor) -> Iterator[slice | Tensor]:
        """The rows of each batch; of a batch in order a slice, which copies nothing."""
        if not self.shuffle:
            for number in range(self.first, self.first + len(self)):
                begin, end = self._mine(self.rows(number))
                start = number * self.batch_size
                yield slice(start + begin, start + end)
            return
        start = self.first * self.batch_size
        walk = self._windows(order, start) if self.data.mapped else self._permuted(order, start)
        for index in walk:
            begin, end = self._mine(len(index))
            yield index[begin:end]

    def _mine(self, size: int) -> tuple[int, int]:
        return size * self.rank // self.world, size * (self.rank + 1) // self.world

    def _permuted(self, order: Tensor, start: int) -> Iterator[Tensor]:
        if start < len(order):
            yield from order[start:].to(self.data.values.device).split(self.batch_size)

    def _windows(self, order: Tensor, start: int) -> Iterator[Tensor]:
        """The rows of each batch from row `start` of the pass on; windows before that are not even permuted."""
        seed, rest = int(order[-1]), torch.empty(0, dtype=torch.int64)
        for number, blocks in enumerate(order[:-1].split(BLOCKS_IN_WINDOW)):
            rows = self._window(blocks, seed + number, start)
            start = max(0, start - len(blocks) * self._rows_in_block() + self._missing(blocks))
            *batches, rest = (torch.cat([rest, rows]) if len(rest) else rows).split(self.batch_size)
            yield from batches
        if len(rest):
            yield rest

    def _window(self, blocks: Tensor, seed: int, start: int) -> Tensor:
        """The rows of a window's blocks, permuted, from `start` on; none if the pass begins in a later window."""
        size = self._rows_in_block()
        num_rows = len(blocks) * size - self._missing(blocks)
        if start >= num_rows:
            return blocks[:0]
        # place i is row i % size of block i // size; the last block of the file may be short, so it is put last
        blocks = torch.cat([blocks[blocks != self._num_blocks() - 1], blocks[blocks == self._num_blocks() - 1]])
        places = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))[start:]
        return blocks[places // size].mul_(size).add_(places.remainder_(size))

    def _missing(self, blocks: Tensor) -> int:
        """Rows that the file's last block lacks, if it is one of these."""
        short = self._num_blocks() * self._rows_in_block() - len(self.data)
        return short if bool((blocks == self._num_blocks() - 1).any()) else 0

    def _rows_in_block(self) -> int:
        values = self.data.values
        return max(1, BLOCK_BYTES // (num_in_row(values) * values.element_size()))

    def _num_blocks(self) -> int:
        return math.ceil(len(self.data) / self._rows_in_block())

    def _order_length(self) -> int:
        if not self.shuffle:
            return 0
        return self._num_blocks() + 1 if self.data.mapped else len(self.data)
