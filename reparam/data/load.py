"""load_data: a name or a path to `Splits`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from reparam._checks import Shape, choice, whole
from reparam._checks import shape as check_shape
from reparam._printable import printable_errors
from reparam.data.data import Protocol
from reparam.data.fetch import cache_folder, known_source
from reparam.data.images import Colour
from reparam.data.published import read_published
from reparam.data.readers import read_path
from reparam.data.sources import SOURCES
from reparam.data.splits import PROTOCOLS, Arrays, Splits, split


@printable_errors()
def load_data(
    source: str | Path,
    protocol: Protocol = "grey",
    *,
    validation: int = 0,
    test: int | None = None,
    shape: Shape | Literal["image"] | None = None,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
) -> Splits:
    """Data by name or path, ready to train, validate and test on.

    A source is the name of published data ("mnist", "fashion-mnist", "kmnist", "emnist", "omniglot", "static-mnist";
    all but the first are fetched before), the name of imported data, or the path of

    - an `.npy` file; above 256 MiB it is mapped into memory, not read, so it may be larger than memory;
    - an `.npz` file with arrays train, test and perhaps valid, or with one array, or with several of which `array`
      names one;
    - an IDX file, also gzipped, or a folder of four such with the names of MNIST's;
    - a folder with train.npy and perhaps test.npy;
    - a folder of images, also in folders below, or of two folders train and test with images.

    Where the source has a test part, that is it. Else the last rows are: a tenth, at most 10,000, or `test` of them.
    The rows of `validation` are the last of those left (valid, in a source that has it, comes last). Nothing is
    shuffled, so store rows in no meaningful order; the images of a folder come in the order of the SHA-256 of their
    relative paths, which is none.

    Args:
        source: a name or a path; a name wins, `./name` is a path.
        protocol: "grey", "dynamic" or "threshold" for values in [0, 1] (see `mnist`), "static" for bits, "as given" for
            other numbers.
        validation: how many rows are kept apart.
        test: how many rows are for testing, where the source does not say.
        shape: of one example, such as (1, 28, 28) or (3, 64, 64); if not given, one axis. "image" keeps the shape that
            is stored, and puts a channel before two axes.
        resize: of images in a folder, (height, width) or one number for both. omniglot comes as 28 if not given.
        colour: of images in a folder; "rgb" gives 3 channels before height and width.
        array: the name of the one array of an `.npz` to take.

    Raises:
        FileNotFoundError: nothing at the path, or data not yet fetched.
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
    arrays = read(source, resize=resize, colour=colour, array=array)
    return split(arrays, protocol, event_shape, validation=validation, test=test, where=where)


def read(source: str | Path, *, resize: int | tuple[int, int] | None, colour: Colour, array: str | None) -> Arrays:
    """What a name or a path stands for, as it is stored."""
    choice("colour", colour, get_args(Colour))
    path = resolve(source)
    if path is not None:
        return read_path(path, array=array, resize=size_of(resize), colour=colour)
    if array is not None or colour != "grey":
        raise ValueError(f"array and colour are for files and folders of yours, and {source} is published data.")
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
    names = (path.parent.name for path in folder.glob("*/train.npy"))
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
