"""What the log p(x|z) of a model is the logarithm of: numbers of different measures are not to be compared."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch.distributions import Distribution, constraints

from reparam._tensors import unwrap
from reparam.data import Data
from reparam.distributions import Bernoulli
from reparam.distributions.hyperspherical_uniform import unit_vector
from reparam.distributions.support import simplex
from reparam.hierarchy import Chain
from reparam.inspection import evaluating
from reparam.model import LatentVariableModel
from reparam.walks import support_of

PROBABILITY, DENSITY, BITS = "probability", "density", "probability of bits with these means"


def measure_of(model: LatentVariableModel, data: Data) -> str:
    """The kind of number that a bound of `model` on `data` is a bound of.

    Returns:
        "probability" of discrete values; "density" of real ones, which depends on their unit; "density on the simplex"
        or "density on the sphere"; "probability of bits with these means" where grey values are means of bits. Of
        parts of different kinds, each with the number of its values.
    """
    with evaluating(model, seed=0):
        likelihood = model.likelihood(model.prior().sample(torch.Size([1])))
        parts = _parts(likelihood)
    kinds = [(_kind(each, data), each.event_shape.numel()) for each in parts]
    merged = [(kind, sum(size for _, size in group)) for kind, group in groupby(kinds, key=lambda pair: pair[0])]
    return merged[0][0] if len(merged) == 1 else ", ".join(f"{kind} of {size} values" for kind, size in merged)


def _parts(likelihood: Distribution) -> list[Distribution]:
    base = unwrap(likelihood)[0]
    if isinstance(base, Chain):
        return [part for name in base.families for part in _parts(base.member(name))]
    return [likelihood]


def _kind(likelihood: Distribution, data: Data) -> str:
    base = unwrap(likelihood)[0]
    if isinstance(base, Bernoulli):
        return BITS if base.means and not _are_bits(data) else PROBABILITY
    try:
        support: Any = support_of(likelihood)
    except NotImplementedError:
        return "unknown"
    if support.is_discrete:
        return PROBABILITY
    surfaces = {constraints.simplex: "the simplex", simplex: "the simplex", unit_vector: "the sphere"}
    where = next((name for surface, name in surfaces.items() if support is surface), None)
    return DENSITY if where is None else f"{DENSITY} on {where}"


def _are_bits(data: Data) -> bool:
    """Whether every value is 0 or 1."""
    if data.protocol in ("dynamic", "static", "threshold"):
        return True
    return all(bool(((x == 0) | (x == 1)).all()) for x in data.batches(1024))
