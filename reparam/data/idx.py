"""IDX, the format of the MNIST files: a magic number, the sizes, the bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from reparam._files import open_regular
from reparam.data.claims import DEFLATE_RATIO, ClaimError, check_room, in_words

_UNSIGNED_BYTES = b"\x00\x00\x08"
_LONGEST_HEADER = 4 + 4 * 255


def read_idx(path: Path, *, sha256: str | None = None) -> Tensor:
    """The array of unsigned bytes in an IDX file, plain or gzipped.

    Args:
        path: of the file.
        sha256: what the uncompressed bytes must hash to, if known.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, of another format, or not the one that was expected.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise FileNotFoundError(f"{path} cannot be read ({error.strerror}). {_remedy(sha256)}") from error
    return parse_idx(content, path, sha256=sha256)


def parse_idx(content: bytes, path: Path, *, sha256: str | None = None) -> Tensor:
    """The array in the bytes of an IDX file, plain or gzipped; `path` names them in errors."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = _unpacked(content, path)
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(path, f"its gzip stream breaks off or is corrupt ({error})", sha256) from error
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise _damaged(path, f"its uncompressed bytes have sha256 {found}", sha256)
    if len(content) < 4 or content[:3] != _UNSIGNED_BYTES:
        raise _damaged(
            path, f"it begins with {content[:4].hex() or 'nothing'}, not 000008 (IDX of unsigned bytes)", sha256
        )
    start, sizes = _header(content)
    there, expected = max(len(content) - start, 0), math.prod(sizes)
    if not sizes or 0 in sizes or there != expected:
        found = f"more than {expected}" if there > expected else f"{there}"
        raise _damaged(path, f"it holds {found} bytes for an array of shape {sizes}", sha256)
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(sizes)


def _header(content: bytes) -> tuple[int, tuple[int, ...]]:
    """Where the array begins, and its sizes; none if the content breaks off before."""
    num_axes = content[3]
    start = 4 + 4 * num_axes
    return start, struct.unpack(f">{num_axes}I", content[4:start]) if len(content) >= start else ()


def _unpacked(packed: bytes, path: Path) -> bytes:
    """The content of a gzip stream, as far as its header says that the array goes, and one byte more."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        content = stream.read(_LONGEST_HEADER)
        if len(content) < _LONGEST_HEADER or content[:3] != _UNSIGNED_BYTES:
            return content
        start, sizes = _header(content)
        size = start + math.prod(sizes)
        if size > DEFLATE_RATIO * len(packed):
            raise ClaimError(
                f"{path} is damaged: its {len(packed):,} bytes claim an array of shape {sizes}, which is "
                f"{in_words(size)}. Restore it, or give the path of another file."
            )
        check_room(size, f"{path} unpacks to", "Store the array as an .npy file, which can be mapped.")
        return content + stream.read(max(size - len(content) + 1, 0))


def _remedy(sha256: str | None) -> str:
    return "Restore it, or install reparam again." if sha256 else "Restore it, or give the path of another file."


def _damaged(path: Path, problem: str, sha256: str | None) -> ValueError:
    expected = f" Expected: uncompressed bytes with sha256 {sha256}." if sha256 else " Expected: an IDX file."
    return ValueError(f"{path} is damaged: {problem}.{expected} {_remedy(sha256)}")
