"""listing, info, import_: what there is, what is in it, and how data of one's own get a name."""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from reparam._printable import printable_errors
from reparam.data.checksum import checksum
from reparam.data.data import Protocol, is_mapped
from reparam.data.fetch import cache_folder
from reparam.data.images import Colour, decode, image_files, read_images
from reparam.data.load import imported_names, read, resolve, size_of
from reparam.data.readers import image_parts, read_npy
from reparam.data.sources import SOURCES
from reparam.data.splits import split


@dataclass(frozen=True)
class Listed:
    """One line of `listing`.

    Attributes:
        name: for `load_data`.
        train: examples for training.
        test: examples for testing; 0 where the last of the training examples serve.
        shape: of one example as stored.
        licence: of published data.
        reference: whom to cite.
        here: whether it can be loaded; if not, it is to be fetched.
    """

    name: str
    train: int
    test: int
    shape: tuple[int, ...]
    licence: str
    reference: str
    here: bool


@printable_errors()
def listing() -> tuple[Listed, ...]:
    """Every name that `load_data` knows: the published data and those imported."""
    folder = cache_folder()
    published = [
        Listed(
            source.name,
            source.train,
            source.test,
            source.shape,
            source.licence,
            source.reference,
            here=all((folder / source.folder / file.name).exists() for file in source.files),
        )
        for source in SOURCES.values()
    ]
    return (*published, *(_listed(name, folder / "imported" / name) for name in imported_names()))


def _listed(name: str, folder: Path) -> Listed:
    train, test = read_npy(folder / "train.npy"), folder / "test.npy"
    return Listed(name, len(train), len(read_npy(test)) if test.exists() else 0, train.shape[1:], "", "imported", True)


@dataclass(frozen=True)
class Info:
    """What is in a source, as stored.

    Attributes:
        source: name or path.
        train: examples for training.
        test: examples for testing; 0 where the last of the training examples serve.
        shape: of one example.
        dtype: of a number.
        least: of all numbers.
        largest: of all numbers.
        mapped: whether it is too large to be read into memory as a whole.
        protocols: those of `load_data` that take these values.
        advice: which of these to take.
        checksum: that of `checksum(load_data(source, protocols[0]))`.
    """

    source: str
    train: int
    test: int
    shape: tuple[int, ...]
    dtype: str
    least: float
    largest: float
    mapped: bool
    protocols: tuple[Protocol, ...]
    advice: str
    checksum: str


@printable_errors()
def info(
    source: str | Path,
    *,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
) -> Info:
    """What is in a source; arguments are those of `load_data`. All of it is read once, in blocks."""
    arrays = read(source, resize=resize, colour=colour, array=array)
    ends = [_extremes(part) for part in arrays.parts().values()]
    least, largest = min(low for low, _ in ends), max(high for _, high in ends)
    bits = all(_holds_bits(part) for part in arrays.parts().values())
    protocols, advice = _advice(str(source), arrays.train.dtype, least, largest, bits)
    splits = split(arrays, protocols[0], None, validation=0, test=None, where=str(source))
    return Info(
        source=str(source),
        train=len(arrays.train),
        test=0 if arrays.test is None else len(arrays.test),
        shape=arrays.train.shape[1:],
        dtype=str(arrays.train.dtype),
        least=least,
        largest=largest,
        mapped=is_mapped(arrays.train),
        protocols=protocols,
        advice=advice,
        checksum=checksum(splits),
    )


def _advice(
    source: str, dtype: np.dtype[Any], least: float, largest: float, bits: bool
) -> tuple[tuple[Protocol, ...], str]:
    if bits or source == "static-mnist":
        return ("static",), "bits: static"
    if dtype != np.uint8 and (least < 0 or largest > 1):
        return ("as given",), "numbers outside [0, 1]: as given, with an observation family over real numbers"
    advice = "grey values: dynamic to compare with the literature on bits, grey to train on their means"
    return ("grey", "dynamic", "threshold", "as given"), advice


def _extremes(array: NDArray[Any]) -> tuple[float, float]:
    if array.dtype.kind not in "buif" or array.size == 0:
        raise TypeError(f"an array of {array.dtype} and shape {array.shape} holds no numbers to load.")
    blocks = [array[start : start + 4096] for start in range(0, len(array), 4096)]
    return float(min(block.min() for block in blocks)), float(max(block.max() for block in blocks))


def _holds_bits(array: NDArray[Any]) -> bool:
    """Whether only two numbers occur that may be bits; the first rows usually show that not."""
    blocks = (array[start : start + 4096] for start in range(0, len(array), 4096))
    seen: set[float] = set()
    for block in blocks:
        seen.update(np.unique(block).tolist())
        if not (seen <= {0, 1} or (array.dtype == np.uint8 and seen <= {0, 255})):
            return False
    return True


@printable_errors()
def import_(
    source: str | Path,
    name: str,
    *,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
) -> Info:
    """Copies data into the cache as `.npy` files that can be mapped into memory, so that `load_data(name)` has them.

    A folder of images is decoded once and for all, one image at a time. Labels are not kept. What an import that was
    killed has left behind is removed by the next one of that name, with a warning.

    Args:
        source: a name or a path, see `load_data`.
        name: small letters, digits, and - _ between them; not one of the published data.
        resize: as in `load_data`.
        colour: as in `load_data`.
        array: as in `load_data`.

    Raises:
        ValueError: a name that cannot be used, or a source that cannot be read.
        FileExistsError: there are data of this name, or another process imports them now; nothing is overwritten.
        OSError: the cache cannot be written.
    """
    if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", name) or name in SOURCES:
        raise ValueError(
            f"name is {name!r}; it must be small letters and digits with - or _ between, and none of the published "
            f"data ({', '.join(SOURCES)})."
        )
    target = cache_folder() / "imported" / name
    with _importing(target) as folder:
        _write_parts(source, folder, target, resize=resize, colour=colour, array=array)
        found = info(folder)
        with _writing(target):
            folder.rename(target)
    return replace(found, source=name)


@contextmanager
def _importing(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, for this process alone; whatever is in it at the end is removed."""
    unfinished = target.with_name(f".{target.name}.part")
    lock = FileLock(target.parent.with_name(f".import-{target.name}.lock"))
    try:
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise FileExistsError(
            f"{target.name} is being imported by another process. Wait for it, or choose another name."
        ) from error
    try:
        if target.exists() or target.is_symlink():
            raise FileExistsError(
                f"{target} exists already, and nothing is overwritten. Choose another name, or remove it."
            )
        if unfinished.is_dir() and not unfinished.is_symlink():
            shutil.rmtree(unfinished)
            warnings.warn(f"an import of {target.name} had broken off; what it left is removed.", stacklevel=4)
        with _writing(target):
            unfinished.mkdir()
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        lock.release()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{target} cannot be written ({error.strerror or error}); nothing of it is left. Make room, or name "
            "another folder in the environment variable REPARAM_DATA.",
        ) from error


def _write_parts(
    source: str | Path,
    folder: Path,
    target: Path,
    *,
    resize: int | tuple[int, int] | None,
    colour: Colour,
    array: str | None,
) -> None:
    path = resolve(source)
    parts = image_parts(path) if path is not None and path.is_dir() else {}
    if parts and array is None:
        for part, images in parts.items():
            files, size = image_files(images), size_of(resize)
            shape = (len(files), *decode(files[0], files[0], size, colour).shape)
            with _writing(target):
                out = np.lib.format.open_memmap(folder / f"{part}.npy", "w+", np.uint8, shape)
                _reserve(folder / f"{part}.npy")
            read_images(images, files, size, colour, out)
            out.flush()
        return
    arrays = read(source, resize=resize, colour=colour, array=array)
    for part, values in arrays.parts().items():
        with _writing(target):
            np.save(folder / f"{part}.npy", values, allow_pickle=False)


def _reserve(path: Path) -> None:
    """Takes the room on the disk that the size of a file claims: writing to a mapped file on a full disk kills."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # of file systems that do not know of it
                raise
