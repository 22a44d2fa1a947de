"""Labels as whole numbers with the names of their classes, from arrays, from folders, from a file of labels."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reparam.data.idx import read_idx
from reparam.data.readers import read_npy
from reparam.data.roles import LABEL_COLUMNS
from reparam.data.stored import PartName, Stored

NONE = ""  # as a text, the label of an example that has none; -1 as a number


def encoded(stored: Stored, source: str, *, asked: bool) -> Stored:
    """`stored` with labels as int64 `[N]`, and the names of the classes in the order of their numbers.

    Whole numbers stay as they are. Texts are numbered in alphabetical order, over all parts together; texts that all
    are whole numbers become these. One-hot rows become the index of their one.

    Args:
        stored: with labels as they were found.
        source: what errors and notes call the data.
        asked: whether the user named the labels. Labels that nobody named and that cannot be used are left out, with a
            warning.

    Raises:
        TypeError: labels that were asked for and are no whole numbers or texts.
        ValueError: labels that were asked for and are not one for each example.
    """
    raw = {name: part.labels for name, part in stored.parts.items() if part.labels is not None}
    try:
        arrays = {name: _flat(labels, len(stored.parts[name].values), source) for name, labels in raw.items()}
        numbers, classes = _numbered(arrays, source)
        classes = classes or _fitting(stored.classes, numbers)
    except (TypeError, ValueError) as error:
        if asked:
            raise
        numbers, classes = {}, None
        stored = replace(stored, warnings=(*stored.warnings, f"{error} The labels are left out."))
    parts = {name: replace(part, labels=numbers.get(name)) for name, part in stored.parts.items()}
    return replace(stored, parts=parts, classes=classes)


def _flat(labels: Any, length: int, source: str) -> NDArray[Any]:
    """One label for each example, as numbers or texts."""
    found = np.asarray(labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and _is_one_hot(found):
        found = found.argmax(1)
    if found.ndim != 1 or len(found) != length:
        raise ValueError(
            f"{source} holds labels of shape {found.shape} for {length} examples; there must be one for each example."
        )
    if found.dtype.kind == "O":
        found = np.array([each if isinstance(each, str) else str(each) for each in found.tolist()])
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8")
    if found.dtype.kind == "f" and np.isfinite(found).all() and (found == np.floor(found)).all():
        found = found.astype(np.int64)
    if found.dtype.kind not in "biuU":
        raise TypeError(
            f"{source} holds labels of type {found.dtype}; labels are whole numbers or texts. Name an array or column "
            "of such by labels= (--labels)."
        )
    return found


def _is_one_hot(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "buif" and bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())


def _numbered(
    arrays: Mapping[PartName, NDArray[Any]], source: str
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...] | None]:
    kinds = {array.dtype.kind == "U" for array in arrays.values()}
    if len(kinds) > 1:
        raise TypeError(f"{source} holds labels as numbers in one part and as texts in another; they must be alike.")
    if not kinds or kinds == {False}:
        return {name: array.astype(np.int64) for name, array in arrays.items()}, None
    texts = sorted({text for array in arrays.values() for text in np.unique(array).tolist()} - {NONE})
    if texts and all(_is_whole(text) for text in texts):
        if all(NONE not in array for array in arrays.values()):
            return {
                name: np.array([_whole(text) for text in array.tolist()], np.int64) for name, array in arrays.items()
            }, None
        texts.sort(key=_whole)
    number = {text: index for index, text in enumerate(texts)} | {NONE: -1}
    return {
        name: np.array([number[text] for text in array.tolist()], dtype=np.int64) for name, array in arrays.items()
    }, tuple(texts)


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,15}(\.0+)?", text) is not None


def _whole(text: str) -> int:
    return int(text.partition(".")[0])


def _fitting(classes: tuple[str, ...] | None, numbers: Mapping[str, NDArray[np.int64]]) -> tuple[str, ...] | None:
    """Names of classes, if every label is the index of one, or -1."""
    fits = classes and numbers and all(each.min() >= -1 and each.max() < len(classes) for each in numbers.values())
    return classes if fits else None


def class_folders(names: Mapping[PartName, Sequence[str]]) -> dict[PartName, NDArray[Any]]:
    """The folder of each image as its label: the first in its path, below what all paths have in common.

    Args:
        names: paths of the images of each part, relative to its folder.

    Returns:
        One text for each image, empty for an image beside the folders of classes; nothing, if there is one folder.
    """
    folders = {part: [PurePosixPath(name).parent.parts for name in paths] for part, paths in names.items()}
    everywhere = [parts for paths in folders.values() for parts in paths]
    common = 0
    while all(len(parts) > common and parts[common] == everywhere[0][common] for parts in everywhere):
        common += 1
    found = {part: [path[common] if len(path) > common else NONE for path in paths] for part, paths in folders.items()}
    if len({text for texts in found.values() for text in texts} - {NONE}) < 2:
        return {}
    return {part: np.array(texts) for part, texts in found.items()}


def labels_by_file(path: Path, names: Sequence[str], folder: str = "") -> tuple[NDArray[Any], list[str]]:
    """The labels of images from a table: the first column is the image, another its label.

    Args:
        path: a file of comma-separated or tab-separated values, with a header or without. The label is the column
            that the header calls label, else the second.
        names: of the images, relative to their folder.
        folder: name of that folder, with which the table's names may begin.

    Returns:
        One text for each image, empty for those that the table does not name; and notes.

    Raises:
        ValueError: a table of another form, or one that names no image.
    """
    rows = [row for row in _table(path) if row]
    if not rows or min(map(len, rows)) < 2:
        raise ValueError(
            f"{path} is no table of labels: each line must hold the path of an image and its label, such as "
            "cats/1.png,cat. Write the table in that form."
        )
    header = [cell.strip().lower() for cell in rows[0]]
    column = next((header.index(name) for name in LABEL_COLUMNS if name in header[1:]), 1)
    if column == 1 and len(header) > 2 and header[1] not in LABEL_COLUMNS:
        raise ValueError(f"{path} has {len(header)} columns and none is called label. Add a header that names one.")
    given = {row[0].replace("\\", "/").removeprefix("./"): row[column].strip() for row in rows}
    short = len({PurePosixPath(name).name for name in names}) == len(names)  # then a name without folders is enough
    used: set[str] = set()
    found = []
    for name in names:
        bare = PurePosixPath(name)
        forms = (name, f"{folder}/{name}", *((bare.name, bare.stem) if short else ()))
        form = next((each for each in forms if each in given), None)
        used |= {form} if form is not None else set()
        found.append(NONE if form is None else given[form])
    if not used:
        raise ValueError(
            f"{path} labels {rows[-1][0]!r} and none of the {len(names)} images, such as {names[0]!r}. Write paths "
            "relative to the folder of the images into its first column."
        )
    missing = found.count(NONE)
    return np.array(found), [f"{missing} images have no label in {path.name}"] if missing else []


def labels_in(path: Path) -> NDArray[Any]:
    """The labels in a file of their own, one for each row: .npy, IDX, or a text with a label in each line.

    Raises:
        ValueError: a file of another form.
    """
    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix not in (".csv", ".tsv", ".txt"):
        return np.asarray(read_idx(path).numpy())
    rows = [row for row in _table(path) if row]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in LABEL_COLUMNS if name in header), None)
    if column is None and any(len(row) > 1 for row in rows):
        raise ValueError(
            f"{path} holds several columns and none is called label. Add a header, such as name,label, or keep one "
            "column."
        )
    cells = rows if column is None else rows[1:]
    return np.array([row[column or 0].strip() for row in cells])


def _table(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}). Save it as UTF-8.") from error
    return list(csv.reader(text.splitlines(), delimiter=delimiter_of(text.partition("\n")[0])))


def delimiter_of(line: str) -> str:
    """What separates the cells of a line: the most frequent of comma, semicolon and tab."""
    return max(",;\t", key=line.count)
