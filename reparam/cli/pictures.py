"""`reparam sample|reconstruct|traverse|interpolate RUN`: pictures from a run's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from reparam.cli.folders import existing
from reparam.cli.measuring import Checkpoint, Part, data_of, device_of
from reparam.cli.show import say

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = "pictures"


def sample(
    run: tyro.conf.Positional[Path],
    num: int = 64,
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
    seed: int = 0,
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
    num: int = 8,
    part: Part = "test",
    output: Path | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint = "auto",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Draws examples, and below each what is made of a draw z ~ q(z|x) of it.

    Args:
        run: Folder of the run.
        input: An image, an .npy, .npz or IDX file, or a folder of images to take instead of the run's data.
        num: How many examples, the first ones.
        part: Of the run's data.
        output: PNG file; if not given, RUN/pictures/reconstruct.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
        seed: Of the draws.
    """
    path = _path(run, "reconstruct", output, overwrite)
    import torch

    import reparam as rp
    from reparam.inspection import evaluating

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, num, part, input)
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
    index: int = 0,
    columns: int = 10,
    part: Part = "test",
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
        part: Of the run's data.
        output: PNG file; if not given, RUN/pictures/traverse.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
    """
    path = _path(run, "traverse", output, overwrite)
    import reparam as rp

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, index + 1, part)
    if not 0 <= index < len(x):
        raise ValueError(f"index is {index}; the {part} part has the examples 0 to {len(x) - 1}.")
    grid = rp.traverse(model, x[index:], columns=columns)
    _draw(path, grid.flatten(0, 1), columns=grid.shape[1])


def interpolate(
    run: tyro.conf.Positional[Path],
    num: int = 8,
    steps: int = 10,
    part: Part = "test",
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
        part: Of the run's data.
        output: PNG file; if not given, RUN/pictures/interpolate.png.
        overwrite: Replace the file that --output names.
        checkpoint: The best by validation, the last, or auto: the best if there was a validation.
        device: Such as cpu or cuda; auto takes the best that is there.
    """
    path = _path(run, "interpolate", output, overwrite)
    import reparam as rp

    model = rp.load(run, checkpoint=checkpoint, device=device_of(device))
    x = examples(run, model, 2 * num, part)
    pairs = len(x) // 2
    if not pairs:
        raise ValueError(f"the {part} part of {run} holds one example; a pair takes two.")
    grid = rp.interpolate(model, x[: 2 * pairs : 2], x[1 : 2 * pairs : 2], steps)
    _draw(path, grid.flatten(0, 1), columns=steps)


def examples(run: Path, model: Any, num: int, part: Part, file: Path | None = None) -> Tensor:
    """The first examples of a run's data, or of a file, as x on the model's device."""
    from reparam._checks import whole
    from reparam.inspection import device_and_dtype

    whole("num", num)
    if file is not None:
        from reparam.cli.files import examples_of

        data = examples_of(run, model, file)
    else:
        parts = data_of(run).parts()
        if part not in parts:
            raise ValueError(f"the data of {run} have no part {part}; there are {', '.join(parts)}.")
        data = parts[part]
    return data[:num].to(*device_and_dtype(model))


def _path(run: Path, name: str, output: Path | None, overwrite: bool) -> Path:
    """Where the picture goes. A command replaces its own default output, and nothing else unless told."""
    existing(run)
    if output is None:
        return run / PICTURES / f"{name}.png"
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists already, and nothing is overwritten. Add --overwrite to replace it.")
    if output.suffix.lower() != ".png":
        raise ValueError(f"output is {str(output)!r}; pictures are PNG files. End the name in .png.")
    return output


def _draw(path: Path, images: Tensor, columns: int) -> None:
    from reparam.figures import is_image, save_image_grid

    if not is_image(images):
        raise ValueError(
            f"an example of this model has the shape {tuple(images.shape[1:])}, which is no image. In Python "
            "rp.load(run) gives the model, and rp.sample, rp.reconstruct, rp.traverse and rp.interpolate the numbers."
        )
    say(save_image_grid(path, images, columns=columns))
