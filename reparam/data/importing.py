"""import_: data of one's own under a name, in files that can be mapped into memory."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam._printable import printable_errors
from reparam.data.fetch import cache_folder
from reparam.data.folders import ABOUT, About, files_of_arrays
from reparam.data.formats import READERS
from reparam.data.image_folders import ImageFolder, image_folders
from reparam.data.images import decode, read_images
from reparam.data.labels import encoded
from reparam.data.listing import Info, info
from reparam.data.load import read, resolve, size_of
from reparam.data.rows import is_sparse, with_numbers
from reparam.data.sources import SOURCES
from reparam.data.stored import Choice, Colour, Part, Stored
from reparam.data.unfinished import importing, reserve, writing


@printable_errors()
def import_(
    source: str | Path,
    name: str,
    *,
    resize: int | tuple[int, int] | None = None,
    colour: Colour = "grey",
    array: str | None = None,
    labels: str | None = None,
) -> Info:
    """Copies data into the cache as `.npy` files that can be mapped into memory, so that `load_data(name)` has them.

    A folder of images is decoded once and for all, one image at a time; a sparse matrix stays sparse. Labels, the
    names of their classes and the names of the examples are kept. What an import that was killed has left behind is
    removed by the next one of that name, with a warning.

    Args:
        source: a name or a path, see `load_data`.
        name: small letters, digits, and - _ between them; not one of the published data.
        resize: as in `load_data`.
        colour: as in `load_data`.
        array: as in `load_data`.
        labels: as in `load_data`.

    Returns:
        What was imported.

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
    with importing(target) as folder:
        notes = _write_parts(source, folder, target, Choice(array, labels, size_of(resize), colour))
        found = info(folder)
        with writing(target):
            folder.rename(target)
    return replace(found, source=name, notes=notes)


def _write_parts(source: str | Path, folder: Path, target: Path, chosen: Choice) -> tuple[str, ...]:
    path = resolve(source)
    if path is None or not path.is_dir() or chosen.array is not None or files_of_arrays(path, tuple(READERS)):
        stored = read(source, resize=chosen.resize, colour=chosen.colour, array=chosen.array, labels=chosen.labels)
        with writing(target):
            for name, part in stored.parts.items():
                _write_values(folder, name, part.values)
    else:
        images = image_folders(path, chosen.labels)
        parts = {name: _decoded(each, folder / f"{name}.npy", target, chosen) for name, each in images.parts.items()}
        stored = Stored(parts, images=True, notes=images.notes, warnings=images.warnings)
        stored = encoded(stored, str(source), asked=chosen.labels is not None)
    names: dict[str, tuple[str, ...]] = {
        name: part.names for name, part in stored.parts.items() if part.names is not None
    }
    about = About(stored.classes, stored.untyped, stored.images, names)
    with writing(target):
        for name, part in stored.parts.items():
            if part.labels is not None:
                np.save(folder / f"{name}_labels.npy", part.labels, allow_pickle=False)
        (folder / ABOUT).write_text(about.to_json(), encoding="utf-8")
    return (*stored.notes, *stored.warnings)


def _write_values(folder: Path, name: str, values: Tensor) -> None:
    if values.dtype.is_floating_point and values.dtype not in (torch.float16, torch.float32, torch.float64):
        values = with_numbers(values, lambda numbers: numbers.float())  # NumPy has no bfloat16
    if not is_sparse(values):
        np.save(folder / f"{name}.npy", values.numpy(), allow_pickle=False)
        return
    arrays: dict[str, Any] = {
        "format": np.array(b"csr"),
        "shape": np.array(values.shape),
        "data": values.values().numpy(),
        "indices": values.col_indices().numpy(),
        "indptr": values.crow_indices().numpy(),
    }
    np.savez(folder / f"{name}.npz", **arrays)  # as scipy.sparse.save_npz writes it


def _decoded(images: ImageFolder, path: Path, target: Path, chosen: Choice) -> Part:
    """Writes the images of a part into a file, one at a time; what is returned has their labels and names."""
    files = images.found.files()
    shape = (len(files), *decode(files[0], files[0], chosen.resize, chosen.colour).shape)
    with writing(target):
        out = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        reserve(path)
    read_images(images.found.folder, files, chosen.resize, chosen.colour, out)
    out.flush()
    return Part(torch.empty(len(files), 0), images.labels, tuple(images.found.images))
