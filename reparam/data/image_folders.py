"""Folders of images: which images are for what, and their labels; nothing is read yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from reparam.data.images import SUFFIXES
from reparam.data.labels import class_folders, labels_by_file
from reparam.data.roles import part_named
from reparam.data.stored import ORDER, PartName
from reparam.data.walk import Found, found_in, left_out

LABEL_FILES = ("labels.csv", "labels.tsv", "labels.txt", "metadata.csv")


@dataclass(frozen=True)
class ImageFolder:
    """The images of one part.

    Attributes:
        found: their files.
        labels: `[N]` texts, empty for an image without a label; None without labels.
    """

    found: Found
    labels: NDArray[Any] | None


@dataclass(frozen=True)
class ImageFolders:
    """The images of a folder by part, with what is left out; `notes` and `warnings` as in `Stored`."""

    parts: dict[PartName, ImageFolder]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def image_folders(path: Path, labels: str | None) -> ImageFolders:
    """The images of a folder: of its folders train, val and test, if train and another are there, else all of them.

    Args:
        path: the folder.
        labels: path of a table of labels; if not given, one in the folder is taken, else the folders are the classes.

    Raises:
        FileNotFoundError: no table of labels at its path.
        ValueError: no images; two folders for one part; a table that names no image.
    """
    folders = _by_part(path)
    if "train" not in folders or len(folders) == 1:
        folders = {"train": path}
    found = {name: found_in(folders[name]) for name in ORDER if name in folders}
    if not found["train"].images:
        raise ValueError(_no_images(found["train"]))
    warnings = [f"{each.folder} holds no images, and is left out." for each in found.values() if not each.images]
    found = {name: each for name, each in found.items() if each.images}
    by_part, notes = _labels(found, path, labels)
    for each in found.values():
        said, seen = each.notes()
        notes += said
        warnings += seen
    if path not in folders.values():
        said, seen = _beside(path, [each.folder.name for each in found.values()])
        notes += said
        warnings += seen
    parts = {name: ImageFolder(each, by_part.get(name)) for name, each in found.items()}
    return ImageFolders(parts, tuple(notes), tuple(warnings))


def _by_part(path: Path) -> dict[PartName, Path]:
    """The folders with the names of parts.

    Raises:
        ValueError: two for one part, where there is one for training.
    """
    folders: dict[PartName, Path] = {}
    named = [(part_named(each.name), each) for each in sorted(path.iterdir()) if each.is_dir()]
    divided = any(name == "train" for name, _ in named)
    for name, folder in named:
        if name is None:
            continue
        if name in folders and divided:
            raise ValueError(
                f"{path} holds the folders {folders[name].name} and {folder.name}, which may both be the {name} part. "
                "Rename or remove one."
            )
        folders[name] = folder
    return folders


def _beside(path: Path, folders: list[str]) -> tuple[list[str], list[str]]:
    """What lies beside the folders of the parts, in sentences, and those of them that mean missing examples."""
    images: list[str] = []
    others: list[str] = []
    for each in sorted(path.iterdir()):
        if each.name in (*folders, *LABEL_FILES) or each.name.startswith("."):
            continue
        number = len(found_in(each).images) if each.is_dir() else int(each.suffix.lower() in SUFFIXES)
        (images if number else others).append(f"{each.name} ({number})" if number else each.name)
    where = f"beside the folders {', '.join(folders)}"
    return left_out(path, f"files {where}", others), left_out(path, f"images {where}", images)


def _labels(
    found: dict[PartName, Found], path: Path, asked: str | None
) -> tuple[dict[PartName, NDArray[Any]], list[str]]:
    """The labels of each part, and notes."""
    if asked is not None and not Path(asked).is_file():
        raise FileNotFoundError(
            f"labels is {asked!r}, and there is no such file. Give the path of a table with the path of an image and "
            "its label in each line."
        )
    labels: dict[PartName, NDArray[Any]] = {}
    notes: list[str] = []
    for name, each in found.items():
        places = [place / file for place in dict.fromkeys((each.folder, path)) for file in LABEL_FILES]
        file = Path(asked) if asked is not None else next((place for place in places if place.is_file()), None)
        if file is None:
            continue
        each.others = [other for other in each.others if each.folder / other != file]
        try:
            labels[name], said = labels_by_file(file, each.images, each.folder.name)
        except ValueError as error:
            if asked is not None:
                raise
            said = [f"{error} The file is left out."]
        notes += said
    return labels or class_folders({name: each.images for name, each in found.items()}), notes


def _no_images(found: Found) -> str:
    there = f", but {len(found.others)} other files, such as {found.others[0]}" if found.others else ""
    return (
        f"{found.folder} holds no images{there}. Expected: files ending in {', '.join(SUFFIXES)}, in it or below, or "
        "arrays in files such as train.npy."
    )
