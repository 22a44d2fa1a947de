"""The shape of one example: rows, images with their channels first, or what was asked for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reparam.data.rows import is_sparse

EventShape = tuple[int, ...] | Literal["image"] | None
_CHANNELS = (1, 2, 3, 4)


def shaped(
    values: Tensor, event_shape: EventShape, source: str, *, mapped: bool = False, images: bool = False
) -> Tensor:
    """`values` with examples of a shape; channels that are stored last are moved in front of height and width.

    Args:
        values: `[N, *event]` as stored.
        event_shape: None for one axis; "image" for (C, H, W), with one channel put before two axes; or a shape.
        source: what errors call the data.
        mapped: whether the values lie in a mapped file, which is not copied.
        images: whether the channels are known to come first.

    Raises:
        ValueError: another number of values, an order of axes that is not clear, a mapped file in Fortran order.
    """
    stored = tuple(values.shape[1:])
    size = torch.Size(stored).numel()
    if mapped and not values.is_contiguous():
        raise ValueError(
            f"{source} is in Fortran order and too large to be copied into memory. Write the file anew in C order: "
            "numpy.save(path, numpy.ascontiguousarray(array))."
        )
    if event_shape == "image":
        wanted = (1, *stored) if len(stored) == 2 else stored
        last = len(stored) == 3 and not images and not _channels_first(stored, source)
    else:
        wanted = (size,) if event_shape is None else tuple(event_shape)
        last = len(stored) == 3 and not images and wanted != stored and wanted == (stored[2], *stored[:2])
    if last:
        moved = values.movedim(-1, 1)
        return moved if mapped else moved.contiguous()
    if torch.Size(wanted).numel() != size:
        raise ValueError(
            f"shape is {wanted}, {torch.Size(wanted).numel()} numbers; {source} holds examples of shape {stored}, "
            f"{size} numbers each. Give a shape of {size} numbers."
        )
    if wanted == stored:
        return values
    if len(stored) == len(wanted) == 3 and sorted(stored) == sorted(wanted):
        raise ValueError(
            f"shape is {wanted}; {source} holds examples of shape {stored}, which are not reordered in that way. Give "
            f"{(stored[2], *stored[:2])} for channels that are stored last, or {stored}."
        )
    if is_sparse(values):
        raise ValueError(
            f"shape is {wanted}; {source} is a sparse matrix, whose examples have one axis. Leave shape out."
        )
    return values.reshape(len(values), *wanted)


def _channels_first(stored: tuple[int, ...], source: str) -> bool:
    """Whether images of three axes are stored as (C, H, W), not as (H, W, C): by the channels, else by a square.

    Raises:
        ValueError: neither tells.
    """
    first, last = stored[0] in _CHANNELS, stored[2] in _CHANNELS
    if first != last:
        return first
    square_last, square_first = stored[1] == stored[2], stored[0] == stored[1]
    if square_last != square_first:
        return square_last
    raise ValueError(
        f"{source} holds examples of shape {stored}, and it is not clear which axis has the channels. Say it by shape="
        f"{stored} (--shape {' '.join(map(str, stored))}) if the first has, or shape={(stored[2], *stored[:2])} if the "
        "last has."
    )
