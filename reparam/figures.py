"""Pictures: grids of images, and what a model draws."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.distributions import Distribution

from reparam._checks import whole
from reparam._tensors import unwrap
from reparam.inspection import evaluating
from reparam.model import LatentVariableModel


def reconstruct(model: LatentVariableModel, x: Tensor) -> Tensor:
    """E[x|z] for one draw z ~ q(z|x) of each example, `[B, *event]`; hard latents in a discrete model."""
    with evaluating(model):
        return _mean(model.likelihood(model.posterior(x).sample()))


def sample(model: LatentVariableModel, num_samples: int) -> Tensor:
    """E[x|z] for draws z ~ p(z), `[num_samples, *event]`; hard latents in a discrete model."""
    with evaluating(model):
        return _mean(model.likelihood(model.prior().sample((whole("num_samples", num_samples),))))


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
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(unfinished, format="PNG")
    return unfinished.replace(path)


def _as_floats(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise TypeError(f"images is a {type(images).__name__}; it must be a tensor. Use torch.as_tensor(images).")
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise TypeError(f"images are {images.dtype}; give floating point in [0, 1], or uint8 in 0 to 255.")
    pixels = images.detach().cpu().float()
    if not pixels.isfinite().all():
        raise ValueError("images hold NaN or Inf; there is nothing to draw. Look at the model that made them.")
    return pixels / 255 if images.dtype == torch.uint8 else pixels


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
