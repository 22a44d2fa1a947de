"""KL between Dirichlet distributions, without cancellation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reparam.distributions.gamma_differences import digamma_excess, trigamma_excess
from reparam.distributions.stirling import excess, remainder, remainder_curvature, remainder_slope


def dirichlet_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL in nats over the last axis between Dirichlet distributions of concentrations `a` and `b`.

    It is that of independent gammas, less that of their sums n and m: `sum b (t - 1 - log t)` for unequal means, with
    `t = (a / b) (m / n)`, and for unequal concentrations what `shape_divergence` is for each, less that for n. Where
    one concentration c of a is nearly all of n, its own term and that of n are nearly equal. Their difference is
    therefore formed from what the others, A of a and B of b, add to c and to its partner d in b.
    """
    a, b = torch.broadcast_tensors(a, b)
    function: Any = _Divergence
    divergence: Tensor = function.apply(a, b)
    return divergence


class _Divergence(torch.autograd.Function):
    """With derivatives in closed form, which cancel as little and take half the time of differentiating the forms."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        n, m, is_largest, c, d, rest_a, rest_b = _split(a, b)
        at_a, at_n, at_b, at_m = remainder(torch.cat([a, n, b, m], -1)).split([a.shape[-1], 1, a.shape[-1], 1], -1)
        slope_a, slope_n = remainder_slope(torch.cat([a, n], -1)).split([a.shape[-1], 1], -1)
        each = b * excess((a / b) * (m / n)) + (at_b - at_a)
        each = each + torch.where(is_largest, 0.0, 0.5 * excess(b / a) - (b - a) * slope_a)
        whole = (d - c) * digamma_excess(c, rest_a) - 0.5 * _log_growth(c, d, n, m, rest_a, rest_b)
        whole = whole + (rest_b - rest_a) * (slope_n - 0.5 / n) + (at_n - at_m)
        divergence: Tensor = each.sum(-1) + whole.squeeze(-1)
        return divergence

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        a, b = ctx.saved_tensors
        gradient = gradient.unsqueeze(-1)
        n, m, is_largest, c, d, rest_a, rest_b = _split(a, b)
        sums = torch.cat([a, n], -1)
        trigammas = remainder_curvature(sums) + 0.5 * sums.reciprocal().square()  # less 1 / a and 1 / n
        of_a, of_n = trigammas.split([a.shape[-1], 1], -1)
        # (a - b) trigamma(a) - (n - m) trigamma(n)
        of_largest = (c * rest_b - d * rest_a) / (c * n) + (c - d) * trigamma_excess(c, rest_a)
        of_largest = of_largest + (rest_b - rest_a) * of_n
        of_others = (m / n - b / a) + (a - b) * of_a - (n - m) * of_n
        by_a = gradient * torch.where(is_largest, of_largest, of_others)
        if not ctx.needs_input_grad[1]:
            return by_a, None
        # digamma(b) - digamma(a) - digamma(m) + digamma(n)
        sums = torch.cat([a, n, b, m], -1)
        at_a, at_n, at_b, at_m = (remainder_slope(sums) - 0.5 / sums).split([a.shape[-1], 1, a.shape[-1], 1], -1)
        of_others = (at_b - at_a) - (at_m - at_n) - ((a / b) * (m / n)).log()
        of_largest = digamma_excess(c, rest_a) - digamma_excess(d, rest_b)
        of_largest = of_largest + _log_growth(c, d, n, m, rest_a, rest_b)
        return by_a, gradient * torch.where(is_largest, of_largest, of_others)


def _split(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """The sums n and m, which concentration of a is its largest, c and its partner d, and the sums of the others."""
    largest = a.argmax(-1, keepdim=True)
    is_largest = torch.zeros_like(a, dtype=torch.bool).scatter(-1, largest, True)
    rest_a, rest_b = (torch.where(is_largest, 0.0, x).sum(-1, keepdim=True) for x in (a, b))
    c, d = a.gather(-1, largest), b.gather(-1, largest)
    return c + rest_a, d + rest_b, is_largest, c, d, rest_a, rest_b


def _log_growth(c: Tensor, d: Tensor, n: Tensor, m: Tensor, rest_a: Tensor, rest_b: Tensor) -> Tensor:
    """`log(d n / (c m))`"""
    growth = (d * rest_a - c * rest_b) / (c * m)
    near = growth.abs() < 0.5
    return torch.where(near, torch.where(near, growth, 0.0).log1p(), (d / c).log() + (n / m).log())
