"""Networks whose outputs see only the inputs before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from reparam._calls import recorded
from reparam._checks import whole


class MaskedLinear(nn.Linear):
    """A linear map whose weights are kept at zero outside of a mask.

    Args:
        mask: booleans `[out_features, in_features]`. A part of the checkpoint, as a module may be made without storage.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    mask: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight * self.mask, self.bias)


@recorded
def masked_mlp(
    num_variables: int, width: int, hidden: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Fully connected layers whose outputs for a variable see the inputs of the variables before it, and no other.

    Each variable has `width` inputs and as many outputs: `[..., num_variables * width]` to the same shape. A hidden
    unit has a number from 1 to `num_variables - 1`, and sees no variable after that one. The last layer begins at zero.

    Args:
        num_variables: in their order.
        width: numbers a variable.
        hidden: widths of the hidden layers; at least `num_variables - 1` lets each variable see all before it.
        activation: makes the module between two layers.

    Reference:
        Germain, Gregor, Murray, Larochelle, MADE: Masked Autoencoder for Distribution Estimation, 2015, arXiv
        1502.03509, section 3.
    """
    if not isinstance(hidden, Sequence):
        raise TypeError(f"hidden is {hidden!r}; it must be a list of widths, such as [400].")
    ends = torch.arange(1, num_variables + 1).repeat_interleave(width)
    # numbers spread evenly, so that a narrow layer still carries something of the late variables
    inner = [1 + torch.arange(whole("a hidden width", n)) * (num_variables - 1) // n for n in hidden]
    numbers = [ends, *inner]
    layers: list[nn.Module] = []
    for seen, unit in pairwise(numbers):
        layers += [MaskedLinear(unit[:, None] >= seen), activation()]
    last = MaskedLinear(ends[:, None] > numbers[-1])
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
