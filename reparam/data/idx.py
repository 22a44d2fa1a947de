"""IDX, the format of the MNIST files: a magic number, the sizes, the bytes."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor


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
        content = path.read_bytes()
    except OSError as error:
        raise FileNotFoundError(f"{path} cannot be read ({error.strerror}). {_remedy(sha256)}") from error
    return parse_idx(content, path, sha256=sha256)


def parse_idx(content: bytes, path: Path, *, sha256: str | None = None) -> Tensor:
    """The array in the bytes of an IDX file, plain or gzipped; `path` names them in errors."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(path, f"its gzip stream breaks off or is corrupt ({error})", sha256) from error
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise _damaged(path, f"its uncompressed bytes have sha256 {found}", sha256)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise _damaged(
            path, f"it begins with {content[:4].hex() or 'nothing'}, not 000008 (IDX of unsigned bytes)", sha256
        )
    num_axes = content[3]
    start = 4 + 4 * num_axes
    sizes = struct.unpack(f">{num_axes}I", content[4:start]) if len(content) >= start else ()
    if not sizes or 0 in sizes or len(content) - start != math.prod(sizes):
        raise _damaged(path, f"it holds {max(len(content) - start, 0)} bytes for an array of shape {sizes}", sha256)
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(sizes)


def _remedy(sha256: str | None) -> str:
    return "Restore it, or install reparam again." if sha256 else "Restore it, or give the path of another file."


def _damaged(path: Path, problem: str, sha256: str | None) -> ValueError:
    expected = f" Expected: uncompressed bytes with sha256 {sha256}." if sha256 else " Expected: an IDX file."
    return ValueError(f"{path} is damaged: {problem}.{expected} {_remedy(sha256)}")
