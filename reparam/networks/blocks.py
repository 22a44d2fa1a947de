"""What the convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from reparam._checks import choice
from reparam.networks.dense import check_activation


class Folded(nn.Module):
    """Layers for `[N, *in_shape]`, which take `[..., *in_shape]`."""

    def __init__(self, in_shape: torch.Size, *layers: nn.Module) -> None:
        super().__init__()
        self.in_shape = in_shape
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., *in_shape]` to `[..., width]`.

        Raises:
            ValueError: x of another shape, which could be folded into a wrong one.
        """
        leading = x.shape[: max(x.dim() - len(self.in_shape), 0)]
        if x.shape[len(leading) :] != self.in_shape:
            raise ValueError(
                f"the input has shape {tuple(x.shape)}; its last axes must be {tuple(self.in_shape)}. Flat images are "
                f"x.unflatten(-1, {tuple(self.in_shape)}), or those of a data set made with that shape."
            )
        y: Tensor = self.layers(x.reshape(leading.numel(), *self.in_shape))
        return y.reshape(*leading, y.shape[-1])


class Residual(nn.Module):
    """`x + branch(x)`."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to the same."""
        added: Tensor = x + self.branch(x)
        return added


class Shift(nn.Module):
    """`x + bias`, with a bias that is learned."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(bias.shape))
        with torch.no_grad():
            self.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, width]` to the same."""
        return x + self.bias


@dataclass(frozen=True)
class Parts:
    """Makes the parts of a network of one style."""

    norm: str | None
    residual: bool
    activation: Callable[[], nn.Module]

    def __post_init__(self) -> None:
        if self.norm is not None:
            choice("norm", self.norm, ("group", "weight"))
        check_activation(self.activation)

    def weighted(self, layer: nn.Module) -> nn.Module:
        """A convolution or linear map."""
        return weight_norm(layer) if self.norm == "weight" else layer

    def activated(self, width: int) -> list[nn.Module]:
        """What follows a convolution."""
        if self.norm != "group":
            return [self.activation()]
        # at least 4 channels in a group: a group of one channel of one pixel would be normalised to nothing
        num_groups = next((n for n in (8, 4, 2) if width % (4 * n) == 0), 1)
        return [nn.GroupNorm(num_groups, width), self.activation()]

    def block(self, width: int) -> list[nn.Module]:
        """A residual block, if the network has them; its branch starts at a tenth of its usual scale."""
        if not self.residual:
            return []
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            for parameter in second.parameters():
                parameter.mul_(0.1)
        return [Residual(*self.activated(width), self.weighted(first), *self.activated(width), self.weighted(second))]
