"""What was fetched, as arrays."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reparam.data.fetch import cache_folder, is_whole
from reparam.data.folders import read_idx_folder
from reparam.data.idx import parse_idx
from reparam.data.images import decode, scattered
from reparam.data.mnist import embedded
from reparam.data.readers import read_amat
from reparam.data.sources import Source
from reparam.data.stored import Stored, part_of


def read_published(source: Source, resize: tuple[int, int] | None = None) -> Stored:
    """The data of a name, from this package or the cache.

    Raises:
        FileNotFoundError: not fetched yet; the message gives the command.
        ValueError: a file in the cache is not the published one; or `resize` for what is 28 x 28 already.
    """
    if resize is not None and source.name != "omniglot":
        raise ValueError(f"resize is {resize}; of the named data only omniglot has images of another size. Leave it.")
    if source.name == "mnist":
        return embedded()
    folder = cache_folder() / source.folder
    command = f"Run `reparam data fetch {source.name}`."
    for file in source.files:
        path = folder / file.name
        if not path.exists():
            raise FileNotFoundError(f"{source.name} is not here: {path} does not exist. {command}")
        if not is_whole(file, path):
            raise ValueError(f"{path} is damaged: its sha256 is not the published {file.sha256}. {command}")
    if source.folder == "emnist":
        return _read_emnist(folder / "gzip.zip", source.name.removeprefix("emnist").removeprefix("-") or "balanced")
    if source.name == "omniglot":
        return _read_omniglot(folder, resize or (28, 28))
    if source.name == "static-mnist":
        train, valid, test = (read_amat(folder / file.name) for file in source.files)
        return _parts(np.concatenate([train, valid]), test)
    return read_idx_folder(folder)


def _parts(
    train: NDArray[Any], test: NDArray[Any], train_labels: NDArray[Any] | None = None, test_labels: Any = None
) -> Stored:
    return Stored({"train": part_of(train, "", train_labels), "test": part_of(test, "", test_labels)})


def _read_emnist(path: Path, part: str) -> Stored:
    """EMNIST stores its images transposed, as its authors' Matlab did; here they are upright."""

    def read(which: str, kind: str) -> NDArray[np.uint8]:
        name = f"gzip/emnist-{part}-{which}-{kind}-ubyte.gz"
        try:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(name)
        except (zipfile.BadZipFile, zlib.error, KeyError, OSError) as error:
            raise ValueError(f"{path} is damaged: {name} cannot be read from it ({error}). Fetch it anew.") from error
        array: NDArray[np.uint8] = parse_idx(content, path / name).numpy()
        return array

    train, test = (np.ascontiguousarray(read(which, "images-idx3").transpose(0, 2, 1)) for which in ("train", "test"))
    return _parts(train, test, read("train", "labels-idx1"), read("test", "labels-idx1"))


def _read_omniglot(folder: Path, size: tuple[int, int]) -> Stored:
    train, train_labels = _read_characters(folder / "images_background.zip", size, 0)
    test, test_labels = _read_characters(folder / "images_evaluation.zip", size, int(train_labels.max()) + 1)
    return _parts(train, test, train_labels, test_labels)


def _read_characters(path: Path, size: tuple[int, int], first_label: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Drawings as ink, 255 where the pen was, in an order that mixes the alphabets; labels number the characters."""
    with zipfile.ZipFile(path) as archive:
        names = scattered(name for name in archive.namelist() if name.endswith(".png"))
        characters = {name: number for number, name in enumerate(sorted({_character(name) for name in names}))}
        paper = [decode(io.BytesIO(archive.read(name)), f"{path}: {name}", size, "grey") for name in names]
    labels = np.array([first_label + characters[_character(name)] for name in names])
    return 255 - np.stack(paper), labels


def _character(name: str) -> str:
    return name.rpartition("/")[0]
