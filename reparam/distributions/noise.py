"""The noises of reparameterised discrete sampling, free and given its outcome, in at least float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reparam._tensors import at_least_float32


def uniform(like: Tensor) -> Tensor:
    """Uniform draws in the shape of `like`, inside (0, 1): half a step of the generator's grid stands for zero."""
    noise = torch.rand_like(at_least_float32(like), memory_format=torch.contiguous_format)
    return noise.clamp_min_(torch.finfo(noise.dtype).eps / 4)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel draws: `-log E` with `E = -log(1 - u) ~ Exp(1)`; several times faster than `exponential_`."""
    return uniform(like).neg_().log1p_().neg_().log_().neg_()


def logistic(like: Tensor) -> Tensor:
    """Standard logistic draws: `log u - log(1 - u)`."""
    return uniform(like).logit_()


def laplace(like: Tensor) -> Tensor:
    """Standard Laplace draws: an exponential one for each half of a uniform."""
    signed = uniform(like).mul_(2).sub_(1)
    return -signed.sign() * torch.log1p(-signed.abs())


def conditional_logistic(logits: Tensor, coins: Tensor) -> Tensor:
    """`logits + logistic noise`, given the sign of the sum: positive where the coin shows 1.

    Differentiable in `logits` at fixed noise and coins. With s standard logistic it is `softplus(s + softplus(logits))`
    for a 1, and the mirror image for a 0.

    Reference:
        Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein, REBAR, 2017, arXiv 1703.07370, appendix (the same in uniforms).
    """
    sign = 2 * coins - 1
    logits = at_least_float32(logits) * sign
    noise = logistic(logits.expand(torch.broadcast_shapes(logits.shape, coins.shape)))
    return sign * F.softplus(noise + F.softplus(logits))


def conditional_gumbel(log_probs: Tensor, one_hot: Tensor) -> Tensor:
    """`log_probs + Gumbel noise`, given which is the largest: the one that `one_hot` marks.

    Differentiable in the normalised `log_probs` at fixed noise. The largest is standard Gumbel; each other one is
    Gumbel at its own location, cut off there.

    Reference:
        Maddison, Tarlow, Minka, A* Sampling, 2014, arXiv 1411.0030 (truncated Gumbels); Tucker et al., REBAR, 2017,
        arXiv 1703.07370, appendix.
    """
    log_probs = at_least_float32(log_probs)
    noise = gumbel(log_probs.expand(torch.broadcast_shapes(log_probs.shape, one_hot.shape)))
    chosen = one_hot > 0.5
    largest = torch.where(chosen, noise, 0.0).sum(-1, keepdim=True)
    return torch.where(chosen, largest, -torch.logaddexp(-(log_probs + noise), -largest))
