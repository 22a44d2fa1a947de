"""The two noises of reparameterised discrete sampling, in at least float32."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam._tensors import at_least_float32


def _exponential(like: Tensor) -> Tensor:
    """Exp(1) draws in the shape of `like`, never exactly zero, so that their logarithm is finite."""
    noise = torch.empty_like(at_least_float32(like), memory_format=torch.contiguous_format).exponential_()
    return noise.clamp_min(torch.finfo(noise.dtype).tiny)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel draws: `-log E` with `E ~ Exp(1)`."""
    return -_exponential(like).log()


def logistic(like: Tensor) -> Tensor:
    """Standard logistic draws, as the difference of two Gumbels: both tails are equally fine."""
    return _exponential(like).log() - _exponential(like).log()
