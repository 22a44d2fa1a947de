"""REINFORCE in its variants: nothing has to be differentiable in z."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reparam._checks import choice
from reparam._tensors import log_mean_exp, possible


def with_gradient_of(value: Float[Tensor, "*shape"], surrogate: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value of the first and the gradient of the second, to the last digit; of an infinite one there is none."""
    constant = surrogate.detach()
    return value.detach() + (surrogate - constant).masked_fill(constant.isinf(), 0.0)


def finite_signal(signal: Float[Tensor, "K *rest"]) -> Float[Tensor, "K *rest"]:
    """A learning signal that a product with `grad log q` leaves finite: impossible samples, `-inf`, get a number.

    The number is the smallest finite signal on the first axis, less what makes its exponential vanish beside that one
    (32 nats in float32, 72 in float64); zero where no signal is finite, as nothing is known there. A bound with such a
    signal is `-inf` in expectation and has no gradient. The replaced one points away from what is impossible.
    """
    floor = 2 * math.log(torch.finfo(signal.dtype).eps)
    impossible = signal.detach() == -torch.inf
    least = signal.detach().masked_fill(impossible, torch.inf).amin(0)
    return torch.where(impossible, torch.where(least == torch.inf, 0.0, least + floor), signal)


def reinforce(
    signal: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"], baseline: Tensor | float = 0.0
) -> Float[Tensor, "B"]:
    """The mean of a signal f(z_k), z_k ~ q, with the score-function gradient of its expectation.

    Gradient: `1/K sum_k (f_k - baseline_k) grad log q_k + 1/K sum_k grad f_k`; unbiased if no baseline depends on its
    own z_k.

    Args:
        signal: f(z_k) in nats. It may carry a gradient, of the decoder for one, but none through q: as
            `E[grad log q] = 0`, log q inside the signal is better detached.
        log_q: log q(z_k|x). The samples carry no gradient.
        baseline: anything that broadcasts to `[K, B]`.

    Raises:
        ValueError: different shapes.

    Reference:
        Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, 1992.
    """
    _same_shape(signal, log_q)
    advantage = finite_signal(signal.detach()) - (baseline.detach() if isinstance(baseline, Tensor) else baseline)
    # of an example without a possible sample nothing is known, and a baseline would be a signal of its own
    advantage = advantage.masked_fill(signal.detach().amax(0) == -torch.inf, 0.0)
    return with_gradient_of(signal.mean(0), (advantage * log_q + possible(signal)).mean(0))


def advantage_over_others(signal: Float[Tensor, "K B"]) -> Float[Tensor, "K B"]:
    """Each signal less the mean of the others: the baseline that does not depend on its own sample. No gradient.

    Raises:
        ValueError: fewer than two samples.
    """
    num_samples = signal.shape[0]
    _at_least_two(num_samples)
    signal = finite_signal(signal.detach())
    return (signal - signal.mean(0)) * (num_samples / (num_samples - 1))


def rloo(log_weight: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
    """The ELBO, with REINFORCE's gradient and the other samples' mean as baseline (leave one out).

    Gradient: `1/K sum_k (log w_k - mean over j != k of log w_j) grad log q_k + 1/K sum_k grad log p(x, z_k)`, unbiased
    for the gradient of the ELBO. `grad log w` contains `-grad log q`, whose expectation is zero; it is left out, which
    lowers the variance.

    Args:
        log_weight: log p(x, z_k) - log q(z_k|x), with its gradient. The samples z_k carry none.
        log_q: log q(z_k|x), the same tensor that is inside `log_weight`.

    Returns:
        `log_weight.mean(0)` in nats, with the gradient above.

    Raises:
        ValueError: fewer than two samples, as there is no other one to compare with; different shapes.

    Reference:
        Kool, van Hoof, Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, ICLR workshop 2019; the estimator
        goes back to Mnih, Rezende, Variational inference for Monte Carlo objectives, 2016, arXiv 1602.06725.
    """
    _same_shape(log_weight, log_q)
    without_score = possible(log_weight + log_q)
    return with_gradient_of(log_weight.mean(0), (advantage_over_others(log_weight) * log_q + without_score).mean(0))


def vimco(
    log_weight: Float[Tensor, "K B"],
    log_q: Float[Tensor, "K B"],
    mean: Literal["geometric", "arithmetic"] = "geometric",
) -> Float[Tensor, "B"]:
    """The importance-weighted bound, with a score-function gradient and for each sample its own baseline.

    Gradient: `sum_k (L - L_-k) grad log q_k + sum_k softmax(log w)_k grad log w_k`, unbiased for the gradient of the
    bound `L = log mean_k w_k`; `L_-k` is L with w_k replaced by a mean of the other weights.

    Args:
        log_weight: log p(x, z_k) - log q(z_k|x), with its gradient. The samples z_k carry none.
        log_q: log q(z_k|x), the same tensor that is inside `log_weight`.
        mean: the geometric mean of the other weights, or the arithmetic one.

    Raises:
        ValueError: fewer than two samples; different shapes.

    Reference:
        Mnih, Rezende, Variational inference for Monte Carlo objectives, 2016, arXiv 1602.06725, section 2.5 (the
        local learning signals, with the geometric mean; the arithmetic one is discussed there too).
    """
    _same_shape(log_weight, log_q)
    choice("mean", mean, ("geometric", "arithmetic"))
    signal, num_samples = log_weight.detach(), len(log_weight)
    _at_least_two(num_samples)
    itself = torch.eye(num_samples, dtype=torch.bool, device=signal.device).unsqueeze(-1)  # [k, j, 1]
    if mean == "geometric":
        mean_of_others = torch.where(itself, 0.0, signal).sum(1, keepdim=True) / (num_samples - 1)
        replaced = torch.where(itself, mean_of_others, signal)
        without = log_mean_exp(replaced.transpose(0, 1))
    else:  # all K weights, one of them replaced by the mean of the rest, have the mean of the rest
        rest = torch.where(itself, -torch.inf, signal)
        without = rest.logsumexp(1) - math.log(num_samples - 1)
    bound = log_mean_exp(log_weight)
    # Beside weights of zero alone a sample's advantage is infinite; it counts as that over weights that vanish beside
    # its own. Where all are zero there is none.
    most = -2 * math.log(torch.finfo(signal.dtype).eps)
    advantage = (bound.detach() - without).nan_to_num(nan=0.0, posinf=most)
    return with_gradient_of(bound, (advantage * log_q).sum(0) + possible(bound))


def _at_least_two(num_samples: int) -> None:
    if num_samples < 2:
        raise ValueError(
            f"received {num_samples} sample; rloo and vimco need at least 2, as each is compared with the others. "
            "Draw more samples, for example RLOO(num_samples=4)."
        )


def _same_shape(log_weight: Tensor, log_q: Tensor) -> None:
    if log_weight.shape != log_q.shape:
        raise ValueError(
            f"log_weight has shape {tuple(log_weight.shape)} and log_q {tuple(log_q.shape)}; both must be [K, B]."
        )
