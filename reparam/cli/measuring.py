"""`reparam evaluate RUN`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from reparam.cli.folders import existing
from reparam.cli.options import Checkpoint, Draws, Part, Seed
from reparam.cli.show import measured, print_json, print_table


def evaluate(
    run: tyro.conf.Positional[Path],
    num_samples: Draws = 500,
    part: Part = "test",
    checkpoint: Checkpoint = "auto",
    data: str | None = None,
    device: str = "auto",
    seed: Seed = 0,
    json: bool = False,
) -> None:
    """Measures the exact bounds of a run's model, each with its standard error, in nats per example.

    Each evaluation is a line in RUN/evaluation.jsonl, which `reparam compare` reads.

    Args:
        run: Folder of the run.
        num_samples: K, draws of z for each example; 500 take minutes on a CPU for 10,000 images.
        part: Of the data.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        data: Name or path of other data, under the run's protocol; the run's own if not given.
        device: Such as cpu or cuda; auto takes the best that is there.
        seed: Of the draws.
        json: Print one JSON object.
    """
    existing(run)
    from reparam import runs
    from reparam.training import progress

    found = runs.measure(
        run,
        num_samples=num_samples,
        part=part,
        checkpoint=checkpoint,
        data=data,
        device=device_of(device),
        seed=seed,
        show=lambda batches, number: progress(batches, f"evaluating {number:,} examples"),
    )
    if json:
        print_json({"run": str(run), **found})
        return
    rows = [(_words(key), measured(value)) for key, value in found.items() if isinstance(value, dict)]
    rows.append(("examples with unreliable weights", _reliability(found)))
    units = found["active_units"]
    rows.append(("active latent variables", "unknown" if units is None else str(units)))
    what = f"{found['num_examples']:,} {part} examples, {found['protocol']}, {found['checkpoint']}"
    print_table(("nats per example", what), rows, title=str(run))


def _reliability(found: Mapping[str, Any]) -> str:
    """The share of the examples whose weights are unreliable, and the median of all examples' k."""
    share, k = found["unreliable"], found["pareto_k"]
    return "- (needs 100 samples)" if share is None else f"{share:.0%} (median of Pareto's k {k:.2f})"


def _words(name: str) -> str:
    words = {
        "elbo": "elbo: a lower bound of log p(x)",
        "iwae": f"{name}: a tighter one",
        "log": f"{name}: an estimate of log p(x)",
        "rate": "rate: KL(q(z|x) || p(z))",
        "distortion": "distortion: -log p(x|z)",
    }
    return words.get(name.partition("_")[0], name)


def device_of(name: str) -> Any:
    """The device of this name; of "auto" the best that is there."""
    from reparam import runs
    from reparam.experiment import Experiment

    return runs.device_of(Experiment()) if name == "auto" else name
