"""Folders: of images, of files of arrays, or of the IDX files of MNIST and its successors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reparam.data.idx import read_idx
from reparam.data.image_folders import image_folders
from reparam.data.images import read_images
from reparam.data.labels import labels_in
from reparam.data.roles import Role, by_role, role_of
from reparam.data.stored import ORDER, Choice, Part, PartName, Stored, part_of
from reparam.data.walk import left_out

TABLES = (".csv", ".tsv", ".parquet")  # of which one beside images may be about them
ABOUT = "about.json"  # what an import writes beside its arrays

ReadFile = Callable[[Path, Choice], Stored]


def read_folder(path: Path, choice: Choice, read_file: ReadFile, suffixes: Sequence[str]) -> Stored:
    """What a folder holds: arrays if it has files of such with the names of parts, else images.

    Args:
        path: the folder.
        choice: what to take.
        read_file: reads one file of arrays.
        suffixes: endings of files that it reads.

    Raises:
        ValueError: neither arrays nor images; files that cannot be read.
    """
    files = files_of_arrays(path, suffixes)
    if files:
        return _read_arrays(path, files, choice, read_file)
    if choice.array is not None:
        raise ValueError(f"array is {choice.array!r}, and {path} is a folder of images. Leave array out.")
    images = image_folders(path, choice.labels)
    parts = {
        name: part_of(
            read_images(each.found.folder, each.found.files(), choice.resize, choice.colour),
            str(path),
            each.labels,
            tuple(each.found.images),
        )
        for name, each in images.parts.items()
    }
    return Stored(parts, images=True, notes=images.notes, warnings=images.warnings)


def files_of_arrays(path: Path, suffixes: Sequence[str]) -> dict[Role, Path]:
    """The files in a folder with the names of parts, such as train.npy or train-images-idx3-ubyte.gz, by their role.

    Empty where none holds the values for training. Tables beside a folder of that name are about its images.
    """
    if (path / "train").is_dir():
        suffixes = [each for each in suffixes if each not in TABLES]
    stems = {each.name: stem for each in sorted(path.iterdir()) if (stem := _stem(each, suffixes)) is not None}
    if all(role_of(stem) != Role("train", "values") for stem in stems.values()):
        return {}
    return {role: path / name for role, name in by_role(stems, str(path)).items()}


def _stem(file: Path, suffixes: Sequence[str]) -> str | None:
    """The name of a file of arrays without its ending; None for other files."""
    if file.name.startswith(".") or not file.is_file():
        return None
    name = file.name.removesuffix(".gz")
    if name.endswith("-ubyte"):  # train-images-idx3-ubyte, train-images.idx3-ubyte
        return name.removesuffix("-ubyte")
    ending = next((each for each in suffixes if file.name.lower().endswith(each)), None)
    return None if ending is None else file.name[: -len(ending)]


def _read_arrays(path: Path, files: dict[Role, Path], choice: Choice, read_file: ReadFile) -> Stored:
    if choice.resize is not None or choice.colour != "grey":
        raise ValueError(f"resize and colour are for folders of images; {path} holds arrays. Leave them out.")
    parts: dict[PartName, Part] = {}
    read: list[Stored] = []
    about, taken = About.beside(path), {ABOUT}
    alone = sum(role.kind == "values" for role in files) == 1  # then labels.npy needs no name of a part
    labels_apart = choice.labels is not None and Path(choice.labels).is_file()
    for name in ORDER:
        file = files.get(Role(name, "values"))
        if file is None:
            continue
        read.append(read_file(file, replace(choice, labels=None) if labels_apart and name != "train" else choice))
        if len(read[-1].parts) > 1:
            raise ValueError(
                f"{file} holds several parts, in a folder that has a file for each part. Give the path of the file."
            )
        part = read[-1].train
        labels = files.get(Role(name, "labels"), files.get(Role(None, "labels")) if alone else None)
        if labels is not None and choice.labels is None:
            part = replace(part, labels=labels_in(labels))
            taken.add(labels.name)
        parts[name] = replace(part, names=about.names.get(name, part.names))
        taken.add(file.name)
    left = sorted(each.name for each in path.iterdir() if each.name not in taken)
    notes = [note for stored in read for note in stored.notes]
    return Stored(
        parts,
        classes=about.classes,
        untyped=about.untyped or all(stored.untyped for stored in read),
        images=about.images,
        notes=(*notes, *left_out(path, "other files", left)),
        warnings=tuple(warning for stored in read for warning in stored.warnings),
    )


@dataclass(frozen=True)
class About:
    """What an import knows of arrays beyond the arrays: fields of `Stored`, and the names of the rows of each part."""

    classes: tuple[str, ...] | None = None
    untyped: bool = False
    images: bool = False
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(vars(self))

    @staticmethod
    def beside(folder: Path) -> About:
        """What stands in the folder; nothing is known of arrays that were not imported.

        Raises:
            ValueError: a file that no import wrote.
        """
        path = folder / ABOUT
        if not path.exists():
            return About()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            names = {name: tuple(map(str, texts)) for name, texts in values["names"].items()}
            classes = None if values["classes"] is None else tuple(map(str, values["classes"]))
            return About(classes, bool(values["untyped"]), bool(values["images"]), names)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is not as an import writes it ({error!r}). Import the data anew.") from error


def read_idx_folder(path: Path) -> Stored:
    """The four gzipped files of MNIST and its successors, under their published names."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    train, train_labels, test, test_labels = (read_idx(path / f"{name}-ubyte.gz").numpy() for name in names)
    where = str(path)
    return Stored({"train": part_of(train, where, train_labels), "test": part_of(test, where, test_labels)})
