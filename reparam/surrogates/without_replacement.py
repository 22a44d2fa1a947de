"""The unordered-set estimator: expectations from distinct samples, drawn without replacement."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from reparam._tensors import possible
from reparam.surrogates.score_function import finite_signal, with_gradient_of

MAX_SET = 8  # every subset of the samples is gone through: 256 of them


def unordered_set(
    signal: Float[Tensor, "K B"], log_q: Float[Tensor, "K B"], log_outside: Float[Tensor, "subsets B"] | None = None
) -> Float[Tensor, "B"]:
    """An unbiased estimate of E[f(z)] from K distinct draws, with the unbiased gradient of the expectation.

    Value: `sum over s in S of q(s) R(S, s) f(s)`, with the leave-one-out ratio `R(S, s) = q(S without s, drawn when
    s is gone) / q(S)`. Gradient: `sum_s grad q(s) R(S, s) (f(s) - b_s) + sum_s q(s) R(S, s) grad f(s)`; the
    baseline b_s is the same estimate of E[f] made of S, given that s was drawn first.

    Args:
        signal: f(s) in nats; it may carry a gradient, but none through q.
        log_q: log q(s) of the distinct outcomes.
        log_outside: log of the probability of everything but a subset of the outcomes, one row for each of the 2^K
            subsets, in the order of the binary numbers whose bit k says that outcome k is in it. Without it, it is
            formed by subtraction, which has no digits left where the outcomes are nearly all there is.

    Raises:
        ValueError: fewer than two or more than eight samples.

    Reference:
        Kool, van Hoof, Welling, Estimating Gradients for Discrete Random Variables by Sampling without Replacement,
        2020, arXiv 2002.06043, sections 3 and 4.
    """
    num_samples = signal.shape[0]
    if not 2 <= num_samples <= MAX_SET:
        raise ValueError(
            f"unordered_set received {num_samples} samples; it takes from 2 to {MAX_SET}, since it goes through all "
            "their subsets. Use RLOO for more."
        )
    log_p = log_q.detach()
    signal = torch.where(log_p.exp() > 0, signal, 0.0)  # nothing is known, nor needed, of an outcome that is ruled out
    f = finite_signal(signal.detach())
    outside = _by_subtraction(log_p) if log_outside is None else log_outside.detach()
    log_rest = _log_probability_of_the_rest(log_p, outside)
    weights, baselines = [], []
    for s in range(num_samples):
        gone = 1 << s
        weights.append((log_p[s] + log_rest[gone] - log_rest[0]).exp())
        others = [t for t in range(num_samples) if t != s]
        shares = [(log_p[t] - outside[gone] + log_rest[gone | 1 << t] - log_rest[gone]).exp() for t in others]
        estimate = sum((share * f[t] for share, t in zip(shares, others, strict=True)), torch.zeros_like(f[s]))
        # s itself enters with its full probability, the estimate of the others with what is left
        baselines.append(f[s] * log_p[s].exp() + estimate * outside[gone].exp())
    weight, baseline = torch.stack(weights).to(signal.dtype), torch.stack(baselines)
    signal = torch.where(weight > 0, signal, 0.0)
    value, slope = (weight * signal).sum(0), (weight * possible(signal)).sum(0)
    return with_gradient_of(value, (weight * (f - baseline) * log_q).sum(0) + slope).to(signal.dtype)


def _log_probability_of_the_rest(log_p: Tensor, outside: Tensor) -> list[Tensor]:
    """For each subset R, the log-probability that the next draws, without replacement, give the rest of the set.

    From the full set backwards: `F(R) = log sum over i not in R of p_i / outside(R) * exp F(R and i)`.
    """
    num_samples = len(log_p)
    log_rest = [torch.zeros_like(log_p[0])] * 2**num_samples
    for subset in range(2**num_samples - 2, -1, -1):
        nexts = [i for i in range(num_samples) if not subset >> i & 1]
        terms = torch.stack([log_p[i] + log_rest[subset | 1 << i] for i in nexts])
        log_rest[subset] = terms.logsumexp(0) - outside[subset]
    return log_rest


def _by_subtraction(log_p: Tensor) -> Tensor:
    """log(1 - sum of a subset), for every subset; finite where rounding leaves nothing."""
    num_samples = len(log_p)
    members = torch.tensor([[subset >> k & 1 for k in range(num_samples)] for subset in range(2**num_samples)])
    left = 1 - members.to(log_p) @ log_p.exp()
    return left.clamp_min(torch.finfo(log_p.dtype).tiny).log()
