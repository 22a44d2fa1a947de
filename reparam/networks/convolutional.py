"""Convolutional networks for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from reparam._calls import recorded
from reparam._checks import whole
from reparam.networks.blocks import Folded, Parts, Shift
from reparam.networks.dense import check_output_bias


@recorded
def conv_encoder(
    shape: tuple[int, int, int],
    out_features: int,
    *,
    channels: Sequence[int] = (32, 64),
    norm: Literal["group", "weight"] | None = "group",
    residual: bool = True,
    activation: Callable[[], nn.Module] = nn.SiLU,
) -> nn.Module:
    """Convolutions that halve an image again and again, `[..., C, H, W]` to `[..., out_features]`.

    Each width of `channels` stands for a convolution of stride 2 and a residual block; a linear map of what is left of
    the image follows. Kernels are 4 wide, a multiple of the stride, so that all pixels are read equally often.

    The defaults have 251,784 parameters for a (1, 28, 28) image and 40 outputs.

    Args:
        shape: (C, H, W) of the image; H and W are multiples of 4, for two halvings.
        out_features: width of the output, usually a family's `num_params`.
        channels: widths, one for each halving.
        norm: "group", "weight" or None; not batch norm, see this package's docstring.
        residual: with residual blocks, which start near the identity.
        activation: makes the module after a convolution.

    Raises:
        TypeError, ValueError: a shape that is not (C, H, W) or cannot be halved so often; widths that are no whole
            numbers; an unknown norm.

    Reference:
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016, arXiv 1603.05027; Wu, He, Group
        Normalization, 2018, arXiv 1803.08494; Salimans, Kingma, Weight Normalization, 2016, arXiv 1602.07868.

    Example:
        >>> conv_encoder((1, 28, 28), 40)(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 40])
    """
    parts = Parts(norm, residual, activation)
    in_shape, inner_shape = _shapes(shape, channels, channels_last=True)
    layers: list[nn.Module] = []
    for width_in, width in pairwise([in_shape[0], *channels]):
        layers += [parts.weighted(nn.Conv2d(width_in, width, 4, 2, 1)), *parts.activated(width), *parts.block(width)]
    last = parts.weighted(nn.Linear(inner_shape.numel(), whole("out_features", out_features)))
    return Folded(in_shape, *layers, nn.Flatten(), last)


@recorded
def conv_decoder(
    in_features: int,
    shape: tuple[int, int, int],
    num_params: int,
    *,
    channels: Sequence[int] = (64, 32),
    norm: Literal["group", "weight"] | None = "group",
    residual: bool = True,
    activation: Callable[[], nn.Module] = nn.SiLU,
    output_bias: Tensor | None = None,
) -> nn.Module:
    """Convolutions that double an image again and again, `[..., in_features]` to `[..., num_params]`.

    A linear map makes the smallest image; each width of `channels` stands for a residual block on it, a doubling that
    repeats each pixel, and a convolution. Repeating before convolving leaves no checkerboard, since every pixel is
    written equally often; a transposed convolution does not, nor a pixel shuffle without an initialisation of its own.

    The outputs are those of `num_params / (H W)` channels, one channel after the other: what `Bernoulli((C, H, W))`
    takes for log-odds, and `Gaussian((C, H, W))` for C channels of `loc` and C of log-variances. A family whose last
    axis is not W, such as `Categorical((28, 28), 256)`, wants another order.

    The defaults have 177,409 parameters for 20 inputs and (1, 28, 28) log-odds.

    Args:
        in_features: width of the input, usually a family's `num_features`.
        shape: (C, H, W) of the image; H and W are multiples of 4, for two doublings.
        num_params: width of the output, the observation family's `num_params`.
        channels: widths, one for each doubling.
        norm: "group", "weight" or None; not batch norm, see this package's docstring.
        residual: with residual blocks, which start near the identity.
        activation: makes the module after a convolution.
        output_bias: where a learned bias of each output starts, `[num_params]`, such as `data.train.mean_logits()`. If
            not given, a channel has one bias for all its pixels.

    Raises:
        TypeError, ValueError: a shape that is not (C, H, W) or cannot be halved so often; `num_params` that are not as
            many for each pixel; widths that are no whole numbers; an unknown norm; a bias of another shape.

    Reference:
        Odena, Dumoulin, Olah, Deconvolution and Checkerboard Artifacts, Distill 2016; see also `conv_encoder`.

    Example:
        >>> conv_decoder(20, (1, 28, 28), 784)(torch.zeros(5, 8, 20)).shape
        torch.Size([5, 8, 784])
    """
    parts = Parts(norm, residual, activation)
    out_shape, inner_shape = _shapes(shape, channels, channels_last=False)
    num_pixels = out_shape[1:].numel()
    if whole("num_params", num_params) % num_pixels:
        raise ValueError(
            f"num_params is {num_params}; each of the {out_shape[1]} x {out_shape[2]} pixels has as many, so it must "
            f"be a multiple of {num_pixels}. Give those of a family of this shape: rp.Bernoulli({shape}).num_params."
        )
    first = nn.Linear(whole("in_features", in_features), inner_shape.numel())
    layers: list[nn.Module] = [parts.weighted(first), nn.Unflatten(-1, inner_shape), activation()]
    for width_in, width in pairwise(channels):
        layers += [*parts.block(width_in), nn.Upsample(scale_factor=2)]
        layers += [parts.weighted(nn.Conv2d(width_in, width, 3, padding=1)), *parts.activated(width)]
    last = nn.Conv2d(channels[-1], num_params // num_pixels, 3, padding=1, bias=output_bias is None)
    layers += [*parts.block(channels[-1]), nn.Upsample(scale_factor=2), parts.weighted(last), nn.Flatten()]
    if output_bias is not None:
        check_output_bias(output_bias, num_params)
        layers.append(Shift(output_bias))
    return Folded(torch.Size([in_features]), *layers)


def _shapes(shape: object, channels: object, *, channels_last: bool) -> tuple[torch.Size, torch.Size]:
    """The shape of an image, and that of the smallest one inside."""
    if not isinstance(channels, Sequence) or not channels:
        raise TypeError(
            f"channels is {channels!r}; it must be a list of widths, one for each halving, such as (32, 64)."
        )
    widths = [whole("a width in channels", width) for width in channels]
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise TypeError(f"shape is {shape!r}; it must be (channels, height, width), such as (1, 28, 28).")
    image, factor = torch.Size([whole(f"shape, {shape},", size) for size in shape]), 2 ** len(widths)
    if image[1] % factor or image[2] % factor:
        raise ValueError(
            f"shape is {shape}; {len(widths)} widths in channels halve an image {len(widths)} times, so height and "
            f"width must be multiples of {factor}. Pad the images, or give fewer widths."
        )
    return image, torch.Size([widths[-1 if channels_last else 0], image[1] // factor, image[2] // factor])
