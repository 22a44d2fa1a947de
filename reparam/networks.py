"""Networks: plain `nn.Module`s that fold any number of leading axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from reparam._checks import Shape, shape, whole


def mlp(
    in_features: Shape,
    hidden: Sequence[int],
    out_features: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Fully connected layers with `activation` between them, `[..., in_features]` to `[..., out_features]`.

    Args:
        in_features: width of the input, or its shape, such as (1, 28, 28), which is then flattened.
        hidden: widths of the hidden layers; empty for a linear map.
        out_features: width of the output, usually a family's `num_params`.
        activation: makes the module between two layers.

    Example:
        >>> import torch
        >>> mlp((1, 28, 28), [400], 40)(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 40])
    """
    if not isinstance(hidden, Sequence):
        raise TypeError(f"hidden is {hidden!r}; it must be a list of widths, such as [400].")
    if isinstance(activation, nn.Module) or not callable(activation):
        raise TypeError(f"activation is {activation!r}; it must make a module, as the class nn.ReLU does.")
    in_shape = shape("in_features", in_features)
    widths = [
        in_shape.numel(),
        *(whole("a hidden width", width) for width in hidden),
        whole("out_features", out_features),
    ]
    layers: list[nn.Module] = [] if isinstance(in_features, int) else [nn.Flatten(-len(in_shape))]
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), activation()]
    return nn.Sequential(*layers[:-1])
