"""kl(q, p): in closed form where there is one, from samples where not, and it says which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from reparam._checks import whole
from reparam.distributions import closed_kl
from reparam.hierarchy.chain import Chain, same_layout

_RULES, _ENOUGH = 0.25, 100  # share of the variance from which on one of enough draws rules it


@dataclass(frozen=True, eq=False)
class Divergence:
    """KL(q || p) in nats.

    Attributes:
        value: `[*batch]`.
        standard_error: of `value` as an estimate, `[*batch]`; zero where it is in closed form. NaN where one of at
            least 100 draws makes more than a quarter of the variance: the variance may be infinite, as from
            StudentT(3) to a normal, or comes of draws too rare to have been seen. Raise `num_samples`; if NaN stays, no
            error can be given.
        method: how it was found.
        by_part: of two chains of the same parts, the KL of each given those drawn before it, which sum to `value`.
        heaviest: of samples, `[*batch]`: share of the variance of log q - log p that its farthest draw makes.
    """

    value: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]
    method: Literal["closed form", "samples"]
    by_part: dict[str, Tensor] = field(default_factory=dict)
    heaviest: Float[Tensor, "*batch"] | None = None


def kl(q: Distribution, p: Distribution, *, num_samples: int = 1000) -> Divergence:
    """KL(q || p), in closed form where one is known, and else as the mean of log q - log p over draws of q.

    Between two chains each part's KL is `E_q[KL(q(z_l | before) || p(z_l | before))]`: the inner one in closed form
    where both draw their parts in one order and it is known, which takes most of the noise away; else the mean of the
    part's own log q - log p, which may be negative although the sum of all parts is not.

    Args:
        q, p: distributions of one event shape, p with the batch shape of q or none. No gradient passes.
        num_samples: how many draws of q, where there is no closed form.

    Raises:
        ValueError: other event shapes, or a batch shape of p that is neither q's nor empty.

    Example:
        >>> from torch.distributions import Laplace, Normal, StudentT
        >>> kl(Normal(0.0, 1.0), Laplace(0.0, 1.0)).method, kl(Normal(0.0, 1.0), StudentT(3.0)).method
        ('closed form', 'samples')
    """
    whole("num_samples", num_samples, least=2)
    if q.event_shape != p.event_shape:
        raise ValueError(
            f"q has event shape {tuple(q.event_shape)} and p {tuple(p.event_shape)}; both must be distributions of the "
            "same variable. Wrap per-element distributions in torch.distributions.Independent."
        )
    if p.batch_shape not in (torch.Size(), q.batch_shape):
        raise ValueError(
            f"q has batch shape {tuple(q.batch_shape)} and p {tuple(p.batch_shape)}; p has that of q or none, so that "
            "no draw of q meets another one's p. Expand one of them, or wrap axes in torch.distributions.Independent."
        )
    with torch.no_grad():
        if isinstance(q, Chain) and isinstance(p, Chain) and same_layout(q, p):
            return _of_chains(q, p, num_samples)
        value = _closed_form(q, p)
        if value is not None:
            return Divergence(value, torch.zeros_like(value), "closed form")
        z = q.sample((num_samples,))
        return _of_samples(q.log_prob(z) - p.log_prob(z))


def _of_chains(q: Chain, p: Chain, num_samples: int) -> Divergence:
    z = q.sample((num_samples,))
    values = q.split(z)
    q_parts, p_parts = dict(q.parts(values)), dict(p.parts(values))
    same_order = list(q_parts) == list(p_parts)
    shape = (num_samples, *q.batch_shape)
    terms, exact = {}, True
    for name, value in values.items():
        term = _closed_form(q_parts[name], p_parts[name]) if same_order else None
        exact = exact and term is not None and term.ndim < len(shape)
        ratio = q_parts[name].log_prob(value) - p_parts[name].log_prob(value) if term is None else term
        terms[name] = ratio.expand(shape)
    by_part = {name: term.mean(0) for name, term in terms.items()}
    total = torch.stack([*terms.values()]).sum(0)
    if exact:
        value = total.mean(0)
        return Divergence(value, torch.zeros_like(value), "closed form", by_part)
    return _of_samples(total, by_part)


def _closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    try:
        return closed_kl(q, p)
    except NotImplementedError:
        return None


def _of_samples(terms: Tensor, by_part: dict[str, Tensor] | None = None) -> Divergence:
    """The mean of log q - log p over draws of q, `[K, *batch]`, with its error where draws can show one."""
    mean = terms.mean(0)
    squares = (terms - mean).square()
    total = squares.sum(0)
    heaviest = torch.where(total > 0, squares.amax(0) / total, 0.0)
    error = (total / (len(terms) * (len(terms) - 1))).sqrt()
    if len(terms) >= _ENOUGH:
        error = torch.where(heaviest > _RULES, torch.nan, error)
    return Divergence(mean, error, "samples", by_part or {}, heaviest)
