"""checksum: by which an experiment knows its data again."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from reparam.data.data import Data
from reparam.data.splits import Splits

WHOLE_UP_TO = 2**28
NUM_BLOCKS = 64
BLOCK_BYTES = 2**20


def checksum(data: Data | Splits) -> str:
    """A checksum of the stored values: SHA-256 over their number, their size, their type and their bytes.

    Above 256 MiB the bytes of 64 blocks of rows are taken instead of all, each of 1 MiB or one row, evenly spaced, the
    first and the last rows among them: this takes at most seconds, and sees another file, another length or a damaged
    end, but not every change of a single value. Protocol and labels do not count.

    Returns:
        "sha256:" and 64 hexadecimal digits, or "sha256-of-blocks:" and these. The same data in memory, in a mapped file
        or on an accelerator have the same checksum. That of `Splits` is made of those of its parts, so it tells apart
        other sizes of the parts too.

    Example:
        >>> checksum(Data(torch.zeros(2, 3)))[:15]
        'sha256:72119701'
    """
    if isinstance(data, Data):
        return _of_values(data.values)
    found = {name: _of_values(part.values) for name, part in data.parts().items()}
    lines = "\n".join(f"{name} {value}" for name, value in found.items())
    kind = "sha256-of-blocks" if any(value.startswith("sha256-of") for value in found.values()) else "sha256"
    return f"{kind}:{hashlib.sha256(lines.encode()).hexdigest()}"


def _of_values(values: Tensor) -> str:
    digest = hashlib.sha256(f"{len(values)} {values[0].numel()} {values.dtype}\n".encode())
    row_bytes = values[0].numel() * values.element_size()
    sampled = row_bytes * len(values) > WHOLE_UP_TO
    size = max(1, BLOCK_BYTES // row_bytes)
    last = max(0, len(values) - size)
    starts = [last * i // (NUM_BLOCKS - 1) for i in range(NUM_BLOCKS)] if sampled else range(0, len(values), size)
    for start in starts:
        rows = values[start : start + size].contiguous().cpu()
        digest.update(rows.reshape(-1).view(torch.uint8).numpy().data)
    return f"{'sha256-of-blocks' if sampled else 'sha256'}:{digest.hexdigest()}"
