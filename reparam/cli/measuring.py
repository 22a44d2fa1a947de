"""`reparam evaluate RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from reparam.cli.folders import existing
from reparam.cli.show import measured, print_json, print_table

if TYPE_CHECKING:
    from reparam.data import Splits

Part = Literal["test", "validation", "train"]
Checkpoint = Literal["auto", "best", "last"]


def evaluate(
    run: tyro.conf.Positional[Path],
    num_samples: int = 500,
    part: Part = "test",
    checkpoint: Checkpoint = "auto",
    data: str | None = None,
    device: str = "auto",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measures the exact bounds of a run's model, each with its standard error, in nats per example.

    Args:
        run: Folder of the run.
        num_samples: K, draws of z for each example; 500 take minutes on a CPU for 10,000 images.
        part: Of the data.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        data: Name or path of other data, under the run's protocol.
        device: Such as cpu or cuda; auto takes the best that is there.
        seed: Of the draws.
        json: Print one JSON object.
    """
    existing(run)
    import reparam as rp
    from reparam import runs
    from reparam.data import checksum
    from reparam.training import progress
    from reparam.training.keeper import named

    splits = data_of(run, data)
    if part not in splits.parts():
        raise ValueError(f"the data of {run} have no part {part}; there are {', '.join(splits.parts())}.")
    chosen = splits.parts()[part]
    name, _ = runs.saved(run, checkpoint)
    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    batches = progress(chosen.batches(128), f"evaluating {len(chosen):,} examples")
    found = named(rp.evaluate(model, batches, num_samples=num_samples, seed=seed))
    about = {"run": str(run), "checkpoint": name, "part": part, "protocol": chosen.protocol}
    if json:
        print_json({**about, "checksum": checksum(chosen), **found})
        return
    rows = [(_words(key), measured(value)) for key, value in found.items() if isinstance(value, dict)]
    units = found["active_units"]
    rows.append(("active latent variables", "unknown" if units is None else str(units)))
    what = f"{found['num_examples']:,} {part} examples, {chosen.protocol}, {name}"
    print_table(("nats per example", what), rows, title=str(run))


def _words(name: str) -> str:
    words = {
        "elbo": "elbo: a lower bound of log p(x)",
        "iwae": f"{name}: a tighter one",
        "log": f"{name}: an estimate of log p(x)",
        "rate": "rate: KL(q(z|x) || p(z))",
        "distortion": "distortion: -log p(x|z)",
    }
    return words[name.partition("_")[0]]


def data_of(run: Path, other: str | None = None) -> Splits:
    """The data of a run, or others under its protocol and in its shape."""
    from reparam import runs
    from reparam.data import load_data
    from reparam.training.run import read_record

    record: dict[str, Any] = read_record(run)
    if "experiment" in record:
        experiment = runs.experiment_of(run)
        if other is not None:
            options: dict[str, Any] = {"data": other}
            if Path(other).suffix != Path(experiment.dataset.data).suffix:  # these name things in another kind of file
                options |= {"array": None, "labels": None}
            return runs.data_of(experiment.replace(**options))
        data = runs.data_of(experiment)
        runs.check_data(run, data)
        return data
    if other is None:
        raise ValueError(f"{run} was started from Python, and its data are known there. Name data with --data.")
    about = record.get("data", {})
    shape = tuple(about["shape"]) if about.get("shape") else None
    return load_data(other, about.get("protocol", "as given"), shape=shape)


def device_of(name: str) -> Any:
    """The device of this name; of "auto" the best that is there."""
    from reparam import runs
    from reparam.experiment import Experiment

    return runs.device_of(Experiment()) if name == "auto" else name
