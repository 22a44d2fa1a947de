"""`reparam resume RUN`."""

from __future__ import annotations

from pathlib import Path

import tyro

from reparam.cli.folders import existing, kept
from reparam.cli.live import Lines
from reparam.cli.options import FromOne


def resume(
    run: tyro.conf.Positional[Path],
    epochs: FromOne | None = None,
    data: str | None = None,
    tensorboard: bool = False,
    json: bool = False,
) -> None:
    """Goes on with a run where it stopped; or with more epochs than it was begun with.

    On the same machine with as many threads it ends in the same bits as a run that never stopped. With more epochs, a
    schedule that counts with `steps` becomes that of the longer training, so that it jumps.

    Args:
        run: Folder of the run.
        epochs: In all, more than the run was begun with; if not given, as many as that.
        data: Where the run's data are now, if they have been moved.
        tensorboard: Write the metrics for TensorBoard too; needs tensorboard.
        json: Print the summary as one JSON object on standard output, all else on standard error.
    """
    existing(run)
    from reparam import runs

    experiment = runs.experiment_of(run)
    before = experiment.training.epochs
    fabric = runs.launch_of(experiment)
    quiet = fabric is not None and not fabric.is_global_zero
    lines = Lines(run, before if epochs is None else epochs, json=json, quiet=quiet)

    def begun() -> None:
        if epochs is not None and epochs > before:
            jumping = runs.counts_steps(experiment)
            also = f"; its {' and '.join(jumping)} now follow {epochs} epochs, so they jump" if jumping else ""
            lines.say(f"{run}: {epochs} epochs instead of {before}{also}.")

    with kept(run):
        summary = runs.resume(
            run, epochs=epochs, data=data, fabric=fabric, on_epoch=lines, on_start=begun, tensorboard=tensorboard
        )
    lines.end(summary)
