"""A file that a user names, as examples for a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from reparam.data import Data


def examples_of(run: Path, model: Any, file: Path) -> Data:
    """An image, .npy, .npz or IDX file, or a folder, as `Data` in the run's protocol and of its model's shape.

    Raises:
        ValueError: examples of another size, or values that the protocol does not take.
    """
    from reparam.data import Data
    from reparam.data.shapes import shaped
    from reparam.training.run import read_record

    record = read_record(run)
    event = model.observation.event_shape
    protocol = record.get("data", {}).get("protocol", "as given")
    values = _read(file, event, record, protocol)
    if values.numel() == event.numel() and (values.dim() < 2 or len(values) > 1):
        values = values[None]  # a single example
    size = values[0].numel() if len(values) else 0
    if size != event.numel():
        raise ValueError(
            f"{file} holds examples of shape {tuple(values.shape[1:])}, and the model of {run} was made for "
            f"{_words(event)}. Give examples of that size."
        )
    data = Data(shaped(values, tuple(event), str(file)), protocol, source=str(file))
    return data.binarized(seed=0) if protocol == "dynamic" else data


def _read(file: Path, event: Any, record: dict[str, Any], protocol: Any) -> Tensor:
    from reparam.data import as_tensor
    from reparam.data.formats import read_path
    from reparam.data.images import SUFFIXES, decode
    from reparam.data.protocols import from_text
    from reparam.data.stored import Choice

    options = record.get("experiment", {}).get("dataset", {})
    resize = tuple(options["resize"]) if options.get("resize") else None
    colour: Any = "rgb" if len(event) == 3 and event[0] == 3 else options.get("colour", "grey")
    if file.suffix.lower() in SUFFIXES and file.is_file():
        return as_tensor(decode(file, file, resize, colour)[None])
    same = file.suffix == Path(options.get("data", "")).suffix  # as the run's own data, whose options fit it
    named = {name: options.get(name) for name in ("array", "labels") if same}
    images = {"resize": resize, "colour": colour} if file.is_dir() else {}
    stored = read_path(file, Choice(**named, **images))
    return from_text(stored.train.values, protocol) if stored.untyped else stored.train.values


def _words(event: Any) -> str:
    side = round(event.numel() ** 0.5)
    if len(event) == 1 and side * side == event.numel():
        return f"{event.numel()} numbers each, such as {side} x {side}"
    return f"{tuple(event)}, {event.numel()} numbers each"
