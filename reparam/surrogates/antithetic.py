"""Gradients for coins from two antithetic draws: ARM and DisARM, as functions of the logits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from reparam.surrogates.score_function import finite_signal


def arm(
    signal: Float[Tensor, "K B"], antithetic_signal: Float[Tensor, "K B"], noise: Float[Tensor, "K B *D"]
) -> Float[Tensor, "B *D"]:
    """The gradient of E[f] with respect to the logits of coins, by augment-REINFORCE-merge.

    `1/K sum_k (f(z_k) - f(z'_k)) (u_k - 1/2)` with `z = [logits + s > 0]`, `z' = [logits - s > 0]`, `u = sigmoid(s)`.
    Unbiased.

    Args:
        signal: f(z_k).
        antithetic_signal: f(z'_k), at the negated noise.
        noise: s, standard logistic.

    Reference:
        Yin, Zhou, ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks, 2018, arXiv 1807.11143,
        theorem 1.
    """
    difference = _like(_difference(signal, antithetic_signal), noise)
    return (difference * (noise.sigmoid() - 0.5)).mean(0)


def disarm(
    signal: Float[Tensor, "K B"],
    antithetic_signal: Float[Tensor, "K B"],
    coins: Float[Tensor, "K B *D"],
    antithetic_coins: Float[Tensor, "K B *D"],
    logits: Float[Tensor, "B *D"],
) -> Float[Tensor, "B *D"]:
    """ARM with the noise averaged out given both draws of the coins (DisARM, or U2G). Unbiased, of less variance.

    `1/K sum_k (f(z_k) - f(z'_k)) (z_k - z'_k) sigmoid(|logits|) / 2`; a coin alike in both draws adds nothing.

    Reference:
        Dong, Mnih, Tucker, DisARM: An Antithetic Gradient Estimator for Binary Latent Variables, 2020, arXiv
        2006.10680, section 3; Yin, Ho, Yan, Qian, Zhou, Probabilistic Best Subset Selection via Gradient-Based
        Optimization, 2020, arXiv 2006.06448 (U2G).
    """
    difference = _like(_difference(signal, antithetic_signal), coins)
    return (difference * (coins - antithetic_coins) * logits.abs().sigmoid()).mean(0) / 2


def _difference(signal: Tensor, antithetic_signal: Tensor) -> Tensor:
    first, second = finite_signal(torch.cat([signal, antithetic_signal])).chunk(2)
    return first - second


def _like(values: Tensor, coins: Tensor) -> Tensor:
    return values.reshape(*values.shape, *(1,) * (coins.ndim - values.ndim))
