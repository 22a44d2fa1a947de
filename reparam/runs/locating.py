"""Where the data of a run are, though the run or the data may have been moved since."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from reparam._spelling import argument, regarding
from reparam.data import Data, Splits, checksum, load_data
from reparam.data.load import resolve
from reparam.experiment import Experiment
from reparam.runs.reading import check_data, data_of, experiment_of
from reparam.training.run import read_record

SOURCE = "source"  # in experiment.json


def source_of(data: str, run: Path) -> dict[str, str]:
    """What a run's record says of where its data are.

    Args:
        data: a name or a path, as it was typed.
        run: folder of the run.

    Returns:
        What was typed; of a path also the absolute one, and the one from the folder of the run.
    """
    if resolve(data) != Path(data):  # published or imported data are found by their name
        return {"data": data}
    path = os.path.abspath(data)
    try:
        return {"data": data, "path": path, "from_run": Path(os.path.relpath(path, run.absolute())).as_posix()}
    except ValueError:  # on another drive of Windows
        return {"data": data, "path": path}


def located(run: Path, experiment: Experiment) -> Experiment:
    """The experiment of a run with its data where they are now.

    The data are looked for at the path that they had, at the path from the folder of the run, and at the path that was
    typed. Where there are several, those with the checksum of the run are taken.

    Raises:
        FileNotFoundError: there are none.
    """
    record = read_record(run)
    source: Any = record.get(SOURCE)
    if not isinstance(source, dict) or "path" not in source:
        return experiment
    typed = experiment.dataset.data
    places = (str(source["path"]), str(run / str(source.get("from_run", source["path"]))), typed)
    there = [os.path.abspath(place) for place in places if os.path.exists(place)]
    found = list({os.path.realpath(place): place for place in reversed(there)}.values())[::-1]
    if not found:
        raise FileNotFoundError(
            f"the data of {run} cannot be found: {typed} does not exist. Restore it at {source['path']}, or say where "
            f"the data are now with {argument('data')}."
        )
    candidates = [experiment.replace(data=place) for place in found]
    if len(candidates) == 1:
        return candidates[0]
    expected = (record.get("data") or {}).get("checksum")
    return next((each for each in candidates if _checksum(each) == expected), candidates[0])


def _checksum(experiment: Experiment) -> str | None:
    """The checksum of the training data that an experiment names; None where other files are in their place."""
    try:
        return checksum(data_of(experiment).train)
    except (OSError, ValueError, TypeError):
        return None


def data_of_run(run: str | Path, other: str | None = None) -> Splits:
    """The data of a run, wherever they are now; or others under its protocol and in its shape.

    Args:
        run: its folder.
        other: name or path of other data.

    Raises:
        FileNotFoundError: no run, or its data cannot be found.
        ValueError: data that have changed since; no `other` for a run whose data only its program knows.
    """
    folder = Path(run)
    record = read_record(folder)
    if "experiment" in record:
        experiment = experiment_of(folder)
        if other is not None:
            options: dict[str, Any] = {"data": other}
            if Path(other).suffix != Path(experiment.dataset.data).suffix:  # these name things in another kind of file
                options |= {"array": None, "labels": None}
            return data_of(experiment.replace(**options))
        data = data_of(located(folder, experiment))
        check_data(folder, data)
        return data
    if other is None:
        raise ValueError(
            f"{folder} was started from Python, and its data are known there. Name data with {argument('data')}."
        )
    about = record.get("data") or {}
    with regarding("data", other):
        return load_data(other, about.get("protocol", "as given"), shape=tuple(about.get("shape") or ()) or None)


def part_of_run(run: str | Path, part: str, other: str | None = None) -> Data:
    """One part of a run's data, or of others; errors as those of `data_of_run`.

    Raises:
        ValueError: a part that the data do not have.
    """
    parts = data_of_run(run, other).parts()
    if part not in parts:
        what = f"the data of {run}" if other is None else other
        raise ValueError(
            f"{argument('part')} is {part!r}, which {what} do not have; there are {', '.join(parts)}. Take one of them."
        )
    return parts[part]
