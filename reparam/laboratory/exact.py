"""Exact gradients of bounds whose expectations are sums over the states of a latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reparam.bounds import tvo
from reparam.distributions.enumeration import joint_support
from reparam.draws import score
from reparam.model import LatentVariableModel

# of t = e^u: the trapezoid rule with this step has an error of e^-39, and what lies below the begin adds e^-40
_STEP, _BEGIN = 0.25, -40.0
_SMALLEST = -5000.0  # log-weights this far below the largest are taken for weights of zero


def state_scores(model: LatentVariableModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z) - log q(z|x) and log q(z|x) of all states z, each `[S, B]` in nats, with their gradients."""
    prior = model.prior()
    states = joint_support(prior)
    samples = score(model, x, states.unsqueeze(1).expand(-1, len(x), *prior.event_shape), model.posterior(x))
    return samples.log_weight, samples.log_posterior


def thermodynamic(bound: tvo, model: LatentVariableModel, x: Tensor) -> Tensor:
    """Minus the Riemann sum of the thermodynamic integral with exact expectations, averaged over the batch."""
    log_weight, log_q = state_scores(model, x)
    betas, widths = bound.steps(log_weight)
    share = (betas * log_weight + log_q).softmax(1)
    return -(widths * share * log_weight).sum((0, 1)).mean()


def importance_weighted(num_samples: int, model: LatentVariableModel, x: Tensor) -> Tensor:
    """Minus the expectation of the importance-weighted bound, averaged over the batch, for any number of samples."""
    # a weight of zero keeps its place, with no gradient: the difference of two infinities is no number
    log_weight, log_q = (each.clamp_min(torch.finfo(each.dtype).min) for each in state_scores(model, x))
    value, by_weight, by_q = expected_log_mean(log_weight.detach(), log_q.detach(), num_samples)
    bound = value + (by_weight * (log_weight - log_weight.detach()) + by_q * (log_q - log_q.detach())).sum(0)
    return -bound.mean()


def expected_log_mean(log_weight: Tensor, log_q: Tensor, num_samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """`E[log mean_k w(z_k)]` of K independent states z_k ~ q, with its derivatives, without going over tuples.

    By Frullani's integral `log a = integral (e^-t - e^(-a t)) dt / t`, and the K states are independent, so

        E[log sum_k w(z_k)] = integral (e^-t - phi(t)^K) dt / t,   phi(t) = sum_z q(z) e^(-w(z) t).

    Args:
        log_weight: log w of the states, `[S, B]`.
        log_q: log q of the states, `[S, B]`.
        num_samples: K.

    Returns:
        The expectation in nats `[B]`; its derivatives with respect to `log_weight`, `K q(z) E[w(z) / sum w]`, and
        `log_q`, less a multiple of q that a normalized q does not feel, each `[S, B]`.
    """
    dtype, largest = log_weight.dtype, log_weight.amax(0)
    log_w, log_q = (log_weight - largest).double(), log_q.double()
    value = torch.zeros_like(log_w[0])
    by_weight, by_q = torch.zeros_like(log_w), torch.zeros_like(log_w)
    end = 4 - max(_SMALLEST, float(log_w.min()))  # where e^(-w t) of the smallest weight has gone
    for u in torch.arange(_BEGIN, end, _STEP, dtype=torch.float64).tolist():
        log_wt = log_w + u
        wt = log_wt.exp()
        terms = (log_q - wt).exp()
        phi = terms.sum(0)
        base = math.exp(-math.exp(u)) if u < 7 else 0.0
        value += base - phi**num_samples
        slope = num_samples * phi ** (num_samples - 1)
        by_weight += slope * (log_q - wt + log_wt).exp()
        by_q -= slope * (terms - log_q.exp() * base)
    value = value * _STEP + largest - math.log(num_samples)
    return value.to(dtype), (by_weight * _STEP).to(dtype), (by_q * _STEP).to(dtype)
