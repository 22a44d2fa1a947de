"""Checksum that identifies an experiment's data."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor

from reparam.data.data import Data
from reparam.data.rows import num_in_row, take
from reparam.data.splits import Splits

WHOLE_UP_TO = 2**28
NUM_BLOCKS = 64
BLOCK_BYTES = 2**20


def checksum(data: Data | Splits, *, labels: bool = False) -> str:
    """A checksum of the stored values: SHA-256 over their number, their size, their type and their bytes.

    Above 256 MiB the bytes of 64 blocks of rows are taken instead of all, each of 1 MiB or one row, evenly spaced, the
    first and the last rows among them: this takes at most seconds, and sees another file, another length or a damaged
    end, but not every change of a single value. Protocol, names and source do not count.

    Args:
        data: what to identify.
        labels: whether labels and the names of their classes count. A run counts them where its model sees them; no
            model of this version does. Without labels both choices give one checksum.

    Returns:
        "sha256:" and 64 hexadecimal digits, or "sha256-of-blocks:" and these. The same data in memory, in a mapped
        file, in a sparse matrix or on an accelerator have the same checksum. That of `Splits` is made of those of its
        parts, so it tells apart other sizes of the parts too.

    Example:
        >>> checksum(Data(torch.zeros(2, 3)))[:15]
        'sha256:72119701'
    """
    if isinstance(data, Data):
        found = _of_values(data.values)
        return found if data.labels is None or not labels else _with_labels(found, data.labels, data.classes)
    parts = {name: checksum(part, labels=labels) for name, part in data.parts().items()}
    return _joined("\n".join(f"{name} {value}" for name, value in parts.items()))


def _joined(lines: str) -> str:
    kind = "sha256-of-blocks" if "sha256-of-blocks:" in lines else "sha256"
    return f"{kind}:{hashlib.sha256(lines.encode()).hexdigest()}"


def _with_labels(values: str, labels: Tensor, classes: tuple[str, ...] | None) -> str:
    digest = hashlib.sha256(labels.to("cpu", torch.int64).contiguous().numpy().astype("<i8").data).hexdigest()
    return _joined(f"values {values}\nlabels {digest}\nclasses {json.dumps(classes)}")


def _of_values(values: Tensor) -> str:
    digest = hashlib.sha256(f"{len(values)} {num_in_row(values)} {values.dtype}\n".encode())
    row_bytes = num_in_row(values) * values.dtype.itemsize
    sampled = row_bytes * len(values) > WHOLE_UP_TO
    size = max(1, BLOCK_BYTES // row_bytes)
    last = max(0, len(values) - size)
    starts = [last * i // (NUM_BLOCKS - 1) for i in range(NUM_BLOCKS)] if sampled else range(0, len(values), size)
    for start in starts:
        rows = take(values, slice(start, start + size)).contiguous().cpu()
        digest.update(rows.reshape(-1).view(torch.uint8).numpy().data)
    return f"{'sha256-of-blocks' if sampled else 'sha256'}:{digest.hexdigest()}"
