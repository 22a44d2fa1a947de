"""Folders of runs: one that is there, a new one, and what stays in it when something goes wrong."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from reparam._nearest import nearest
from reparam._spelling import argument

EXPERIMENT = "experiment.json"


def existing(run: Path) -> Path:
    """The folder of a run.

    Raises:
        FileNotFoundError: no run there; the message has the nearest name among the runs beside it.
    """
    if (run / EXPERIMENT).exists():
        return run
    inside = sorted(path.parent.name for path in run.glob(f"*/{EXPERIMENT}"))
    if inside:
        raise FileNotFoundError(f"{run} is no run, but holds some: {', '.join(inside[:5])}. Name one of them.")
    beside = [path.parent for path in run.absolute().parent.glob(f"*/{EXPERIMENT}")]
    hint = nearest(run.name, [path.name for path in beside]) if beside else f"{run.parent} has none."
    raise FileNotFoundError(f"{run} holds no run. {hint}".rstrip())


def unused_file(option: str, path: Path) -> Path:
    """A file that is not there yet.

    Raises:
        FileExistsError: it is, or a folder.
    """
    if path.exists():
        raise FileExistsError(
            f"{argument(option)} is {str(path)!r}, which exists already, and nothing is overwritten. Choose another "
            "name, or remove it."
        )
    return path


def unused(run: Path, overwrite: bool) -> Path:
    """A folder for a new run.

    Raises:
        FileExistsError: a run is there, and it is not to be overwritten.
        ValueError: a folder of something else is there.
    """
    if (run / EXPERIMENT).exists():
        if not overwrite:
            raise FileExistsError(
                f"{run} holds a run already, and nothing is overwritten. Choose another name for --run, go on with "
                f"'{command('resume', run)}', or add --overwrite."
            )
    elif run.is_dir() and (others := sorted({each.name for each in run.iterdir()} - {".lock"})):
        raise ValueError(
            f"{argument('run')} is {str(run)!r}, a folder that is not empty and holds no run (there is {others[0]}). "
            "Choose another folder."
        )
    return run


@contextmanager
def reserved(name: str) -> Iterator[Path]:
    """A folder `runs/NAME-DATE-TIME` that was not there: it is made, so that nobody else takes it.

    After an error the folder is removed, if nothing is in it.
    """
    from reparam.training.starting import left_as_it_was

    start = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        folder = Path("runs") / (start if number == 1 else f"{start}-{number}")
        with left_as_it_was(folder):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            yield folder
            return


def command(name: str, run: Path) -> str:
    """What to type."""
    return f"reparam {name} {shlex.quote(str(run))}"


@contextmanager
def kept(run: Path) -> Iterator[None]:
    """Adds to an error of a training what of the run is kept, and how to go on."""
    from reparam.training import Interrupted, TrainingDiverged
    from reparam.training.run import checkpoints

    try:
        yield
    except (Interrupted, FileNotFoundError):  # the first says it all; what was not found is not there the next time
        raise
    except TrainingDiverged as error:
        left = checkpoints(run)
        if left:
            error.add_note(
                f"{run} keeps the checkpoint before that, {left[-1].name}, and its metrics. A resume takes the same "
                "steps to the same end, so train anew with other options, in another folder or with --overwrite."
            )
        raise
    except (OSError, RuntimeError, MemoryError, KeyboardInterrupt) as error:
        if checkpoints(run):
            again = command("resume", run)
            error.add_note(
                f"{run} keeps its checkpoints. Go on with: {again}"
                if str(error) or isinstance(error, MemoryError)
                else f"interrupted; {run} keeps its checkpoints. Go on with: {again}"
            )
        raise
