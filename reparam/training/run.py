"""The folder of a run: what was trained, how it went, and where it can go on."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from reparam._checks import number, whole
from reparam._files import UNFINISHED, open_own, read_object, write_json
from reparam._printable import printable, printable_errors
from reparam.experiment import Experiment
from reparam.training.checkpoint import DamagedCheckpoint, read_checkpoint, write_checkpoint
from reparam.training.settings import compared, warn_of_rounding
from reparam.training.written import CHECKPOINTS as CHECKPOINTS
from reparam.training.written import EVALUATIONS as EVALUATIONS
from reparam.training.written import EXPERIMENT as EXPERIMENT
from reparam.training.written import METRICS as METRICS
from reparam.training.written import PICTURES as PICTURES
from reparam.training.written import SUMMARY as SUMMARY
from reparam.training.written import TENSORBOARD, remove, remove_leftovers
from reparam.training.written import checkpoints as checkpoints

KEPT = 2
RECORDED = ("format", "created", "versions", "git", "seed", "model", "estimator", "data", "training")


@dataclass(frozen=True)
class Run:
    """Where `fit` keeps a training, and how often it writes.

    The folder holds `experiment.json` (what is trained, with which versions, on data of which checksum),
    `metrics.jsonl` (a line each `log_every` steps and each validation), `checkpoints/` (the last two and the best;
    safetensors), `pictures/` where the data are images, and at the end `summary.json`.

    Args:
        folder: a new one, unless `resume` or `overwrite`.
        resume: go on where the run in that folder stopped, if there is one; the end is then the same to the last bit as
            that of a training that never stopped, on the same machine with as many threads.
        overwrite: remove the files of the run that is there: those that it wrote, by their names, and no others.
        checkpoint_seconds: seconds between two checkpoints; 0 for one after each step. 60 if not given, in `rp.train`
            the experiment's.
        log_every: steps from one line of metrics to the next. 100 if not given, in `rp.train` the experiment's.
        pictures: draw reconstructions and samples with each validation, or each epoch without any.
        tensorboard: write the metrics for TensorBoard, too, under `tensorboard/`.
        about: more for `experiment.json`, plain values under names that the file does not use itself.

    Raises:
        TypeError, ValueError: an option of another kind; resume with overwrite; a name in `about` that is taken.
    """

    folder: str | Path
    resume: bool = False
    overwrite: bool = False
    checkpoint_seconds: float | None = None
    log_every: int | None = None
    pictures: bool = True
    tensorboard: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if number("checkpoint_seconds", self.checkpoint_interval) < 0:
            raise ValueError(f"checkpoint_seconds is {self.checkpoint_seconds}; it must be at least 0.")
        whole("log_every", self.log_interval)
        for name in self.about:
            if name.split("_")[0] in RECORDED:
                raise ValueError(
                    f"about has the name {name!r}, which {EXPERIMENT} uses itself; it must be another one. Such a name "
                    f"is 'my_{name}'."
                )
        if "experiment" in self.about:
            Experiment.from_values(self.about["experiment"])
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite are both asked for; one goes on with the run, the other removes it.")

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    @property
    def checkpoint_interval(self) -> float:
        """Seconds between two checkpoints."""
        return 60.0 if self.checkpoint_seconds is None else self.checkpoint_seconds

    @property
    def log_interval(self) -> int:
        """Steps between two lines of metrics."""
        return 100 if self.log_every is None else self.log_every


class Folder:
    """A run's folder while it is written: locked, its metrics open, its checkpoints counted."""

    @printable_errors()
    def __init__(self, run: Run, record: Mapping[str, Any]) -> None:
        self.run = run
        self.path = run.path.absolute()
        self.lock = locked(self.path)
        try:
            begun = _checked(run)
            if run.tensorboard:
                _tensorboard_writer()
            if run.overwrite:
                remove(self.path)
            self.fresh = run.overwrite or not begun
            if self.fresh:
                write_json(self.path / EXPERIMENT, record)
            else:
                _check_same(self.path, record)
            remove_leftovers(self.path)
            (self.path / CHECKPOINTS).mkdir(exist_ok=True)
            self.metrics: IO[str] = open_own(self.path / METRICS, "a")
        except BaseException:
            self.lock.release()
            raise
        self.board: Any = None
        self.steps_end = 0  # how long the metrics were after the last step of the epoch
        self.written = time.monotonic()
        self.writable = True  # until a file of it cannot be written

    @printable_errors()
    def newest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole, as a last resort the best; damaged ones are reported.

        Raises:
            DamagedCheckpoint: none is whole, and there is or was one.
        """
        found, best = checkpoints(self.path), self.path / CHECKPOINTS / "best.safetensors"
        damaged: list[Path] = []
        for path in (*reversed(found), *([best] if best.exists() else [])):
            try:
                tree = read_checkpoint(path)
                size = tree.get("metrics_bytes")
                if not isinstance(size, int) or size < 0:
                    raise DamagedCheckpoint(f"{path} does not say how long the metrics were, but {size!r}")
            except DamagedCheckpoint as error:
                warnings.warn(printable(f"{error}. The checkpoint before it is used."), stacklevel=2)
                damaged.append(path)
                continue
            if not found:
                text = f"{self.path} has no checkpoint but the best one, which is used."
                warnings.warn(printable(text), stacklevel=2)
            for each in damaged:  # so that they are not among the two that are kept
                each.rename(each.with_suffix(".damaged"))
            return {**tree, "path": str(path)}
        if damaged or (self.path / METRICS).stat().st_size:
            raise DamagedCheckpoint(
                f"no checkpoint of {self.path} is whole. Restore one from a copy, or train anew in another folder."
            )
        return None

    def cut_metrics(self, size: int) -> None:
        """Back to what had been written at a checkpoint: what came later will come again."""
        self.metrics.flush()
        with open_own(self.path / METRICS, "rb+") as file:
            file.truncate(file.read(size).rfind(b"\n") + 1)
        self.metrics.seek(0, os.SEEK_END)

    def line(self, kind: str, values: Mapping[str, Any]) -> None:
        """Appends one line of metrics."""
        try:
            self.metrics.write(json.dumps({"kind": kind, **values}) + "\n")
            self.metrics.flush()
        except OSError as error:
            raise self._unwritten(error) from error
        if self.run.tensorboard:
            self._to_tensorboard(kind, values)

    def _to_tensorboard(self, kind: str, values: Mapping[str, Any]) -> None:
        if self.board is None:
            self.board = _tensorboard_writer()(self.path / TENSORBOARD, purge_step=values["step"])
        for name, value in values.items():
            scalar = value["value"] if isinstance(value, dict) else value
            if isinstance(scalar, float) and name != "seconds":
                self.board.add_scalar(f"{kind}/{name}", scalar, values["step"])

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.written >= self.run.checkpoint_interval

    def checkpoint(self, tree: Mapping[str, Any], size: int | None = None) -> None:
        """Writes the state, then removes all but the last two checkpoints.

        Args:
            tree: the state.
            size: how long the metrics were at that moment; as long as they are now, if not given.
        """
        name = f"step-{tree['progress']['step']:09d}.{tree['progress']['epoch']:06d}"
        self._write(name, tree, self.metrics_bytes() if size is None else size)
        for old in checkpoints(self.path)[:-KEPT]:
            old.unlink()
        self.written = time.monotonic()

    def best(self, tree: Mapping[str, Any]) -> None:
        """Keeps the state as the best one."""
        self._write("best", tree, self.steps_end)

    def metrics_bytes(self) -> int:
        """How long the metrics are, on the disk."""
        try:
            self.metrics.flush()
            os.fsync(self.metrics.fileno())
        except OSError as error:
            raise self._unwritten(error) from error
        return os.fstat(self.metrics.fileno()).st_size

    def _write(self, name: str, tree: Mapping[str, Any], size: int) -> None:
        try:
            write_checkpoint(self.path / CHECKPOINTS / f"{name}.safetensors", {**tree, "metrics_bytes": size})
        except OSError:
            self.writable = False
            raise

    def _unwritten(self, error: OSError) -> OSError:
        self.writable = False
        return type(error)(
            error.errno, f"{self.path / METRICS} cannot be written ({error.strerror}); the checkpoints are untouched"
        )

    def summary(self, values: Mapping[str, Any]) -> None:
        """Writes how the training ended."""
        write_json(self.path / SUMMARY, values)

    def discard(self) -> None:
        """Removes what was written of a run that could not begin."""
        remove(self.path)
        for path in (self.path / CHECKPOINTS, self.path / PICTURES, self.path / TENSORBOARD):
            with suppress(OSError):
                path.rmdir()

    def close(self) -> None:
        """Lets go of the folder."""
        with suppress(OSError):  # a full disk has been reported; a resumption writes these lines again
            self.metrics.close()
        if self.board is not None:
            self.board.close()
        self.lock.release()


def locked(folder: Path) -> FileLock:
    """The folder, made if it is not there, with its lock taken; `release()` lets go of it.

    Raises:
        ValueError: another process has it.
        OSError: it cannot be made or written in.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"{folder} is being written by another process. Wait for it, or choose another folder."
        ) from error
    except OSError as error:
        raise type(error)(
            error.errno, f"the run folder {folder} cannot be written ({error.strerror}); choose another"
        ) from error
    return lock


def _checked(run: Run) -> bool:
    """Whether there is a run already; refuses one that is not to be touched, and a folder of something else."""
    begun = (run.path / EXPERIMENT).exists()
    if begun and not (run.resume or run.overwrite):
        raise ValueError(
            f"{run.path} holds a run already, and nothing is overwritten. Choose another folder, go on with "
            f"rp.Run({str(run.folder)!r}, resume=True), or give overwrite=True."
        )
    others = [each.name for each in run.path.iterdir() if each.name != ".lock" and not each.match(UNFINISHED)]
    if others and not begun:
        raise ValueError(
            f"{run.path} is not empty and holds no run ({EXPERIMENT} is missing; there is {sorted(others)[0]}). Choose "
            "another folder."
        )
    return begun


def _check_same(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuses to resume a training of something else."""
    before, now = read_record(folder), json.loads(json.dumps(record))
    # fit's own defaults stood there in format 1, whatever the loader and the optimizer had; rp.train recorded its own
    untrue = ("batch_size", "lr") if before.get("format") == 1 and "experiment" not in before else ()
    for name in ("model", "model_is", "estimator", "estimator_is", "data", "training"):
        was, is_now = compared(name, before.get(name), now.get(name), untrue)
        if was != is_now:
            raise ValueError(
                f"{folder} is a run with the {name.removesuffix('_is')} {was}, and this is {is_now}. Resume it as it "
                "was, or choose another folder."
            )
    warn_of_rounding(folder, before.get("training"), now["training"])


def read_record(folder: Path) -> dict[str, Any]:
    """The `experiment.json` of a run.

    Raises:
        FileNotFoundError: no run there.
        ValueError: a file that is no JSON object.
    """
    path = folder / EXPERIMENT
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no run: there is no {EXPERIMENT}.")
    return read_object(path)


def _tensorboard_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard is asked for and not installed: pip install tensorboard.") from error
    return SummaryWriter
