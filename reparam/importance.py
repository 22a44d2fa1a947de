"""What K importance weights say of log p(x): an estimate, its error, and whether their tail is too heavy for it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

FEWEST = 100  # weights from which on a tail is judged; with fewer the fit's prior, k = 0.5, is above the threshold
_ONE_BY_ONE, _POWERS = 8, 12  # largest weights that are left out exactly; terms of the series for the others
_TIED = 1e-4  # log-weights nearer than this are one value: scores of one state differ by so much in float32
_RESOLVED = 5  # a largest value drawn so often is the end of the tail


def jackknife(log_weight: Float[Tensor, "K B"]) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x) without the bias of order 1/K, with its squared error and that of the importance-weighted bound.

    `L_n = log mean of n weights` is the bound, and `D_n = n L_n - (n - 1) mean_k L_k` the estimate, with `L_k` the
    bound that leaves out weight k; an estimate above the largest log-weight is cut to that. A squared error is
    `sum_k (T_k - mean T)^2` over the K values `T_k` that leave out one weight, for `L_K` and for `D_K`. By Efron and
    Stein its expectation is at least the variance of the same quantity of K - 1 weights, however heavy their tail.

    `D_k` leaves out pairs of weights. The pairs with one of the eight largest weights are summed one by one; for the
    others `sum log(1 - w / S)` is a power series in w / S <= 1/8 with an error below 1e-11. So the cost is of order K.

    Args:
        log_weight: log p(x, z_k) - log q(z_k | x), in nats.

    Returns:
        The estimate `[B]` in nats; its squared error `[B]`, NaN for K < 3; the bound's squared error `[B]`, NaN for
        K = 1. Where every weight is zero, the estimate is -inf and the errors are NaN.

    Reference:
        Nowozin, Debiasing Evidence Approximations, ICLR 2018; Efron, Stein, The Jackknife Estimate of Variance, Annals
        of Statistics 9, 1981.
    """
    n, unknown = len(log_weight), torch.full_like(log_weight[0], math.nan)
    if n == 1:
        return log_weight[0], unknown, unknown
    largest = log_weight.amax(0)
    nothing = largest == -math.inf
    weights = (log_weight - largest.where(~nothing, 0.0)).exp().sort(0, descending=True).values
    rest = _floored(weights[1:].sum(0))  # without the largest; as a difference it would have no digits left
    total = weights[0] + rest
    left = torch.cat([rest.unsqueeze(0), total - weights[1:]])
    log_left = left.log()
    bound_error = (log_left - log_left.mean(0)).square().sum(0)
    debiased = _debiased(n, total.log(), log_left.mean(0)).clamp_max(0.0)
    error = _error_of_debiased(weights, left, log_left) if n > 2 else unknown
    value = (largest + debiased).where(~nothing, largest)
    return value, error.where(~nothing, unknown), bound_error.where(~nothing, unknown)


def _debiased(n: int, log_total: Tensor, mean_log_left: Tensor) -> Tensor:
    """`n L_n - (n - 1) mean L_k`, from the logarithms of the sum of n weights and of the sums that leave out one."""
    return n * (log_total - math.log(n)) - (n - 1) * (mean_log_left - math.log(n - 1))


def _error_of_debiased(weights: Tensor, left: Tensor, log_left: Tensor) -> Tensor:
    """The squared error of `D_K`, from the weights in falling order and what remains without each of them, `[K, B]`."""
    n, first = len(weights), min(_ONE_BY_ONE, len(weights))
    rest, without_two = left[0], _floored(weights[2:].sum(0))
    log_pairs = torch.zeros_like(weights)  # sum over k of the logarithm of what remains without j and k
    for k in range(first):
        remaining = (rest if k == 0 else left) - weights[k if k else slice(None)]
        remaining[k] = 1.0  # j itself is no pair
        if k < 2:
            remaining[1 - k] = without_two
        log_pairs += _floored(remaining).log()
    if n > first:
        log_pairs += (n - first) * log_left + _log_shrinkage(weights[first:] / rest, rest / left)
        own = log_left[first:] + torch.log1p(-weights[first:] / left[first:])
        log_pairs[first:] -= own
    debiased = _debiased(n - 1, log_left, log_pairs / (n - 1))
    debiased[0] = debiased[0].minimum(_floored(weights[1]).log())
    debiased[1:].clamp_max_(0.0)
    return (debiased - debiased.mean(0)).square().sum(0)


def _log_shrinkage(small: Tensor, factor: Tensor) -> Tensor:
    """`sum over k of log(1 - small_k factor_j)` for each j, by the power series of the logarithm."""
    powers, power = [], small.clone()
    for m in range(1, _POWERS + 1):
        powers.append(power.sum(0) / m)
        power *= small
    found = torch.zeros_like(factor)
    for coefficient in reversed(powers):
        found = (found - coefficient) * factor
    return found


def _floored(values: Tensor) -> Tensor:
    """Sums of weights, kept above 0 for a logarithm."""
    return values.clamp_min(torch.finfo(values.dtype).tiny)


def pareto_k(log_weight: Float[Tensor, "K B"]) -> Tensor:
    """Shape k of the generalized Pareto distribution that fits the largest weights of each example.

    The tail of the weights falls like `w^(-1/k)`: their variance is infinite from k = 0.5 on, their mean from k = 1 on.
    Fitted are the `min(K / 5, 3 sqrt(K))` largest weights above the next one, with Zhang and Stephens' estimate, which
    needs no iterations, and the prior of Vehtari et al., worth ten weights at k = 0.5. Weights of one value, as a
    discrete latent gives, are spread evenly down to the next value first; where the largest value was drawn five times
    or more, the tail ends there, and k is -1, as of a uniform distribution.

    Args:
        log_weight: log p(x, z_k) - log q(z_k | x), in nats; K >= 25.

    Returns:
        k, `[B]`; inf where every weight is zero.

    Reference:
        Vehtari, Simpson, Gelman, Yao, Gabry, Pareto Smoothed Importance Sampling, JMLR 25, 2024, arXiv 1507.02646;
        Zhang, Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution, Technometrics
        51, 2009.
    """
    n = len(log_weight)
    size = int(min(n / 5, 3 * math.sqrt(n)))
    largest = log_weight.amax(0)
    nothing = largest == -math.inf
    values = (log_weight - largest.where(~nothing, 0.0)).sort(0, descending=True).values
    weights = _untied(values)
    k = _shape((weights[:size] - weights[size]).flip(0))
    k = k.where(values[0] - values[_RESOLVED - 1] > _TIED, -1.0)
    return k.where(~nothing, math.inf)


def reliable_below(num_samples: int) -> float:
    """The k up to which an average of so many weights can be relied on: `min(1 - 1 / log10(K), 0.7)`.

    Reference:
        Vehtari, Simpson, Gelman, Yao, Gabry, Pareto Smoothed Importance Sampling, JMLR 25, 2024, arXiv 1507.02646.
    """
    return min(1 - 1 / math.log10(num_samples), 0.7)


def _untied(log_values: Tensor) -> Tensor:
    """exp of falling log-values; several of one value are spread evenly from it down to the next one."""
    n = len(log_values)
    index = torch.arange(n, device=log_values.device).unsqueeze(1).expand_as(log_values)
    begins = torch.ones_like(log_values, dtype=torch.bool)
    begins[1:] = log_values[:-1] - log_values[1:] > _TIED
    first = torch.where(begins, index, 0).cummax(0).values
    ends = begins.roll(-1, 0)  # the next one begins anew, or there is none
    last = torch.where(ends, index, n - 1).flip(0).cummin(0).values.flip(0)
    weights = torch.cat([log_values.exp(), torch.zeros_like(log_values[:1])])
    high, low = weights.gather(0, first), weights.gather(0, last + 1)
    return high - (high - low) * (index - first) / (last + 1 - first)


def _shape(excess: Tensor) -> Tensor:
    """k of rising excesses over a threshold, `[M, B]`, from their profile likelihood in theta = -k / scale."""
    m = len(excess)
    points = 30 + int(math.sqrt(m))
    quartile, top = excess[int(m / 4 + 0.5) - 1].clamp_min(1e-300), excess[-1].clamp_min(1e-300)
    thetas, scores = [], []
    for i in range(points):
        theta = 1 / top + (1 - math.sqrt(points / (i + 0.5))) / (3 * quartile)
        k = torch.log1p(-theta * excess).mean(0)
        thetas.append(theta)
        scores.append((m * ((-theta / k).log() - k - 1)).nan_to_num(-math.inf))
    theta = (torch.stack(thetas) * torch.stack(scores).softmax(0)).sum(0)
    k = torch.log1p(-theta * excess).mean(0)
    return (m * k + 10 * 0.5) / (m + 10)
