"""The unordered-set estimator: expectations from distinct samples, drawn without replacement."""

from __future__ import annotations

from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from reparam.surrogates.score_function import with_gradient_of

MAX_SET = 6  # the probability of a set sums over the orders it can come in: 720 of them


def log_probability_of_set(log_probs: Float[Tensor, "K *rest"]) -> Float[Tensor, "*rest"]:
    """log of the probability that K draws without replacement give these K outcomes, in any order.

    `log sum over orders of prod_i p_i / (1 - sum over the earlier j of p_j)`.

    Args:
        log_probs: of K distinct outcomes, K from 0 to 6.
    """
    num_samples = log_probs.shape[0]
    if num_samples == 0:
        return log_probs.new_zeros(log_probs.shape[1:])
    # 1 - sum of p is formed from 1 - p of the likeliest, which expm1 knows to all digits where that p is nearly 1
    top = log_probs.argmax(0, keepdim=True)
    is_top = torch.zeros_like(log_probs, dtype=torch.bool).scatter(0, top, True)
    rest = torch.where(is_top, 0.0, log_probs.exp())
    without_top = -torch.expm1(log_probs.gather(0, top))
    orders = torch.tensor(list(permutations(range(num_samples))), device=log_probs.device)
    had_top = is_top[orders].cumsum(1)[:, :-1] > 0  # [orders, K - 1, ...]
    left = torch.where(had_top, without_top, 1.0) - rest[orders].cumsum(1)[:, :-1]
    return log_probs.sum(0) + (-_log(left).sum(1)).logsumexp(0)


def _log(probability: Tensor) -> Tensor:
    """The logarithm, finite where rounding leaves nothing."""
    return probability.clamp_min(torch.finfo(probability.dtype).tiny).log()


def _once_gone(log_probs: Tensor, gone: Tensor) -> Tensor:
    """Log-probabilities of the others once an outcome of log-probability `gone` cannot be drawn any more."""
    return (log_probs - _log(-torch.expm1(gone))).clamp_max(0.0)


def unordered_set(signal: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
    """An unbiased estimate of E[f(z)] from K distinct draws, with the unbiased gradient of the expectation.

    Value: `sum over s in S of q(s) R(S, s) f(s)`, with the leave-one-out ratio `R(S, s) = q(S without s, drawn when
    s is gone) / q(S)`. Gradient: `sum_s grad q(s) R(S, s) (f(s) - b_s) + sum_s q(s) R(S, s) grad f(s)`; the
    baseline b_s is the same estimate of E[f] made of S, given that s was drawn first.

    Args:
        signal: f(s) in nats; it may carry a gradient, but none through q.
        log_q: log q(s) of the distinct outcomes, in float64 if the distribution may be peaked.

    Raises:
        ValueError: fewer than two or more than six samples.

    Reference:
        Kool, van Hoof, Welling, Estimating Gradients for Discrete Random Variables by Sampling without Replacement,
        2020, arXiv 2002.06043, sections 3 and 4.
    """
    num_samples = signal.shape[0]
    if not 2 <= num_samples <= MAX_SET:
        raise ValueError(
            f"unordered_set received {num_samples} samples; it takes from 2 to {MAX_SET}, since it sums over all their "
            "orders. Use RLOO for more."
        )
    log_p = log_q.detach()
    everyone = log_probability_of_set(log_p)
    weights, baselines = [], []
    for s in range(num_samples):
        rescaled = _once_gone(_without(log_p, s), log_p[s])
        first = log_probability_of_set(rescaled)
        weights.append((log_p[s] + first - everyone).exp())
        baselines.append(_baseline(signal.detach(), log_p, rescaled, s, first))
    weight, baseline = torch.stack(weights), torch.stack(baselines)
    value = (weight * signal).sum(0)
    advantage = weight * (signal.detach() - baseline)
    return with_gradient_of(value, (advantage * log_q).sum(0) + value).to(signal.dtype)


def _baseline(signal: Tensor, log_p: Tensor, rescaled: Tensor, s: int, log_first: Tensor) -> Tensor:
    """Given that s came first, the rest are draws without it; s itself enters with its full probability."""
    rest = _without(signal, s)
    estimate = torch.zeros_like(log_first)
    for t in range(len(rescaled)):
        twice = _once_gone(_without(rescaled, t), rescaled[t])
        share = (rescaled[t] + log_probability_of_set(twice) - log_first).exp()
        estimate = estimate + share * rest[t]
    p = log_p[s].exp()
    return p * signal[s] + (1 - p) * estimate


def _without(values: Tensor, index: int) -> Tensor:
    return torch.cat([values[:index], values[index + 1 :]])
