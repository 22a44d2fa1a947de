"""The two noises of reparameterised discrete sampling, in at least float32."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam._tensors import at_least_float32


def _uniform(like: Tensor) -> Tensor:
    """Uniform draws in the shape of `like`, inside (0, 1): half a step of the generator's grid stands for zero."""
    noise = torch.rand_like(at_least_float32(like), memory_format=torch.contiguous_format)
    return noise.clamp_min_(torch.finfo(noise.dtype).eps / 4)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel draws: `-log E` with `E = -log(1 - u) ~ Exp(1)`; several times faster than `exponential_`."""
    return _uniform(like).neg_().log1p_().neg_().log_().neg_()


def logistic(like: Tensor) -> Tensor:
    """Standard logistic draws: `log u - log(1 - u)`."""
    return _uniform(like).logit_()
