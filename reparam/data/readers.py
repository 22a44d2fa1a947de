"""Files of arrays as they are: .npy, .npz, and the text files of the static MNIST."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reparam._files import check_regular, open_regular
from reparam.data.claims import ClaimError, check_archive, check_room, npy_header

MAPPED_ABOVE = 2**28
# all that numpy and zipfile raise on damaged archives
_UNREADABLE = (
    *(KeyError, OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def read_npy(path: Path) -> NDArray[Any]:
    """The array in an .npy file; above 256 MiB mapped into memory, not read.

    Raises:
        ValueError: a damaged file.
        TypeError: an array of Python objects, which only unpickling could read.
    """
    with open_regular(path) as stream:
        try:
            shape, dtype, start = npy_header(stream)
        except ValueError as error:
            raise ValueError(f"{path} is damaged or no .npy file: {error}. Write it anew.") from error
    if dtype.hasobject:
        raise TypeError(_objects(f"{path} holds"))
    expected, found = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
    if found < expected:
        raise ValueError(
            f"{path} is truncated: an array {shape} of {dtype} takes {expected} bytes after the header, and there are "
            f"{found}. Write or copy it anew."
        )
    mapped = expected > MAPPED_ABOVE
    loaded: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return loaded


def read_npz(path: Path, names: tuple[str, ...], expected: str) -> dict[str, NDArray[Any]]:
    """Those arrays of an archive whose names are given; of none, all. `expected` ends the errors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged archive, one without such an array, or one of Python objects.
    """
    try:
        check_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist. {expected}") from None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            there = _arrays_in(archive)
            wanted = [name for name in names or there if name in there]
            check_archive(archive.zip, wanted, path)
            found = {name: archive[name] for name in wanted}
    except ClaimError:  # says what is wrong
        raise
    except _UNREADABLE as error:
        if "Object arrays" in str(error):
            raise ValueError(f"{_objects(f'{path} holds')} {expected}") from error
        problem = f"cannot be read as an archive of arrays ({type(error).__name__})"
        raise ValueError(f"{path} {problem}. {expected}") from error
    for name in names:
        if name not in found:
            raise ValueError(f"{path} has no array {name}; there are {', '.join(there) or 'none'}. {expected}")
    return found


def names_in_npz(path: Path, expected: str) -> tuple[str, ...]:
    """The names of the arrays in an archive, none of which is read. `expected` ends the errors.

    Raises:
        ValueError: a damaged archive.
    """
    check_regular(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return tuple(_arrays_in(archive))
    except _UNREADABLE as error:
        problem = f"cannot be read as an archive of arrays ({type(error).__name__})"
        raise ValueError(f"{path} {problem}. {expected}") from error


def check_room_for(path: Path, names: tuple[str, ...]) -> None:
    """Refuses arrays of an archive that claim more than is stored, or that memory does not hold together.

    Raises:
        ClaimError: the message has the sizes. A header that cannot be read is left to `read_npz`.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            check_archive(archive, names, path)
        except ClaimError:
            raise
        except _UNREADABLE:
            return


def _arrays_in(archive: Any) -> list[str]:
    """The names of arrays; an archive may hold other files, too."""
    members = set(archive.zip.namelist())
    return [name for name in archive.files if f"{name}.npy" in members]


def _objects(what: str) -> str:
    return (
        f"{what} an array of Python objects, which would have to be unpickled, and nothing is. "
        "Store numbers of one type and equal shape."
    )


def read_amat(path: Path) -> NDArray[np.uint8]:
    """Bits in text, a line of 0 and 1 with spaces between for each example, as bytes 0 and 255."""
    with open_regular(path) as file:
        check_room(path.stat().st_size, f"{path} has", "Store the bits as an .npy file, which can be mapped.")
        content = file.read()
    columns = len(content.partition(b"\n")[0].split())
    digits = np.frombuffer(content.translate(None, b" \t\r\n"), np.uint8) - ord("0")
    if columns == 0 or len(digits) % columns or (digits > 1).any():
        raise ValueError(
            f"{path} is damaged: it must hold lines of 0 and 1, {columns} each like the first, and holds {len(digits)} "
            "characters in all, or others. Fetch or copy it anew."
        )
    return digits.reshape(-1, columns) * np.uint8(255)
