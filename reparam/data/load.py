"""load_data: a name or a path to `Splits`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Literal, get_args

from reparam._checks import Shape, choice, whole
from reparam._checks import shape as check_shape
from reparam._printable import printable_errors
from reparam.data.data import Protocol
from reparam.data.fetch import cache_folder, known_source
from reparam.data.formats import read_path
from reparam.data.labels import encoded
from reparam.data.published import read_published
from reparam.data.sources import SOURCES
from reparam.data.splits import PROTOCOLS, Splits, split
from reparam.data.stored import Choice, Colour, Stored


@printable_errors()
def load_data(
    source: str | Path,
    protocol: Protocol = "grey",
    *,
    validation: int | None = None,
    test: int | None = None,
    shape: Shape | Literal["image"] | None = None,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
    labels: str | None = None,
) -> Splits:
    """Data by name or path, ready to train, validate and test on.

    A source is the name of published data ("mnist", "fashion-mnist", "kmnist", "emnist", "omniglot", "static-mnist";
    all but the first are fetched before), the name of imported data, or the path of

    - an `.npy` file; above 256 MiB it is mapped into memory, not read, so it may be larger than memory;
    - an `.npz` or `.safetensors` file with one array; with arrays train, valid and test, or x_train, y_train, x_test,
      y_test, or x and y; or with several of which `array` names one; or a sparse matrix that SciPy saved;
    - a table, `.csv`, `.tsv` or `.parquet`, a row for each example;
    - an `.h5ad` file of single cells;
    - an IDX file, also gzipped;
    - a folder with such a file for each part, as train.npy and test.npy, or with the IDX files of MNIST;
    - a folder of images, also in folders below, or with folders train, val and test of images.

    Where the source has a test part or a validation part (val, valid, validation, dev), that is it. Else the last rows
    are the test part: a tenth, at most 10,000, or `test` of them. Nothing is shuffled, so store rows in no meaningful
    order; images of a folder come in the order of the SHA-256 of their relative paths, an order without meaning.

    Labels are kept as `Data.labels`: those of the source, or the folders of classes. Images and rows keep their names.

    Args:
        source: a name or a path; a name wins, `./name` is a path.
        protocol: "grey", "dynamic" or "threshold" for values in [0, 1] (see `mnist`), "static" for bits, "as given" for
            other numbers.
        validation: how many of the last training rows are kept apart; None for the source's validation part, if it has
            one. A number counts from the end of training and validation rows together.
        test: how many rows are for testing, where the source does not say.
        shape: of one example, such as (1, 28, 28) or (3, 64, 64); if not given, one axis. "image" keeps the shape that
            is stored, puts a channel before two axes, and moves channels that are stored last before the others.
        resize: of images in a folder, (height, width) or one number for both. omniglot comes as 28 if not given.
        colour: of images in a folder; "rgb" gives 3 channels before height and width.
        array: the name of the array to take from an `.npz`, `.safetensors` or `.h5ad` file.
        labels: the name of an array, a column, or a column of obs that holds the labels; or the path of a file with a
            label for each row, or of a table with a label for the path of each image.

    Returns:
        `Splits`: train, validation (or None) and test, each a `Data`.

    Raises:
        FileNotFoundError: nothing at the path, or data not yet fetched.
        ImportError: a package that reads the file is not installed.
        ValueError: an unknown name or option, a damaged file, values that the protocol does not take.
        TypeError: numbers of a type that has no meaning as x, or Python objects.

    Example:
        >>> data = load_data("mnist", "dynamic", validation=10_000)
        >>> len(data.train), len(data.validation), len(data.test)
        (50000, 10000, 10000)
    """
    choice("protocol", protocol, PROTOCOLS)
    event_shape = shape if shape is None or shape == "image" else check_shape("shape", shape)
    where = str(source)
    if where in SOURCES and (protocol == "static") != (where == "static-mnist"):
        raise ValueError(
            f"protocol is {protocol!r} for {where}; 'static' is for bits, and of published data static-mnist alone has "
            "them, and nothing else. "
            "Use load_data('static-mnist', 'static'), or another protocol for other data."
        )
    stored = read(source, resize=resize, colour=colour, array=array, labels=labels)
    for each in stored.warnings:
        warnings.warn(each, stacklevel=2)
    return split(stored, protocol, event_shape, validation=validation, test=test, where=where)


def read(
    source: str | Path,
    *,
    resize: int | tuple[int, int] | None,
    colour: Colour,
    array: str | None,
    labels: str | None = None,
) -> Stored:
    """What a name or a path stands for, as it is stored."""
    choice("colour", colour, get_args(Colour))
    path = resolve(source)
    if path is not None:
        stored = read_path(path, Choice(array, labels, size_of(resize), colour))
        return encoded(stored, str(source), asked=labels is not None)
    if array is not None or labels is not None or colour != "grey":
        raise ValueError(
            f"array, labels and colour are for files and folders of yours, and {source} is published data. Leave them "
            "out."
        )
    return read_published(SOURCES[str(source)], size_of(resize))


def resolve(source: str | Path) -> Path | None:
    """The path that a source stands for; None if it is the name of published data."""
    name = str(source)
    if isinstance(source, Path):
        return source
    if name in SOURCES:
        return None
    imported = imported_names()
    if name in imported:
        return cache_folder() / "imported" / name
    path = Path(name)
    if not (path.exists() or path.suffix or set(name) & {"/", os.sep}):
        known_source(name, imported)
    return path


def imported_names() -> tuple[str, ...]:
    """The names under which data were imported."""
    folder = cache_folder() / "imported"
    names = (path.parent.name for path in folder.glob("*/train.np[yz]"))
    return tuple(sorted(name for name in names if not name.startswith(".")))  # an import that is not finished has a dot


def size_of(resize: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) of what the argument `resize` says."""
    if resize is None:
        return None
    sizes = resize if isinstance(resize, tuple) else (resize, resize)
    if len(sizes) != 2:
        raise ValueError(f"resize is {resize!r}; it must be (height, width) or one number for both.")
    height, width = (whole("resize", size) for size in sizes)
    return height, width
