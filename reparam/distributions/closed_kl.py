"""KL(q || p) in closed form: the one place that finds it, for torch's distributions and this library's."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, Independent, TransformedDistribution, kl_divergence

from reparam.distributions import covariance_kl, cross_kl, discrete_kl, family_kl
from reparam.distributions.conversion import ours, unrounded

_FORMS = {**family_kl.FORMS, **covariance_kl.FORMS, **discrete_kl.FORMS, **cross_kl.FORMS}

# torch's own, whose registered form is that of their base; somebody's subclass may have another
_TRANSFORMED = (
    TransformedDistribution,
    td.HalfCauchy,
    td.InverseGamma,
    td.Kumaraswamy,
    td.LogisticNormal,
    td.LogNormal,
    td.RelaxedBernoulli,
    td.RelaxedOneHotCategorical,
    td.Weibull,
)


def closed_kl(q: Distribution, p: Distribution) -> Tensor:
    """KL(q || p) in nats, in closed form: at least 0, and `inf` where p rules out what q does not.

    torch's classes are scored by this library's where there is one of the same values, and by forms without
    cancellation where not. (torch's own, in float32: -10.9 for Poisson rates of 1e7 and 1.0001e7, where 0.05 is right;
    `inf` for a normal of scale 1e-23, where 52.5 is right; 23.9 for two continuous Bernoullis, where 2.26 is right.)
    Other pairs are looked up among those registered with `torch.distributions.kl.register_kl`.

    Args:
        q, p: distributions of one event shape, whose batch shapes broadcast.

    Returns:
        `[*batch]`, with a gradient for the parameters of both; where it is infinite, without one.

    Raises:
        NotImplementedError: no closed form is known for this pair.

    Example:
        >>> import torch
        >>> closed_kl(td.Normal(torch.tensor(0.0), 1e-23), td.Normal(0.0, 1.0))
        tensor(52.4595)
    """
    return _closed(unrounded(q), unrounded(p)).clamp_min(0.0)  # rounding may leave less where both are nearly equal


def _closed(q: Distribution, p: Distribution) -> Tensor:
    if type(q) is Independent and type(p) is Independent:
        return _of_independent(q, p)
    form = _FORMS.get((type(q), type(p)))
    if form is not None:
        return form(q, p)
    if type(q) in _TRANSFORMED and type(p) in _TRANSFORMED:
        return _of_transformed(q, p)
    our_q, our_p = ours(q), ours(p)
    form = _FORMS.get((type(our_q), type(our_p)))
    if form is not None:
        return form(our_q, our_p)
    if our_q is not q or our_p is not p:
        try:
            return kl_divergence(our_q, our_p)
        except NotImplementedError:  # somebody may have registered the pair as it came
            pass
    return kl_divergence(q, p)


def _of_independent(q: Any, p: Any) -> Tensor:
    num_axes = q.reinterpreted_batch_ndims
    if num_axes != p.reinterpreted_batch_ndims:
        raise NotImplementedError("KL between distributions of other numbers of independent axes has no closed form.")
    kl = _closed(q.base_dist, p.base_dist)
    return kl.flatten(-num_axes).sum(-1) if num_axes else kl


def _of_transformed(q: Any, p: Any) -> Tensor:
    """An invertible map changes no KL. Of the others only |x| does not, where both are symmetric about 0."""
    symmetric = type(q) is type(p) is td.HalfCauchy
    invertible = symmetric or all(transform.bijective for transform in q.transforms)
    if not invertible or q.transforms != p.transforms or q.event_shape != p.event_shape:
        raise NotImplementedError("KL between maps of distributions is known where both have the same invertible map.")
    return _closed(q.base_dist, p.base_dist)
