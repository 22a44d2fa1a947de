"""The command `reparam`: parse, call, print. What is heavy is imported when it is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import tyro

app = tyro.extras.SubcommandApp()


@app.command(name="lab")
def lab(
    latent: Literal["bernoulli", "categorical", "gaussian"] = "bernoulli",
    steps: int = 469,
    examples: int = 32,
    repeats: int = 100,
    part: Literal["all", "posterior", "generative"] = "posterior",
    only: tuple[str, ...] = (),
    csv: Path | None = None,
    figure: Path | None = None,
    seed: int = 1,
) -> None:
    """Measures gradient estimators on a small VAE: bias, variance, cost, and which to use.

    It models MNIST at 7 x 7 pixels with 8 bits, 4 x 3 symbols or 8 real numbers, so that the exact gradient can be
    summed up for the discrete two. For a model of your own call `rp.lab(model, x)`.

    Args:
        latent: Kind of the latent.
        steps: Of training before measuring, 128 images each, at most one pass; 0 measures at random weights.
        examples: Test images in the batch.
        repeats: Gradients drawn of each estimator, at least 20.
        part: Whose parameters the gradient is of.
        only: Estimators whose names contain one of these; all that take the latent, if not given.
        csv: File to write every number to.
        figure: Picture of bias against variance to write; needs matplotlib.
        seed: Of the weights, the order of the images and the noise.
    """
    from rich.console import Console

    import reparam as rp
    from reparam.catalogue import ENTRIES
    from reparam.laboratory.embedded import embedded_model
    from reparam.laboratory.report import check_figure

    if repeats < 20:
        raise ValueError(f"repeats is {repeats}; it must be at least 20.")
    if only and not any(_matches(entry.name, only) for entry in ENTRIES):
        names = ", ".join(dict.fromkeys(entry.name for entry in ENTRIES))
        raise ValueError(f"no estimator's name contains {' or '.join(only)}. There are: {names}.")
    if figure is not None:
        check_figure(figure)

    for path in (csv, figure):
        if path is not None and path.exists():
            raise FileExistsError(
                f"{path} exists already, and nothing is overwritten. Choose another name, or remove it."
            )
    model, x = embedded_model(latent, steps=steps, examples=examples, seed=seed)
    chosen = rp.estimators_for(model, x, max_states=256)
    chosen = {name: each for name, each in chosen.items() if not only or _matches(name, only)}
    if not chosen:
        raise ValueError(f"none of those takes a {latent} latent. Without --only all that do are measured.")
    found = rp.lab(model, x, chosen, repeats=repeats, part=part, seed=seed)
    if sys.stdout.isatty():
        console = Console()
        console.print(found.table(console.width))
        print(found.notes())
    else:
        print(found)
    for path, write in ((csv, found.to_csv), (figure, found.figure)):
        if path is not None:
            print(f"wrote {write(path)}")


def _matches(name: str, parts: tuple[str, ...]) -> bool:
    return any(part.lower() in name.lower() for part in parts)


@app.command(name="version")
def version() -> None:
    """Prints the version."""
    from reparam._version import __version__

    print(__version__)


def main() -> None:
    """The entry point: one clear line for what a user can mend, exit code 2."""
    try:
        app.cli(prog="reparam", description="Deep latent-variable models on torch.distributions.")
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"reparam: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
