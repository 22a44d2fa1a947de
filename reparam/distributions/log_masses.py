"""Log-probabilities of counts and of bins without cancellation, on the device and in the dtype of their parameters.

Counts go through the form of Loader: a probability is its size at the mode, Stirling's formula with a small correction,
times a power of e that vanishes there. No difference of large log-gammas remains.

Reference:
    Loader, Fast and Accurate Computation of Binomial Probabilities, 2000.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from reparam._tensors import at_least_float32
from reparam.distributions.stirling import remainder

LOG_TWO_PI = math.log(2 * math.pi)


def shortfall(x: Tensor, log_ratio: Tensor) -> Tensor:
    """`m - x - x log(m / x)`, at least 0, from x and `log_ratio = log(m / x)`: what a count of x loses at mean m."""
    return x * (torch.expm1(log_ratio) - log_ratio)


def split_counts(value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values as counts: with 1 for what is not a positive one, whether it is positive, and whether it is a count."""
    value = at_least_float32(value)
    inside = (value >= 0) & (value == value.floor()) & (value < torch.inf)
    positive = inside & (value > 0)
    return torch.where(positive, value, 1.0), positive, inside


def poisson_log_prob(log_rate: Tensor, value: Tensor) -> Tensor:
    """log of `e^(-rate) rate^x / x!`, `-inf` for what is no count."""
    x, positive, inside = split_counts(value)
    log_x = x.log()
    at_mode = -remainder(x) - (LOG_TWO_PI + log_x) / 2
    log_prob = torch.where(positive, at_mode - shortfall(x, log_rate - log_x), -log_rate.exp())
    return torch.where(inside, log_prob, -torch.inf)


def truncated_poisson_logits(log_rate: Tensor, largest: int) -> Tensor:
    """Unnormalised log-probabilities `[..., largest + 1]` of a Poisson count, given that it is at most `largest`."""
    log_rate = at_least_float32(log_rate).unsqueeze(-1)
    x = torch.arange(largest + 1, dtype=log_rate.dtype, device=log_rate.device)
    # Beyond the largest count a higher rate only tilts the weights; so no rate is large, and none overflows.
    usual = log_rate.clamp(max=math.log(largest))
    return poisson_log_prob(usual, x) + (x - largest) * (log_rate - usual)


def binomial_log_probs(logits: Tensor, total_count: int) -> Tensor:
    """Log-probabilities `[..., total_count + 1]` of the number of ones among coins with log-odds `logits`."""
    logits = at_least_float32(logits).unsqueeze(-1)
    k = torch.arange(total_count + 1, dtype=logits.dtype, device=logits.device)
    return binomial_log_prob(logits, total_count, k)


def binomial_log_prob(logits: Tensor, total_count: int, k: Tensor) -> Tensor:
    """log of the probability of k ones, a whole number from 0 on, among `total_count` coins with log-odds `logits`."""
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    n = torch.full_like(k, total_count)
    ones, zeros = k.clamp(min=1), (n - k).clamp(min=1)
    log_n, log_ones, log_zeros = n.log(), ones.log(), zeros.log()
    at_mode = remainder(n) - remainder(ones) - remainder(zeros)
    at_mode = at_mode + (log_n - log_ones - log_zeros - LOG_TWO_PI) / 2
    loss = shortfall(ones, log_p + log_n - log_ones) + shortfall(zeros, log_q + log_n - log_zeros)
    ends = total_count * torch.where(k == 0, log_q, log_p)
    return torch.where((k == 0) | (k == total_count), ends, at_mode - loss)


def log1mexp(x: Tensor) -> Tensor:
    """`log(1 - e^-x)` for x > 0."""
    return (-torch.expm1(-x)).log()


def logistic_bin_log_probs(loc: Tensor, scale: Tensor, edges: Tensor) -> Tensor:
    """Log-probabilities `[..., L]` of the bins that L - 1 rising edges cut from a logistic variable.

    `sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - e^(a - b))`: a product, whose logarithm loses nothing in the
    tails; in the first bin and in the last one a factor is 1.
    """
    scale = scale.unsqueeze(-1)
    at_edges = (edges - loc.unsqueeze(-1)) / scale
    below, above = F.logsigmoid(at_edges), F.logsigmoid(-at_edges)
    between = log1mexp(edges.diff() / scale)
    return F.pad(below, (0, 1)) + F.pad(above, (1, 0)) + F.pad(between, (1, 1))
