"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from reparam._calls import recorded
from reparam._checks import Shape, shape, whole


@recorded
def mlp(
    in_features: Shape,
    hidden: Sequence[int],
    out_features: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    output_bias: Tensor | None = None,
) -> nn.Sequential:
    """Fully connected layers with `activation` between them, `[..., in_features]` to `[..., out_features]`.

    Args:
        in_features: width of the input, or its shape, such as (1, 28, 28), which is then flattened.
        hidden: widths of the hidden layers; empty for a linear map.
        out_features: width of the output, usually a family's `num_params`.
        activation: makes the module between two layers.
        output_bias: where the last layer's bias starts, `[out_features]`; for a decoder of Bernoulli pixels
            `data.train.mean_logits()`, which saves it the first hundred steps. Random if not given.

    Raises:
        TypeError, ValueError: widths that are no whole numbers; a bias of another shape.

    Example:
        >>> import torch
        >>> mlp((1, 28, 28), [400], 40)(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 40])
    """
    check_activation(activation)
    return _layers(in_features, hidden, out_features, lambda a, b: [nn.Linear(a, b), activation()], output_bias)


@recorded
def gated_mlp(
    in_features: Shape,
    hidden: Sequence[int],
    out_features: int,
    *,
    output_bias: Tensor | None = None,
) -> nn.Sequential:
    """Fully connected layers that gate themselves, `[..., in_features]` to `[..., out_features]`.

    A hidden layer is `h * sigmoid(g)` with h and g two linear maps of the layer below; the last layer is linear. It has
    twice the weights of an `mlp` of the same widths. The two maps are one product here, h first, then g.

    Args:
        in_features: width of the input, or its shape, such as (1, 28, 28), which is then flattened.
        hidden: widths of the hidden layers; empty for a linear map.
        out_features: width of the output, usually a family's `num_params`.
        output_bias: where the last layer's bias starts, `[out_features]`; see `mlp`. Random if not given.

    Raises:
        TypeError, ValueError: widths that are no whole numbers; a bias of another shape.

    Reference:
        Dauphin, Fan, Auli, Grangier, Language Modeling with Gated Convolutional Networks, 2016, arXiv 1612.08083;
        Tomczak, Welling, VAE with a VampPrior, 2017, arXiv 1705.07120, whose networks these are.

    Example:
        >>> import torch
        >>> gated_mlp((1, 28, 28), [300, 300], 80)(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 80])
    """
    return _layers(in_features, hidden, out_features, lambda a, b: [nn.Linear(a, 2 * b), nn.GLU(-1)], output_bias)


def _layers(
    in_features: Shape,
    hidden: Sequence[int],
    out_features: int,
    layer: Callable[[int, int], list[nn.Module]],
    output_bias: Tensor | None,
) -> nn.Sequential:
    if not isinstance(hidden, Sequence):
        raise TypeError(f"hidden is {hidden!r}; it must be a list of widths, such as [400].")
    in_shape = shape("in_features", in_features)
    widths = [in_shape.numel(), *(whole("a hidden width", width) for width in hidden)]
    whole("out_features", out_features)
    layers: list[nn.Module] = [] if isinstance(in_features, int) else [nn.Flatten(-len(in_shape))]
    for width_in, width_out in pairwise(widths):
        layers += layer(width_in, width_out)
    last = nn.Linear(widths[-1], out_features)
    if output_bias is not None:
        check_output_bias(output_bias, out_features)
        with torch.no_grad():
            last.bias.copy_(output_bias)
    return nn.Sequential(*layers, last)


def check_activation(activation: object) -> None:
    """Refuses a module where what makes modules is asked for."""
    if isinstance(activation, nn.Module) or not callable(activation):
        raise TypeError(f"activation is {activation!r}; it must make a module, as the class nn.ReLU does.")


def check_output_bias(output_bias: Tensor, width: int) -> None:
    """Refuses a bias that is not one number for each output."""
    if output_bias.shape != (width,):
        raise ValueError(f"output_bias has shape {tuple(output_bias.shape)}; it must be ({width},).")
