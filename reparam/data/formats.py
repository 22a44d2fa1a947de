"""Which file is read by what: the one place where an ending means a reader, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from reparam._files import check_regular
from reparam.data.archives import read_npz_parts, read_safetensors
from reparam.data.folders import read_folder
from reparam.data.h5ad import read_h5ad
from reparam.data.idx import read_idx
from reparam.data.images import SUFFIXES
from reparam.data.labels import labels_in
from reparam.data.readers import read_amat, read_npy
from reparam.data.stored import Choice, Stored, part_of
from reparam.data.tables import read_csv, read_parquet

Reader = Callable[[Path, Choice], Stored]


def _read_npy(path: Path, _: Choice) -> Stored:
    return Stored({"train": part_of(read_npy(path), str(path))})


def _read_amat(path: Path, _: Choice) -> Stored:
    return Stored({"train": part_of(read_amat(path), str(path))})


def _read_idx(path: Path, _: Choice) -> Stored:
    return Stored({"train": part_of(np.asarray(read_idx(path).numpy()), str(path))})


READERS: dict[str, Reader] = {
    ".npy": _read_npy,
    ".npz": read_npz_parts,
    ".safetensors": read_safetensors,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".h5ad": read_h5ad,
    ".amat": _read_amat,
}
WITH_NAMES = (".npz", ".safetensors", ".h5ad")  # of several arrays, which `array` tells apart
WITH_LABELS = (*WITH_NAMES, ".csv", ".tsv", ".parquet")  # in which `labels` may name something

_SAVE = "Save the numbers as .npy or .safetensors"
_PICKLED = f"such files are pickles, and to unpickle one may run any code. {_SAVE} where the file was made"
_LOAD = {
    ".mat": "numpy.save('x.npy', scipy.io.loadmat(path)['x'])",
    ".h5": "numpy.save('x.npy', h5py.File(path)['x'][()])",
    ".mtx": "scipy.sparse.save_npz('x.npz', scipy.io.mmread(path).tocsr())",
    ".feather": "pandas.read_feather(path).to_parquet('x.parquet')",
    ".xlsx": "pandas.read_excel(path).to_csv('x.csv', index=False)",
    ".json": "numpy.save('x.npy', json.load(open(path)))",
    ".tfrecord": "numpy.save('x.npy', numpy.stack([...])) over tensorflow.data.TFRecordDataset(path)",
    ".rds": "write.csv(x, 'x.csv', row.names=FALSE) in R",
    ".bin": "numpy.save('x.npy', numpy.fromfile(path, 'float32').reshape(number_of_examples, -1))",
    ".nii": "numpy.save('x.npy', nibabel.load(path).get_fdata())",
    ".txt": "rename a table with commas or tabs to .csv or .tsv; else numpy.save('x.npy', numpy.loadtxt(path))",
}
_LIKE = {
    ".hdf5": ".h5", ".loom": ".h5", ".arrow": ".feather", ".xls": ".xlsx", ".ods": ".xlsx", ".jsonl": ".json",
    ".tfrecords": ".tfrecord", ".rdata": ".rds", ".rda": ".rds", ".data": ".txt", ".dat": ".txt",
}  # fmt: skip
NOT_READ: dict[str, str] = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"), _PICKLED),
    **{ending: f"such files are not read. Convert the file: {how}" for ending, how in _LOAD.items()},
    **{ending: f"such files are not read. Convert the file: {_LOAD[other]}" for ending, other in _LIKE.items()},
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".7z", ".rar", ".xz", ".bz2", ".zst"), "such files are packed. Unpack the file first"
    ),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".wav", ".mp3", ".flac"), f"such files are video or sound. {_SAVE}"),
    **dict.fromkeys(SUFFIXES, "the file is one image. Give the folder of the images"),
}


def read_path(path: Path, choice: Choice) -> Stored:
    """What the file or folder at `path` holds.

    Raises:
        FileNotFoundError: nothing is there.
        ImportError: a package that reads the file is not installed.
        ValueError: it is damaged or of another kind, or an option does not suit it.
        TypeError: it holds Python objects.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Restore it, or give the path or name of other data.")
    ending = path.suffix.lower()
    if path.is_dir():
        return read_folder(path, choice, read_file, tuple(READERS))
    check_regular(path)
    if choice.array is not None and ending not in WITH_NAMES:
        raise ValueError(
            f"array is {choice.array!r}; only an .npz, .safetensors or .h5ad file has arrays with names, and {path} is "
            "none. Leave array out."
        )
    if choice.resize is not None or choice.colour != "grey":
        raise ValueError(f"resize and colour are for folders of images; {path} is a file. Leave them out.")
    return read_file(path, choice)


def read_file(path: Path, choice: Choice) -> Stored:
    """What a file of arrays holds, with the labels of another file where `choice.labels` is the path of one.

    Raises:
        As `read_path`.
    """
    ending = path.suffix.lower()
    labels = Path(choice.labels) if choice.labels is not None else None
    apart = labels is not None and (labels.suffix != "" or ending not in WITH_LABELS)
    if labels is None or not apart or (ending in WITH_LABELS and not labels.is_file()):
        return _reader(path)(path, choice)
    if not labels.is_file():
        raise FileNotFoundError(f"labels is {choice.labels!r}, and there is no such file. Give the path of one.")
    stored = _reader(path)(path, replace(choice, labels=None))
    return replace(stored, parts={**stored.parts, "train": replace(stored.train, labels=labels_in(labels))})


def _reader(path: Path) -> Reader:
    ending = path.suffix.lower()
    if ending in READERS:
        return READERS[ending]
    with path.open("rb") as file:
        begins = file.read(3)
    if begins == b"\x00\x00\x08":
        return _read_idx
    if ending == ".gz" and Path(path.stem).suffix.lower() in {*READERS, *NOT_READ}:
        raise ValueError(
            f"{path} is packed; of packed files only IDX is read. Unpack the file first: gunzip {path.name}."
        )
    if ending in NOT_READ:
        raise ValueError(f"{path} ends in {ending}: {NOT_READ[ending]}.")
    if begins[:2] in (b"\x00\x00", b"\x1f\x8b") or ending.endswith("ubyte") or ending == ".gz":
        return _read_idx  # which says what is wrong with it
    raise ValueError(
        f"{path} is no file of a known kind: {', '.join(READERS)}, IDX (of bytes, plain or gzipped) and folders of "
        "images are read. Save the numbers as .npy."
    )
