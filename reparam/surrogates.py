"""Surrogates: tensors in, tensor out. The value is the bound, the gradient is the estimator."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rloo(log_weight: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
    """The ELBO, with REINFORCE's gradient and the other samples' mean as baseline (leave one out).

    Gradient: `1/K sum_k (log w_k - mean over j != k of log w_j) grad log q_k + 1/K sum_k grad log p(x, z_k)`,
        unbiased for
    the gradient of the ELBO. `grad log w` contains `-grad log q`, whose expectation is zero; it is left out, which
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
    if log_weight.shape != log_q.shape:
        raise ValueError(
            f"log_weight has shape {tuple(log_weight.shape)} and log_q {tuple(log_q.shape)}; both must be [K, B]."
        )
    num_samples = log_weight.shape[0]
    if num_samples < 2:
        raise ValueError(
            f"rloo received {num_samples} sample; it needs at least 2, as each is compared with the others' mean. "
            "Draw more samples, for example RLOO(num_samples=4)."
        )
    signal = log_weight.detach()
    # log w_k - mean of the others == K / (K - 1) (log w_k - mean of all)
    advantage = (signal - signal.mean(0)) * (num_samples / (num_samples - 1))
    gradient_part = (advantage * log_q + log_weight + log_q).mean(0)
    return signal.mean(0) + (gradient_part - gradient_part.detach())
