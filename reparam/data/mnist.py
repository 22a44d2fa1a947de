"""The MNIST digits, embedded: LeCun, Cortes, Burges, CC BY-SA 3.0."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reparam._checks import Shape, choice, usable_device, whole
from reparam._checks import shape as check_shape
from reparam.data.data import Data, Protocol
from reparam.data.idx import read_idx

_FILES = Path(__file__).parent / "files"
_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_BINARIZATION_SEED = 20261122
# all that numpy and zipfile raise on damaged archives
_UNREADABLE = (
    *(KeyError, OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True, eq=False)
class Splits:
    """Data in the parts that an experiment needs; `validation` is None where there is none."""

    train: Data
    validation: Data | None
    test: Data


def mnist(
    protocol: Literal["grey", "dynamic", "threshold", "static"] = "grey",
    *,
    validation: int = 0,
    shape: Shape = 784,
    file: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Splits:
    """MNIST, 28 x 28 pixels in [0, 1], from the copy inside this package; checksums are verified.

    Protocols, whose results never share a column:

    - "grey": the bytes over 255, means of Bernoulli pixels;
    - "dynamic": fresh bits with these means at every visit; validation and test are binarised once, with a fixed seed;
    - "threshold": 1 where the byte is above 127, else 0;
    - "static": bits from a file of yours, an `.npz` with arrays train, valid and test, each `[N, 784]` of 0 and 1 or
      `[N, 98]` packed by `numpy.packbits`. It has no labels.

    Args:
        protocol: one of the above.
        validation: how many of the 60,000 training images, the last ones, are kept apart; 0 or 10,000 as a rule.
        shape: of one image, 784 or (1, 28, 28).
        file: for "static".
        device: where the bytes are kept.

    Raises:
        ValueError: an unknown protocol or device, a damaged file (the message says which and what was expected), a
            `file` missing or given without "static".
        FileNotFoundError: no such `file`.

    Example:
        >>> data = mnist("dynamic", validation=10_000)
        >>> len(data.train), len(data.validation), len(data.test)
        (50000, 10000, 10000)
    """
    choice("protocol", protocol, ("grey", "dynamic", "threshold", "static"))
    whole("validation", validation, least=0)
    if (protocol == "static") != (file is not None):
        raise ValueError(
            f"protocol {protocol!r} with file {file!r}; 'static', and only it, reads its bits from a file. "
            "Pass file='static_mnist.npz', or choose 'dynamic', which needs none."
        )
    event_shape = check_shape("shape", shape)
    if event_shape.numel() != 784:
        raise ValueError(f"shape is {shape}; MNIST images have 784 pixels. Use 784, (28, 28) or (1, 28, 28).")
    where = usable_device(device)
    images, labels = _read_static(Path(file)) if file is not None else _read_embedded()
    if validation >= len(images["train"]):
        raise ValueError(
            f"validation is {validation} of {len(images['train'])} training images; nothing is left to train."
        )
    train = _part(images["train"], labels.get("train"), protocol, event_shape)
    test = _part(images["test"], labels.get("test"), protocol, event_shape)
    train, held_out = _split(train, len(train) - validation)
    if protocol == "dynamic":
        test = test.binarized(_BINARIZATION_SEED)
        held_out = held_out and held_out.binarized(_BINARIZATION_SEED)
    return Splits(train.to(where), held_out and held_out.to(where), test.to(where))


def _part(images: Tensor, labels: Tensor | None, protocol: Protocol, event_shape: torch.Size) -> Data:
    values = images.reshape(-1, *event_shape)
    if protocol == "threshold":
        values = (values > 127).to(torch.uint8) * 255
    return Data(values, protocol, labels)


def _split(data: Data, size: int) -> tuple[Data, Data | None]:
    if size == len(data):
        return data, None
    labels = (None, None) if data.labels is None else (data.labels[:size], data.labels[size:])
    return Data(data.values[:size], data.protocol, labels[0]), Data(data.values[size:], data.protocol, labels[1])


def _read_embedded() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    arrays = {name: read_idx(_FILES / name, sha256=sha256) for name, sha256 in _SHA256.items()}
    train_images, train_labels, test_images, test_labels = arrays.values()
    return {"train": train_images, "test": test_images}, {"train": train_labels, "test": test_labels}


def _read_static(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    expected = "Expected: an .npz with arrays train, valid and test, [N, 784] of 0 and 1 or [N, 98] packed bits."
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("train", "valid", "test")}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist. {expected}") from None
    except _UNREADABLE as error:
        problem = f"cannot be read as an archive of arrays ({type(error).__name__})"
        raise ValueError(f"{path} {problem}. {expected}") from error
    images = {}
    for name, array in arrays.items():
        bits = np.unpackbits(array, axis=1) if array.dtype == np.uint8 and array.shape[1:] == (98,) else array
        if bits.dtype.kind not in "buif" or bits.shape[1:] != (784,) or len(bits) == 0:
            raise ValueError(f"{path}: array {name} has shape {array.shape} and type {array.dtype}. {expected}")
        if not np.isin(bits, (0, 1)).all():
            raise ValueError(f"{path}: array {name} holds {bits[~np.isin(bits, (0, 1))][0]}. {expected}")
        images[name] = torch.from_numpy(bits.astype(np.uint8) * 255)
    return {"train": torch.cat([images["train"], images["valid"]]), "test": images["test"]}, {}
