"""`reparam lab`: the laboratory of gradient estimators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reparam._spelling import argument
from reparam.cli.folders import existing, unused_file
from reparam.cli.options import Count, FromZero, Repeats, Seed
from reparam.cli.show import say

if TYPE_CHECKING:
    from reparam.laboratory import Lab


def lab(
    latent: Literal["bernoulli", "categorical", "gaussian"] = "bernoulli",
    run: Path | None = None,
    data: str | None = None,
    steps: FromZero = 469,
    examples: Count = 32,
    repeats: Repeats = 100,
    reference_repeats: Repeats = 2000,
    part: Literal["all", "posterior", "generative"] = "posterior",
    only: tuple[str, ...] = (),
    csv: Path | None = None,
    figure: Path | None = None,
    seed: Seed = 1,
) -> None:
    """Measures gradient estimators on a small VAE: bias, variance, cost, and which to use.

    It models MNIST at 7 x 7 pixels with 8 bits, 4 x 3 symbols or 8 real numbers, so that the exact gradient can be
    summed up for the discrete two. With --run it measures on the trained model of a run, at its test data.

    Args:
        latent: Kind of the latent of the small model.
        run: Folder of a run with another model; --latent and --steps are ignored with --run.
        data: Name or path of other data for the model of --run, under its protocol; the run's own if not given.
        steps: Of training before measuring, 128 images each, at most one pass; 0 measures at random weights.
        examples: Test images in the batch.
        repeats: Gradients drawn of each estimator, at least 20.
        reference_repeats: Gradients in the average that stands for an exact gradient where none can be summed.
        part: Whose parameters the gradient is of.
        only: Estimators whose names contain one of these; all that take the latent, if not given.
        csv: File to write every number to.
        figure: Picture of bias against variance to write; needs matplotlib.
        seed: Of the weights, the order of the images and the noise.
    """
    if run is not None:
        existing(run)
    import reparam as rp
    from reparam.catalogue import ENTRIES
    from reparam.laboratory.embedded import embedded_model
    from reparam.laboratory.report import check_figure

    if data is not None and run is None:
        raise ValueError(
            f"{argument('data')} is {data!r}, and no run is given. Add {argument('run')}, or leave {argument('data')} "
            "out."
        )
    for each in only:
        if not each or not any(_matches(entry.name, (each,)) for entry in ENTRIES):
            names = ", ".join(dict.fromkeys(entry.name.partition("(")[0] for entry in ENTRIES))
            raise ValueError(
                f"{argument('only')} is {each!r}, and no estimator's name contains that. There are: {names}. Take one, "
                f"or leave {argument('only')} out."
            )
    if figure is not None:
        check_figure(figure)

    for name, path in (("csv", csv), ("figure", figure)):
        if path is not None:
            unused_file(name, path)
    model: Any
    if run is None:
        model, x = embedded_model(latent, steps=steps, examples=examples, seed=seed)
    else:
        from reparam.cli.pictures import examples as examples_of

        model = rp.load(run)
        x = examples_of(run, model, examples, "test", data)
    chosen = rp.estimators_for(model, x, max_states=256)
    chosen = {name: each for name, each in chosen.items() if not only or _matches(name, only)}
    if not chosen:
        what = f"a {latent} latent" if run is None else f"the latent of {run}"
        raise ValueError(
            f"{argument('only')} is {' '.join(only)!r}, and none of those takes {what}. Without {argument('only')} all "
            "that do are measured."
        )
    found = rp.lab(model, x, chosen, repeats=repeats, part=part, reference_repeats=reference_repeats, seed=seed)
    _show(found)
    for path, write in ((csv, found.to_csv), (figure, found.figure)):
        if path is not None:
            say(f"wrote {write(path)}")


def _show(found: Lab) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console()
        console.print(found.table(console.width))
        print(found.notes())
    else:
        print(found)


def _matches(name: str, parts: tuple[str, ...]) -> bool:
    return any(part.lower() in name.lower() for part in parts)
