"""A run's model measured, and the measurements kept in its folder: one line each, never overwritten."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from reparam._checks import usable_device
from reparam._files import append_line, read_lines
from reparam._version import __version__
from reparam.data import Data, checksum
from reparam.evaluation import evaluate
from reparam.runs.locating import part_of_run
from reparam.runs.measures import measure_of
from reparam.runs.reading import Which, model_of, saved
from reparam.training.keeper import named
from reparam.training.run import EVALUATIONS, read_record


def measure(
    run: str | Path,
    *,
    num_samples: int = 500,
    part: str = "test",
    checkpoint: Which = "auto",
    data: str | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    show: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> dict[str, Any]:
    """Measures the bounds of a run's model and appends them to its `evaluation.jsonl`; what `reparam evaluate` does.

    Args:
        run: its folder.
        num_samples: K, draws of z for each example.
        part: of the data: "test", "validation" or "train".
        checkpoint: as for `rp.load`.
        data: name or path of other data, under the run's protocol.
        device: where to compute.
        seed: of the draws.
        show: wraps the batches, of which there are so many examples, such as in a progress bar.

    Returns:
        The line: bounds in nats per example with their errors, and what they were measured on and with. NaN is None.

    Raises:
        FileNotFoundError: no run, no checkpoint, no data.
        ValueError: a part that the data do not have, and what `rp.load` and `rp.evaluate` refuse.
    """
    folder = Path(run)
    record = read_record(folder)
    chosen = part_of_run(folder, part, data)
    name, tree = saved(folder, checkpoint)
    model = model_of(folder, record, tree["model"], usable_device(device))
    batches: Iterable[Any] = chosen.batches(128)
    found = evaluate(model, show(batches, len(chosen)) if show else batches, num_samples=num_samples, seed=seed)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "data": data if data is not None else record.get("experiment", {}).get("dataset", {}).get("data"),
        "part": part,
        **measured_on(model, chosen),
        **weights_of(name, tree),
        "num_samples": num_samples,
        "seed": seed,
        **named(found),
    }
    _append(folder, line)
    return line


def measured_on(model: Any, data: Data) -> dict[str, Any]:
    """What numbers must have in common to be compared: the protocol, the data, and the kind of number."""
    return {"protocol": data.protocol, "checksum": checksum(data), "measure": measure_of(model, data)}


def weights_of(name: str, tree: dict[str, Any]) -> dict[str, Any]:
    """Which weights were measured: the checkpoint's file, and the optimiser steps that its training had done."""
    return {"checkpoint": name, "step": tree.get("progress", {}).get("step")}


def measurements(run: str | Path) -> list[dict[str, Any]]:
    """What was measured of a run after its training, the oldest first: the lines of its `evaluation.jsonl`.

    Raises:
        FileNotFoundError: no run there.
    """
    read_record(Path(run))
    return read_lines(Path(run) / EVALUATIONS)


def _append(folder: Path, line: dict[str, Any]) -> None:
    """One write at the end of the file, so that two evaluations at a time do not mix; a failure costs no result."""
    path = folder / EVALUATIONS
    try:
        append_line(path, line)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        warnings.warn(f"{path} cannot be written ({why}); the result is only shown.", stacklevel=3)
