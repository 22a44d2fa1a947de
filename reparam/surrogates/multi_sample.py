"""Objectives of several weighted samples whose gradient is not that of their value: wake-phase and thermodynamic."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from reparam._tensors import log_mean_exp, possible, shares
from reparam.bounds import tempered
from reparam.bounds import tvo as thermodynamic_bound
from reparam.surrogates.score_function import finite_signal, with_gradient_of


def wake(
    log_weight: Float[Tensor, "K B"], log_joint: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"]
) -> Float[Tensor, "B"]:
    """The importance-weighted bound, with the two wake-phase gradients of reweighted wake-sleep.

    With `v = softmax(log w)`: the generative parameters get `sum_k v_k grad log p(x, z_k)`, which is unbiased for the
    gradient of the bound. The posterior gets `sum_k v_k grad log q(z_k|x)`, a self-normalised estimate of minus the
    gradient of KL(p(z|x) || q(z|x)): of no bound, and biased by order 1/K. Leave log_q without a gradient to train it
    otherwise.

    Args:
        log_weight: log p(x, z_k) - log q(z_k|x).
        log_joint: log p(x, z_k).
        log_q: log q(z_k|x).

    Reference:
        Bornschein, Bengio, Reweighted Wake-Sleep, 2014, arXiv 1406.2751, section 3.
    """
    share = shares(log_weight)
    return with_gradient_of(log_mean_exp(log_weight), torch.where(share > 0, share * (log_joint + log_q), 0.0).sum(0))


def tvo(
    log_weight: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"], partition: tuple[float, ...]
) -> Float[Tensor, "B"]:
    """The thermodynamic bound, with its covariance gradient: no sample has to be differentiable.

    `grad E_beta[log w] = E_beta[grad log w] + Cov_beta(grad log(p^beta q^(1 - beta)), log w)`, with the expectations
    taken by self-normalised weights: biased by order 1/K, except at beta = 0.

    Args:
        log_weight: log p(x, z_k) - log q(z_k|x), with its gradient. The samples z_k carry none.
        log_q: log q(z_k|x), the same tensor that is inside `log_weight`.
        partition: see `rp.tvo`.

    Reference:
        Masrani, Le, Wood, The Thermodynamic Variational Objective, 2019, arXiv 1907.00031, section 4.
    """
    bound = thermodynamic_bound(partition)
    betas, widths = bound.steps(log_weight)
    share = tempered(betas, log_weight.detach()).softmax(1)  # [P, K, B]
    signal, log_weight_or_zero = finite_signal(log_weight.detach()), possible(log_weight)
    centred = signal - (share * signal).sum(1, keepdim=True)
    # the covariance's own estimate from K samples is too small by (K - 1) / K where the shares are equal
    correction = 1 / (1 - share.square().sum(1, keepdim=True)).clamp_min(1 / len(signal))
    log_path = log_q + betas * log_weight_or_zero
    gradient = share * (log_weight_or_zero + correction * centred * log_path)
    return with_gradient_of(bound(log_weight), (widths * gradient).sum((0, 1)))
