"""The MNIST digits, embedded: LeCun, Cortes, Burges, CC BY-SA 3.0."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from reparam._checks import Shape, choice, usable_device
from reparam._checks import shape as check_shape
from reparam.data.idx import read_idx
from reparam.data.protocols import as_bits
from reparam.data.readers import read_npz
from reparam.data.splits import Splits, split
from reparam.data.stored import Part, Stored, part_of

_FILES = Path(__file__).parent / "files"
_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


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
    if (protocol == "static") != (file is not None):
        raise ValueError(
            f"protocol {protocol!r} with file {file!r}; 'static', and only it, reads its bits from a file. "
            "Pass file='static_mnist.npz', or choose 'dynamic', which needs none."
        )
    event_shape = check_shape("shape", shape)
    if event_shape.numel() != 784:
        raise ValueError(f"shape is {shape}; MNIST images have 784 pixels. Use 784, (28, 28) or (1, 28, 28).")
    where = usable_device(device)
    stored = _read_static(Path(file)) if file is not None else embedded()
    found = split(stored, protocol, event_shape, validation=validation, test=None, where="MNIST")
    held_out = None if found.validation is None else found.validation.to(where)
    return Splits(found.train.to(where), held_out, found.test.to(where))


def embedded() -> Stored:
    """The 70,000 digits in this package, `[N, 28, 28]`, with their labels."""
    arrays = [read_idx(_FILES / name, sha256=sha256) for name, sha256 in _SHA256.items()]
    train, train_labels, test, test_labels = arrays
    return Stored({"train": Part(train, train_labels.numpy()), "test": Part(test, test_labels.numpy())})


def _read_static(path: Path) -> Stored:
    expected = "Expected: an .npz with arrays train, valid and test, [N, 784] of 0 and 1 or [N, 98] packed bits."
    stored = read_npz(path, ("train", "valid", "test"), expected)
    parts = {}
    for name, array in stored.items():
        bits = np.unpackbits(array, axis=1) if array.dtype == np.uint8 and array.shape[1:] == (98,) else array
        if bits.dtype.kind not in "buif" or bits.shape[1:] != (784,) or len(bits) == 0:
            raise ValueError(f"{path}: array {name} has shape {array.shape} and type {array.dtype}. {expected}")
        try:
            parts[name] = as_bits(part_of(bits, str(path)).values, source=f"{path}: array {name}")
        except ValueError as error:
            raise ValueError(f"{error} {expected}") from error
    return Stored({"train": Part(torch.cat([parts["train"], parts["valid"]])), "test": Part(parts["test"])})
