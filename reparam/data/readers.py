"""Files of arrays, and folders of them, as they are: .npy, .npz, IDX, and the text files of the static MNIST."""

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
from reparam.data.idx import read_idx
from reparam.data.images import Colour, image_files, read_images
from reparam.data.splits import Arrays

MAPPED_ABOVE = 2**28
# all that numpy and zipfile raise on damaged archives
_UNREADABLE = (
    *(KeyError, OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def read_path(path: Path, *, array: str | None, resize: tuple[int, int] | None, colour: Colour) -> Arrays:
    """What the file or folder at `path` holds.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is damaged or of another kind, or an option does not suit it.
        TypeError: it holds Python objects.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Restore it, or give the path or name of other data.")
    kind = path.suffix.lower()
    if array is not None and kind != ".npz":
        raise ValueError(f"array is {array!r}; only an .npz has arrays with names, and {path} is none. Leave it out.")
    if path.is_dir():
        return _read_folder(path, resize, colour)
    if resize is not None or colour != "grey":
        raise ValueError(f"resize and colour are for folders of images; {path} is a file. Leave them out.")
    if kind == ".npz":
        return _parts_of_npz(path, array)
    if kind == ".npy":
        return Arrays(read_npy(path))
    if kind == ".amat":
        return Arrays(read_amat(path))
    return Arrays(read_idx(path).numpy())


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
            members = set(archive.zip.namelist())
            there = [name for name in archive.files if f"{name}.npy" in members]
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


def _objects(what: str) -> str:
    return (
        f"{what} an array of Python objects, which would have to be unpickled, and nothing is. "
        "Store numbers of one type and equal shape."
    )


def _parts_of_npz(path: Path, array: str | None) -> Arrays:
    expected = "Expected: an .npz with arrays train, valid (or not) and test, or one array."
    stored = read_npz(path, () if array is None else (array,), expected)
    if array is not None:
        return Arrays(stored[array])
    if len(stored) == 1:
        return Arrays(*stored.values())
    if "train" not in stored or "test" not in stored:
        names = ", ".join(stored) or "no array"
        raise ValueError(f"{path} holds {names}. {expected} Give the name of one by array=.")
    train = [stored[name] for name in ("train", "valid") if name in stored]
    if len({(part.shape[1:], part.dtype) for part in train}) > 1:
        raise ValueError(f"{path}: train and valid differ in shape or type. {expected}")
    return Arrays(np.concatenate(train) if len(train) > 1 else train[0], stored["test"])


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


def _read_folder(path: Path, resize: tuple[int, int] | None, colour: Colour) -> Arrays:
    images = next((found for end in ("", ".gz") if (found := path / f"train-images-idx3-ubyte{end}").exists()), None)
    if images is not None:
        return read_idx_folder(path, images.suffix)
    if (path / "train.npy").exists():
        test = path / "test.npy"
        return Arrays(read_npy(path / "train.npy"), read_npy(test) if test.exists() else None)
    parts = {name: read_images(part, image_files(part), resize, colour) for name, part in image_parts(path).items()}
    return Arrays(parts["train"], parts.get("test"))


def image_parts(path: Path) -> dict[str, Path]:
    """Where the images of a folder lie: in folders train and test, or all in itself; none where it holds arrays."""
    if any((path / name).exists() for name in ("train.npy", *(f"train-images-idx3-ubyte{end}" for end in ("", ".gz")))):
        return {}
    divided = {name: path / name for name in ("train", "test")}
    return divided if all(part.is_dir() for part in divided.values()) else {"train": path}


def read_idx_folder(path: Path, suffix: str = ".gz") -> Arrays:
    """The four files of MNIST and its successors; their labels may be missing."""

    def read(part: str, kind: str) -> NDArray[Any] | None:
        file = path / f"{part}-{kind}-ubyte{suffix}"
        return None if kind == "labels-idx1" and not file.exists() else read_idx(file).numpy()

    train = read_idx(path / f"train-images-idx3-ubyte{suffix}").numpy()
    return Arrays(train, read("t10k", "images-idx3"), read("train", "labels-idx1"), read("t10k", "labels-idx1"))
