"""KL(q || p) between torch's discrete distributions, with their limits at probabilities of 0 and 1."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributions as td

from reparam._tensors import at_least_float32
from reparam.distributions.bernoulli import Bernoulli, kl_of_logits
from reparam.distributions.binomial import Binomial
from reparam.distributions.conversion import log_odds, log_probs, ours
from reparam.distributions.family_kl import Form
from reparam.distributions.one_hot_categorical import kl_of_log_probs
from reparam.distributions.poisson import Poisson
from reparam.distributions.ratios import log1p_gap, log_ratio


def _poissons(q: td.Poisson, p: td.Poisson) -> Tensor:
    return _of_rates(at_least_float32(q.rate), at_least_float32(p.rate))


def _of_rates(q_rate: Tensor, p_rate: Tensor) -> Tensor:
    """`q log(q / p) - q + p`, with its limits at rates of zero."""
    positive = (q_rate > 0) & (p_rate > 0)
    q, p = torch.where(positive, q_rate, 1.0), torch.where(positive, p_rate, 1.0)
    near = (p - q).abs() < 0.5 * q
    close_q, close_p = torch.where(near, q, 1.0), torch.where(near, p, 1.0)
    close = close_q * log1p_gap((close_p - close_q) / close_q)
    far = (p - q) + q * log_ratio(q, p)
    certain = torch.where(q_rate > 0, torch.inf, p_rate)
    return torch.where(positive, torch.where(near, close, far), certain)


def _bernoullis(q: td.Bernoulli, p: td.Bernoulli) -> Tensor:
    return kl_of_logits(at_least_float32(log_odds(q)), at_least_float32(log_odds(p)))


def _categoricals(q: td.Categorical, p: td.Categorical) -> Tensor:
    return kl_of_log_probs(*(at_least_float32(log_probs(each)).log_softmax(-1) for each in (q, p)))


def _geometrics(q: td.Geometric, p: td.Geometric) -> Tensor:
    """That of their coins, for each throw up to the first success."""
    logits = at_least_float32(log_odds(q))
    return kl_of_logits(logits, at_least_float32(log_odds(p))) * (1 + (-logits).exp())


def _binomials(q: td.Binomial, p: td.Binomial) -> Tensor:
    if (q.total_count < p.total_count).any():
        raise NotImplementedError("KL to a binomial of a larger total_count has no closed form.")
    q_logits, p_logits = at_least_float32(log_odds(q)), at_least_float32(log_odds(p))
    nothing = -p.total_count * F.logsigmoid(-p_logits)  # from zero ones for certain
    more = torch.where(q_logits == -torch.inf, nothing, torch.inf)
    return torch.where(q.total_count == p.total_count, p.total_count * kl_of_logits(q_logits, p_logits), more)


def _coin_to_poisson(q: Any, p: Any) -> Tensor:
    """That of two Poisson counts, and `(1 - p) log(1 - p) + p` of the coin's probability p."""
    logits = at_least_float32(cast(Bernoulli, ours(q)).logits)
    rate = at_least_float32(p.rate) if isinstance(p, td.Poisson) else at_least_float32(p.log_rate).exp()
    rest, odds = (-logits).sigmoid(), logits.clamp_max(0.0).exp()
    likely = logits.sigmoid() + rest * F.logsigmoid(-logits.clamp(0.0, 1e4))
    return _of_rates(logits.sigmoid(), rate) + torch.where(logits > 0, likely, rest * log1p_gap(odds))


def _poisson_to_coins(q: Any, p: Any) -> Tensor:
    """A Poisson count has no largest value, unless its rate is zero."""
    rate = at_least_float32(q.rate) if isinstance(q, td.Poisson) else at_least_float32(q.log_rate).exp()
    logits = log_odds(p) if isinstance(p, td.Bernoulli | td.Binomial) else p.logits
    number = getattr(p, "total_count", 1)
    nothing = -number * F.logsigmoid(-at_least_float32(logits))
    return torch.where(rate > 0, torch.inf, nothing)


FORMS: dict[tuple[type, type], Form] = {
    (td.Bernoulli, td.Bernoulli): _bernoullis,
    (td.Binomial, td.Binomial): _binomials,
    (td.Categorical, td.Categorical): _categoricals,
    (td.Geometric, td.Geometric): _geometrics,
    (td.Poisson, td.Poisson): _poissons,
    **{(q, p): _coin_to_poisson for q in (td.Bernoulli, Bernoulli) for p in (td.Poisson, Poisson)},
    **{(q, p): _poisson_to_coins for q in (td.Poisson, Poisson) for p in (td.Bernoulli, Bernoulli)},
    **{(q, p): _poisson_to_coins for q in (td.Poisson, Poisson) for p in (td.Binomial, Binomial)},
}
