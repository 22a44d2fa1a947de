"""Ways through a latent space that stay in it: what traversals and interpolations decode."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from reparam._tensors import at_least_float32, unwrap
from reparam.distributions import LevelSet, VonMises
from reparam.distributions.hyperspherical_uniform import unit_vector
from reparam.distributions.support import simplex
from reparam.hierarchy import Chain

DRAWS = 4096  # of the prior, for its quantiles


def moved(prior: Distribution, z: Tensor, columns: int) -> list[Tensor]:
    """For each variable of a draw `z`, `[*event]`, the draws `[values, *event]` in which it alone is moved."""
    if not isinstance(prior, Chain):
        return _moved(prior, z, columns)
    rows = []
    for name, part in prior.split(z).items():
        for values in _moved(prior.member(name), part, columns):
            others = {each: kept.expand(len(values), *kept.shape) for each, kept in prior.split(z).items()}
            rows.append(prior.join({**others, name: values}))
    return rows


def _moved(distribution: Distribution, z: Tensor, columns: int) -> list[Tensor]:
    support = support_of(distribution)
    if support is constraints.one_hot:
        symbols = z.reshape(-1, z.shape[-1])
        each = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        return [_put(symbols, index, each).reshape(-1, *z.shape) for index in range(len(symbols))]
    if support is constraints.boolean:
        values = torch.tensor([0.0, 1.0], dtype=z.dtype, device=z.device).expand(z.numel(), 2)
    else:
        draws = at_least_float32(distribution.sample(torch.Size([DRAWS]))).reshape(DRAWS, -1)
        at = torch.linspace(0.05, 0.95, columns, dtype=draws.dtype, device=z.device)
        # values that occur: counts stay counts
        values = draws.quantile(at, 0, interpolation="nearest").T.to(z.dtype)
    rows = [_put(z.reshape(-1), index, values[index]).reshape(-1, *z.shape) for index in range(z.numel())]
    return [_within(support, row, z, index) for index, row in enumerate(rows)]


def _put(z: Tensor, index: int, values: Tensor) -> Tensor:
    """Copies of `z`, `[n, ...]`, with each of `values` at `index`."""
    copies = z.repeat(len(values), *(1,) * z.dim())
    copies[:, index] = values
    return copies


def _within(support: Any, row: Tensor, z: Tensor, index: int) -> Tensor:
    """A row whose variable `index` was moved, with the others scaled so that each draw is in the support again."""
    if support not in (constraints.simplex, simplex, unit_vector):
        return row
    size = z.shape[-1]
    vectors = row.reshape(len(row), -1, size)
    vector, place = divmod(index, size)
    new, old = vectors[:, vector, place], z.reshape(-1, size)[vector, place]
    if support is not unit_vector:
        scale = (1 - new) / (1 - old).clamp_min(torch.finfo(z.dtype).tiny)
    else:
        scale = ((1 - new.square()).clamp_min(0) / (1 - old.square()).clamp_min(torch.finfo(z.dtype).tiny)).sqrt()
    others = torch.arange(size, device=z.device) != place
    vectors[:, vector] = torch.where(others, vectors[:, vector] * scale[:, None], vectors[:, vector])
    return vectors.reshape(row.shape)


def between(prior: Distribution, start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Draws on the way from `start` to `end`, each `[B, *event]`; `[B, steps, *event]`, the ends included."""
    if not isinstance(prior, Chain):
        return _between(prior, start, end, steps)
    ends = prior.split(end)
    parts = {name: _between(prior.member(name), part, ends[name], steps) for name, part in prior.split(start).items()}
    return prior.join(parts)


def _between(distribution: Distribution, start: Tensor, end: Tensor, steps: int) -> Tensor:
    support = support_of(distribution)
    start, end = start.unsqueeze(1), end.unsqueeze(1)  # [B, 1, *event]
    share = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
    share = share.reshape(-1, *(1,) * (start.dim() - 2))
    if support is constraints.boolean or support is constraints.one_hot:
        return _switched(start, end, share, symbols=support is constraints.one_hot)
    if isinstance(unwrap(distribution)[0], VonMises):
        turn = torch.remainder(end - start + math.pi, 2 * math.pi) - math.pi
        return torch.remainder(start + share * turn + math.pi, 2 * math.pi) - math.pi
    line = torch.where(share == 1, end, start + share * (end - start))
    if support is unit_vector:
        return torch.nn.functional.normalize(line, dim=-1)
    if isinstance(support, LevelSet):
        levels: Tensor = support.numbers((line / support.step).round(), line.dtype)
        return levels
    return line.round() if support.is_discrete else line


def _switched(start: Tensor, end: Tensor, share: Tensor, symbols: bool) -> Tensor:
    """Variables that differ are taken from the end one after another."""
    differ = start != end
    differ = differ.any(-1, keepdim=True) if symbols else differ
    flat = differ.flatten(2)
    turn = flat.cumsum(-1).reshape(differ.shape)  # which of the switches each variable is
    done = (share * flat.sum(-1).reshape(-1, *(1,) * (start.dim() - 1))).round()
    return torch.where(turn <= done, end, start)


def support_of(distribution: Distribution) -> Any:
    """The support of one number, symbol or vector of a draw."""
    support: Any = unwrap(distribution)[0].support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support
