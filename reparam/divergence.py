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


@dataclass(frozen=True, eq=False)
class Divergence:
    """KL(q || p) in nats.

    Attributes:
        value: `[*batch]`.
        standard_error: of `value` as an estimate, `[*batch]`; zero where it is in closed form.
        method: how it was found.
        by_part: of two chains of the same parts, the KL of each given those drawn before it, which sum to `value`.
    """

    value: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]
    method: Literal["closed form", "samples"]
    by_part: dict[str, Tensor] = field(default_factory=dict)


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
        return Divergence(*_mean(q.log_prob(z) - p.log_prob(z)), "samples")


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
    value, error = _mean(torch.stack([*terms.values()]).sum(0))
    if exact:
        return Divergence(value, torch.zeros_like(value), "closed form", by_part)
    return Divergence(value, error, "samples", by_part)


def _closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    try:
        return closed_kl(q, p)
    except NotImplementedError:
        return None


def _mean(terms: Tensor) -> tuple[Tensor, Tensor]:
    return terms.mean(0), terms.std(0) / len(terms) ** 0.5
