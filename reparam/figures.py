"""Pictures: grids of images, and what a model draws."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from reparam._checks import whole
from reparam._files import write_whole
from reparam._spelling import public
from reparam._tensors import unwrap
from reparam.hierarchy import Chain
from reparam.inspection import evaluating
from reparam.model import LatentVariableModel
from reparam.not_finite import NotFinite
from reparam.walks import between, moved


def reconstruct(model: LatentVariableModel, x: Tensor) -> Tensor:
    """E[x|z] for one draw z ~ q(z|x) of each example, `[B, *event]`; hard latents in a discrete model."""
    with evaluating(model):
        return _mean(model.likelihood(model.posterior(x).sample()))


def sample(model: LatentVariableModel, num_samples: int) -> Tensor:
    """E[x|z] for draws z ~ p(z), `[num_samples, *event]`; hard latents in a discrete model."""
    with evaluating(model):
        return _mean(model.likelihood(model.prior().sample((whole("num_samples", num_samples),))))


def traverse(model: LatentVariableModel, x: Tensor | None = None, *, columns: int = 10) -> Tensor:
    """E[x|z] while one latent variable after another is moved, all others kept.

    A bit is off, then on; a symbol goes through its categories; a number through `columns` quantiles of the prior, from
    5% to 95%. A coordinate of a direction or of shares that sum to one takes the others along, in proportion.

    Args:
        model: of one layer of latents.
        x: `[N, *event]`, of which the first is the example that the others are kept at; a draw of the prior, if none.
        columns: values of a number.

    Returns:
        `[variables, values, *event]`; `.flatten(0, 1)` is a grid with `columns=values`. Where kinds of variables differ
        in how many values they take, shorter rows repeat their last.

    Raises:
        ValueError: a model whose latents depend on one another, of which moving one says nothing alone.
    """
    whole("columns", columns, least=2)
    with evaluating(model, seed=0):
        prior = model.prior()
        if isinstance(prior, Chain) and not prior.is_product:
            raise ValueError(
                "traverse moves one latent variable with all others kept, and in this model layers depend on one "
                f"another. Draw from it with {public('sample')}, or walk between two examples with "
                f"{public('interpolate')}."
            )
        z = prior.sample() if x is None else model.posterior(x[:1]).sample()[0]
        rows = moved(prior, z, columns)
        most = max(len(row) for row in rows)
        rows = [torch.cat([row, row[-1:].expand(most - len(row), *row.shape[1:])]) for row in rows]
        images = _mean(model.likelihood(torch.cat(rows)))
        return images.reshape(len(rows), most, *images.shape[1:])


def interpolate(model: LatentVariableModel, x0: Tensor, x1: Tensor, steps: int = 10) -> Tensor:
    """E[x|z] on the way from a draw z ~ q(z|x0) to one of q(z|x1).

    Numbers go along a straight line, whole ones rounded; angles the shorter way round, directions on their sphere. Bits
    and symbols are switched one after another in the order of their index, evenly over the way: between hard latents
    there is nothing to pass through.

    Args:
        model: of any latents.
        x0: `[B, *event]`.
        x1: as many.
        steps: pictures of each pair, the two ends included.

    Returns:
        `[B, steps, *event]`; `.flatten(0, 1)` is a grid with `columns=steps`.

    Raises:
        ValueError: examples of different shapes.
    """
    whole("steps", steps, least=2)
    if x0.shape != x1.shape:
        raise ValueError(f"x0 has shape {tuple(x0.shape)} and x1 {tuple(x1.shape)}; they must be alike.")
    with evaluating(model, seed=0):
        z = between(model.prior(), model.posterior(x0).sample(), model.posterior(x1).sample(), steps)
        images = _mean(model.likelihood(z.flatten(0, 1)))
        return images.reshape(*z.shape[:2], *images.shape[1:])


def _mean(likelihood: Distribution) -> Tensor:
    try:
        return likelihood.mean
    except NotImplementedError as error:
        raise ValueError(
            f"the likelihood {type(unwrap(likelihood)[0]).__name__} has no mean in closed form. Draw from it: "
            "model.likelihood(model.prior().sample((64,))).sample()."
        ) from error


def save_image_grid(path: str | Path, images: Tensor, *, columns: int = 8) -> Path:
    """Writes images as one PNG, row by row; missing folders are made.

    Args:
        path: where to. An existing picture of that name is replaced, whole or not at all.
        images: floating point in [0, 1] (clipped) or uint8: `[N, H, W]`, `[N, 1, H, W]`, `[N, 3, H, W]`, or `[N, H *
            H]` for flat square ones.
        columns: images in a row; a shorter last row is filled with black.

    Returns:
        The path.

    Raises:
        TypeError, ValueError: another shape or type, no image, NaN, or a name that does not end in .png.
    """
    whole("columns", columns)
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path is {str(path)!r}; pictures are PNG files. End the name in .png.")
    pixels = _as_rgb_or_grey(_as_floats(images))
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    blank = torch.zeros(rows * columns - len(pixels), *pixels.shape[1:])
    grid = torch.cat([pixels, blank]).unflatten(0, (rows, columns))  # [rows, columns, channels, H, W]
    grid = grid.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [rows * H, columns * W, channels]
    array = (grid.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    png = BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(png, format="PNG")
    return write_whole(path, png.getvalue(), durable=False)


def _as_floats(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise TypeError(f"images is a {type(images).__name__}; it must be a tensor. Use torch.as_tensor(images).")
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise TypeError(f"images are {images.dtype}; give floating point in [0, 1], or uint8 in 0 to 255.")
    pixels = images.detach().cpu().float()
    if not pixels.isfinite().all():
        raise NotFinite("images hold NaN or Inf; there is nothing to draw. Look at the model that made them.")
    return pixels / 255 if images.dtype == torch.uint8 else pixels


def is_image(x: Tensor) -> bool:
    """Whether a batch `[N, *event]` has a shape that `save_image_grid` draws."""
    if x.dim() == 2:
        return math.isqrt(x.shape[1]) ** 2 == x.shape[1] and x.shape[1] >= 16
    return x.dim() == 3 or (x.dim() == 4 and x.shape[1] in (1, 3))


def _as_rgb_or_grey(images: Tensor) -> Tensor:
    """`[N, channels, H, W]` with one or three channels."""
    if len(images) and images.dim() == 2 and math.isqrt(images.shape[1]) ** 2 == images.shape[1]:
        side = math.isqrt(images.shape[1])
        return images.reshape(-1, 1, side, side)
    if len(images) and images.dim() == 3:
        return images.unsqueeze(1)
    if len(images) and images.dim() == 4 and images.shape[1] in (1, 3):
        return images
    raise ValueError(
        f"images have shape {tuple(images.shape)}; expected at least one as [N, H, W], [N, 1 or 3, H, W] or [N, H * H]."
    )
