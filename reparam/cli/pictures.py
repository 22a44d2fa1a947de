"""`reparam sample|reconstruct|traverse|interpolate RUN`: pictures from a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from reparam._spelling import argument, regarding, setting
from reparam.cli.folders import existing
from reparam.cli.measuring import device_of
from reparam.cli.options import Checkpoint, Count, FromTwo, FromZero, Part, Seed
from reparam.cli.show import say

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = "pictures"


def sample(
    run: tyro.conf.Positional[Path],
    num: Count = 64,
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
    seed: Seed = 0,
) -> None:
    """Draws what the model makes of draws of its prior: the mean of p(x|z).

    Args:
        run: Folder of the run.
        num: How many.
        output: PNG file; if not given, RUN/pictures/sample.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
        seed: Of the draws.
    """
    path = _path(run, "sample", output, overwrite)
    import reparam as rp
    from reparam.inspection import evaluating

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    with evaluating(model, seed):
        _draw(path, rp.sample(model, num), columns=8)


def reconstruct(
    run: tyro.conf.Positional[Path],
    input: Path | None = None,
    num: Count = 8,
    part: Part = "test",
    data: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
    seed: Seed = 0,
) -> None:
    """Draws examples, and below each what is made of a draw z ~ q(z|x) of it.

    Args:
        run: Folder of the run.
        input: An image, an .npy, .npz or IDX file, or a folder of images to take whole, instead of the run's data.
        num: How many examples, the first ones.
        part: Of the data.
        data: Name or path of other data, under the run's protocol; the run's own if not given.
        output: PNG file; if not given, RUN/pictures/reconstruct.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
        seed: Of the draws.
    """
    path = _path(run, "reconstruct", output, overwrite)
    if input is not None and data is not None:
        raise ValueError(f"{argument('input')} and {argument('data')} are both given; take one of them.")
    import torch

    import reparam as rp
    from reparam.inspection import evaluating

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, num, part, data, input)
    with evaluating(model, seed):
        made = rp.reconstruct(model, x)
    rows = [torch.cat([x[at : at + 8], made[at : at + 8]]) for at in range(0, len(x) - len(x) % 8, 8)]
    rest = len(x) % 8
    if rest and rows:  # a shorter last row begins where the others do
        blank = torch.zeros_like(x[:1]).expand(8 - rest, *x.shape[1:])
        rows.append(torch.cat([x[-rest:], blank, made[-rest:], blank]))
    elif rest:
        rows.append(torch.cat([x, made]))
    _draw(path, torch.cat(rows), columns=min(8, len(x)))


def traverse(
    run: tyro.conf.Positional[Path],
    index: FromZero = 0,
    columns: FromTwo = 10,
    part: Part = "test",
    data: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
) -> None:
    """Draws a row for each latent variable: what becomes of an example when that one alone is moved.

    A number goes over quantiles of the prior, from 5% to 95%, a bit is off and on, a symbol takes all its values.

    Args:
        run: Folder of the run.
        index: Number of the example, from 0, whose other latents are kept.
        columns: Quantiles of a number.
        part: Of the data.
        data: Name or path of other data, under the run's protocol; the run's own if not given.
        output: PNG file; if not given, RUN/pictures/traverse.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
    """
    path = _path(run, "traverse", output, overwrite)
    import reparam as rp

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, index + 1, part, data)
    if index >= len(x):
        last = len(x) - 1
        raise ValueError(
            f"{argument('index')} is {index}; the {part} part has the examples 0 to {last}. Take one of them."
        )
    grid = rp.traverse(model, x[index:], columns=columns)
    _draw(path, grid.flatten(0, 1), columns=grid.shape[1])


def interpolate(
    run: tyro.conf.Positional[Path],
    num: Count = 8,
    steps: FromTwo = 10,
    part: Part = "test",
    data: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
) -> None:
    """Draws a row for each pair of examples: the way from a draw of the first's posterior to one of the second's.

    Numbers go along a straight line; bits and symbols that differ are switched one after another, in a fixed order.

    Args:
        run: Folder of the run.
        num: Pairs of examples, of the first ones.
        steps: Pictures of each, the two ends included.
        part: Of the data.
        data: Name or path of other data, under the run's protocol; the run's own if not given.
        output: PNG file; if not given, RUN/pictures/interpolate.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
    """
    path = _path(run, "interpolate", output, overwrite)
    import reparam as rp

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, 2 * num, part, data)
    pairs = len(x) // 2
    if not pairs:
        raise ValueError(
            f"{argument('part')} is {part}, which holds one example; a pair takes two. Take another part, or other "
            f"data with {argument('data')}."
        )
    grid = rp.interpolate(model, x[: 2 * pairs : 2], x[1 : 2 * pairs : 2], steps)
    _draw(path, grid.flatten(0, 1), columns=steps)


def examples(run: Path, model: Any, num: int, part: Part, data: str | None = None, file: Path | None = None) -> Tensor:
    """The first examples of a run's data, of other data or of a file, as x on the model's device."""
    from reparam import runs
    from reparam.inspection import device_and_dtype

    if file is not None:
        from reparam.cli.files import examples_of

        with regarding("input", str(file)):
            found = examples_of(run, model, file)
    else:
        found = runs.part_of_run(run, part, data)
    return found[:num].to(*device_and_dtype(model))


def _path(run: Path, name: str, output: Path | None, overwrite: bool) -> Path:
    """Where the picture goes. A command replaces its own default output, and nothing else unless told."""
    existing(run)
    if output is None:
        return run / PICTURES / f"{name}.png"
    if output.exists() and not overwrite:
        raise FileExistsError(
            f"{argument('output')} is {str(output)!r}, which exists already, and nothing is overwritten. Add "
            f"{setting('overwrite', True)} to replace it."
        )
    if output.suffix.lower() != ".png" or output.is_dir():
        raise ValueError(f"{argument('output')} is {str(output)!r}; pictures are PNG files. End the name in .png.")
    return output


def _draw(path: Path, images: Tensor, columns: int) -> None:
    from reparam.figures import is_image, save_image_grid

    if not is_image(images):
        raise ValueError(
            f"an example of this model has the shape {tuple(images.shape[1:])}, which is no image. In Python "
            "rp.load(run) gives the model, and rp.sample, rp.reconstruct, rp.traverse and rp.interpolate the numbers."
        )
    say(save_image_grid(path, images, columns=columns))
