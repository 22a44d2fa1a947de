"""listing, info: what data there are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reparam._printable import printable_errors
from reparam.data.checksum import checksum
from reparam.data.fetch import cache_folder
from reparam.data.load import imported_names, read
from reparam.data.protocols import Protocol, advice, extremes, from_text, holds_bits, name_of
from reparam.data.readers import read_npy, read_npz
from reparam.data.rows import is_sparse
from reparam.data.sources import SOURCES
from reparam.data.splits import split
from reparam.data.stored import Colour, Part, Stored


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
    train, test = _shape(folder, "train"), _shape(folder, "test")
    return Listed(name, train[0], test[0] if test else 0, train[1:], "", "imported", True)


def _shape(folder: Path, part: str) -> tuple[int, ...]:
    """The shape of imported data, of which a sparse matrix is not read for that; empty where there are none."""
    dense, sparse = folder / f"{part}.npy", folder / f"{part}.npz"
    if dense.exists():
        return read_npy(dense).shape
    if not sparse.exists():
        return ()
    return tuple(read_npz(sparse, ("shape",), "Import the data anew.")["shape"].tolist())


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
        validation: examples that the source itself sets apart to validate on.
        sparse: whether the values are kept as a sparse matrix.
        labels: number of training examples of each class, by its name or its number, the empty name for examples
            without a label; None without labels.
        labels_checksum: that of `checksum(..., labels=True)`; None without labels.
        first_name: name of the first training example, such as its file; None without names.
        notes: what was left out, or decided without being asked, each in one sentence.
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
    validation: int = 0
    sparse: bool = False
    labels: dict[str, int] | None = None
    labels_checksum: str | None = None
    first_name: str | None = None
    notes: tuple[str, ...] = ()


@printable_errors()
def info(
    source: str | Path,
    *,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
    labels: str | None = None,
) -> Info:
    """What is in a source; arguments are those of `load_data`. All of it is read once, in blocks.

    Returns:
        An `Info`.

    Raises:
        As `load_data`.
    """
    stored = read(source, resize=resize, colour=colour, array=array, labels=labels)
    values = [from_text(part.values, "grey") if stored.untyped else part.values for part in stored.parts.values()]
    ends = [extremes(part) for part in values]
    least, largest = min(low for low, _ in ends), max(high for _, high in ends)
    bits = str(source) == "static-mnist" or all(holds_bits(part) for part in values)
    protocols, advised = advice(values[0], least, largest, bits)
    splits = split(stored, protocols[0], None, validation=None, test=None, where=str(source))
    sizes: dict[str, int] = {name: len(part.values) for name, part in stored.parts.items()}
    return Info(
        source=str(source),
        train=sizes["train"],
        test=sizes.get("test", 0),
        shape=tuple(stored.train.values.shape[1:]),
        dtype=name_of(values[0].dtype),
        least=least,
        largest=largest,
        mapped=stored.train.mapped,
        protocols=protocols,
        advice=advised,
        checksum=checksum(splits),
        validation=sizes.get("validation", 0),
        sparse=is_sparse(stored.train.values),
        labels=_counts(stored.train, stored),
        labels_checksum=None if stored.train.labels is None else checksum(splits, labels=True),
        first_name=None if stored.train.names is None else stored.train.names[0],
        notes=(*stored.notes, *stored.warnings),
    )


def _counts(part: Part, stored: Stored) -> dict[str, int] | None:
    if part.labels is None:
        return None
    numbers, counts = np.unique(part.labels, return_counts=True)
    classes = stored.classes
    names = [("" if each < 0 else classes[each]) if classes else str(each) for each in numbers.tolist()]
    return dict(zip(names, counts.tolist(), strict=True))
