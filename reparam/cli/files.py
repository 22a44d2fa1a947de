"""A file that a user names, as examples for a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reparam.data import Data


def examples_of(run: Path, model: Any, file: Path) -> Data:
    """An image, .npy, .npz or IDX file, or a folder, as `Data` in the run's protocol and of its model's shape.

    Raises:
        ValueError: examples of another size, or values that the protocol does not take.
    """
    from reparam.data import Data, as_tensor
    from reparam.data.splits import as_bits
    from reparam.training.run import read_record

    record = read_record(run)
    event = model.observation.event_shape
    array = _read(file, event, record)
    if array.size == event.numel() and (array.ndim < 2 or len(array) > 1):
        array = array[None]  # a single example
    size = array[0].size if len(array) else 0
    if size != event.numel():
        raise ValueError(
            f"{file} holds examples of shape {tuple(array.shape[1:])}, and the model of {run} was made for "
            f"{_words(event)}. Give examples of that size."
        )
    protocol = record.get("data", {}).get("protocol", "as given")
    if protocol == "static":
        array = as_bits(array, str(file))
    data = Data(as_tensor(array).reshape(-1, *event), protocol)
    if protocol in ("grey", "dynamic", "threshold") and not data.are_means():
        low, high = data.extremes().tolist()
        raise ValueError(f"{file} holds values from {low:g} to {high:g}; the run's protocol {protocol} takes 0 to 1.")
    return data.binarized(seed=0) if protocol == "dynamic" else data


def _read(file: Path, event: Any, record: dict[str, Any]) -> Any:
    from reparam.data.images import SUFFIXES, decode
    from reparam.data.readers import read_path

    options = record.get("experiment", {}).get("dataset", {})
    resize = tuple(options["resize"]) if options.get("resize") else None
    colour: Any = "rgb" if len(event) == 3 and event[0] == 3 else options.get("colour", "grey")
    if file.suffix.lower() in SUFFIXES and file.exists():
        return decode(file, file, resize, colour)[None]
    folder = file.is_dir()
    return read_path(file, array=None, resize=resize if folder else None, colour=colour if folder else "grey").train


def _words(event: Any) -> str:
    side = round(event.numel() ** 0.5)
    if len(event) == 1 and side * side == event.numel():
        return f"{event.numel()} numbers each, such as {side} x {side}"
    return f"{tuple(event)}, {event.numel()} numbers each"
