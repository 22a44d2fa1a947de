"""Networks: plain `nn.Module`s that fold any number of leading axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from reparam._checks import Shape, shape, whole


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
    network = nn.Sequential(*layers[:-1])
    if output_bias is not None:
        last = network[-1]
        if not isinstance(last, nn.Linear) or output_bias.shape != last.bias.shape:
            raise ValueError(f"output_bias has shape {tuple(output_bias.shape)}; it must be ({out_features},).")
        with torch.no_grad():
            last.bias.copy_(output_bias)
    return network
