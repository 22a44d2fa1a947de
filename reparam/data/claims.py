"""Sizes that files claim: whether they can be true, and whether what is unpacked fits into memory.

A few bytes may claim an array of terabytes, and a small archive may unpack to one. Both are found out from the header,
before anything is allocated.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

DEFLATE_RATIO = 1032  # bytes that deflate makes of one at most: 258 of two bits; RFC 1951


class ClaimError(ValueError):
    """A file claims a size that cannot be true, or that memory does not hold."""


def memory() -> int | None:
    """Bytes of memory of this machine; None on systems that do not say, which refuse what they cannot give."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_room(size: int, what: str, remedy: str) -> None:
    """Refuses to hold more bytes at once than the machine has, where the system would rather kill the process.

    Args:
        size: bytes.
        what: begins the message, such as "x.npz unpacks to".
        remedy: ends it.

    Raises:
        ClaimError: `size` is above the memory of the machine.
    """
    limit = memory()
    if limit is not None and size > limit:
        raise ClaimError(f"{what} {in_words(size)}, and this machine has {in_words(limit)} of memory. {remedy}")


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and dtype of the array in an .npy stream, and where its bytes begin; at most 64 KiB are read.

    Raises:
        ValueError: a header that cannot be read, or that has a negative axis.
    """
    head = io.BytesIO(stream.read(2**16))
    try:
        version = np.lib.format.read_magic(head)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(head)
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError("its header cannot be read") from error
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype, head.tell()


def check_archive(archive: zipfile.ZipFile, names: Iterable[str], path: Path) -> None:
    """Refuses arrays of an .npz that claim more than is stored of them, or more than fits into memory.

    Args:
        archive: of arrays, open.
        names: of the arrays that are to be read; those of Python objects are left to numpy, which refuses them.
        path: of the archive, for the message.

    Raises:
        ClaimError: the message has the name of the array, what it claims and what there is.
        ValueError: a header that cannot be read.
    """
    total, there = 0, path.stat().st_size
    for name in names:
        member = archive.getinfo(f"{name}.npy")
        with archive.open(member) as stream:
            shape, dtype, start = npy_header(stream)
        if dtype.hasobject:
            continue
        packed, size = min(member.compress_size, there), math.prod(shape) * dtype.itemsize
        largest = DEFLATE_RATIO * packed if member.compress_type == zipfile.ZIP_DEFLATED else member.file_size
        stored = max(min(member.file_size, largest) - start, 0)
        if size > stored:
            raise ClaimError(
                f"{path} is damaged: its array {name} claims the shape {shape} of {dtype}, which is {in_words(size)}, "
                f"and at most {in_words(stored)} are stored. Write it anew."
            )
        total += size
    check_room(total, f"{path} unpacks to", "Store each array as an .npy file, which can be mapped.")


def in_words(size: int) -> str:
    """A number of bytes to read."""
    for name, unit in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:,} bytes"
