"""The input of an encoder of counts."""

from __future__ import annotations

from torch import Tensor, nn


class Log1p(nn.Module):
    """`log(1 + x)` of each number: the input for an encoder of counts.

    Counts of genes, words or events reach thousands beside zeros. A network with such inputs starts with posteriors of
    very large log-scales, and the training diverges within a few steps. The likelihood still scores the counts.

    Example:
        >>> import torch
        >>> encoder = nn.Sequential(Log1p(), nn.Linear(100, 20))
        >>> encoder(torch.full((8, 100), 5000.0)).shape
        torch.Size([8, 20])
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[B, *event]`, numbers above -1, to the same shape."""
        return x.log1p()
