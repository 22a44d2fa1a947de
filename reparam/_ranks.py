"""Several processes of one program, as lightning-fabric launched them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
R = TypeVar("R")


def gathered(fabric: Fabric, value: Any) -> list[Any]:
    """What every rank passed, on every rank, by rank."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def shared_out(fabric: Fabric, items: Iterable[T], work: Callable[[int, T], R]) -> list[R]:
    """What `work` makes of each number and item, on every rank; each takes every so manieth, an error of one all raise.

    The items must be the same on all ranks.
    """
    mine: dict[int, R] = {}
    error: Exception | None = None
    try:
        for number, item in enumerate(items):
            if number % fabric.world_size == fabric.global_rank:
                mine[number] = work(number, item)
    except (ValueError, TypeError) as found:
        error = found
    done: dict[int, R] = {}
    for part, failure in gathered(fabric, (mine, error)):
        if failure is not None:
            raise failure
        done |= part
    return [done[number] for number in sorted(done)]


def derived_seed(origin: bytes, number: int) -> int:
    """A seed that has nothing to do with those of other origins and numbers."""
    return int.from_bytes(hashlib.sha256(origin + number.to_bytes(8, "little")).digest()[:8], "little") >> 1
