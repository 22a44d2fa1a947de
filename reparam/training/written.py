"""The files that a run writes, by their names: which are its checkpoints, and what may be removed with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reparam._files import remove_unfinished

EVALUATIONS = "evaluation.jsonl"  # what is measured after the training
EXPERIMENT, METRICS, SUMMARY, CHECKPOINTS, PICTURES, TENSORBOARD = (
    "experiment.json",
    "metrics.jsonl",
    "summary.json",
    "checkpoints",
    "pictures",
    "tensorboard",
)
_STEP = r"step-\d{9,}\.\d{6,}"
# of each folder of a run the names that are written there; the commands sample, reconstruct ... draw the last four
_OWN = {
    CHECKPOINTS: re.compile(rf"({_STEP}|best)\.(safetensors|damaged)"),
    PICTURES: re.compile(r"((reconstruction|sample)_\d{4,}|sample|reconstruct|traverse|interpolate)\.png"),
    TENSORBOARD: re.compile(r"events\.out\.tfevents\.\d+\..+"),
}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last; without the best, and without files of other names."""
    found = (folder / CHECKPOINTS).glob("step-*.safetensors")
    return sorted(path for path in found if re.fullmatch(rf"{_STEP}\.safetensors", path.name))


def check_removable(folder: Path) -> None:
    """Refuses to remove a run's files where a folder of the run is a link: they may be those of something else.

    Raises:
        ValueError: the message names the link.
    """
    for name in _OWN:
        if (folder / name).is_symlink():
            raise ValueError(
                f"{folder / name} is a link to another folder, where nothing is removed. Remove the link, or choose "
                "another folder for the run."
            )


def remove(folder: Path) -> None:
    """Removes the files that a run wrote, and nothing else. Of a link the link is removed, never its target."""
    check_removable(folder)
    for path in (folder / METRICS, folder / SUMMARY, folder / EVALUATIONS):
        path.unlink(missing_ok=True)
    for path in [each for name in _OWN for each in _own(folder / name, name)]:
        path.unlink()
    remove_leftovers(folder)
    (folder / EXPERIMENT).unlink(missing_ok=True)  # last, so that what is left after a kill is known for a run


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of writes that were killed; the run must be locked."""
    for place in (folder, folder / CHECKPOINTS, folder / PICTURES):
        if not place.is_symlink():
            remove_unfinished(place)


def _own(folder: Path, name: str) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if _OWN[name].fullmatch(path.name) and not path.is_dir())
