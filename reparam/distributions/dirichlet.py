"""The Dirichlet distribution, and the beta distribution as its case of two."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32
from reparam.distributions.dirichlet_divergence import dirichlet_divergence
from reparam.distributions.elementwise import Elementwise, above_zero, inside_unit, open_unit_interval
from reparam.distributions.gamma_draws import shares
from reparam.distributions.stirling import excess, remainder, remainder_slope
from reparam.distributions.support import simplex


def _log_density(x: Tensor, concentration: Tensor) -> Tensor:
    """`sum (a - 1) log x - log B(a)` over the last axis, without cancellation; `-inf` where an x is not positive.

    With the mean m and the sum n of the concentrations: `-sum a (x / m - 1 - log(x / m))` and what Stirling's formula
    leaves. The part linear in x sums to `n (sum x - 1) = 0`.
    """
    total = concentration.sum(-1)
    inside = (x > 0).all(-1)
    x = torch.where(inside.unsqueeze(-1), x, 1.0)
    deviance = concentration * excess(x / (concentration / total.unsqueeze(-1)))
    volume = 0.5 * (concentration / (2 * math.pi)).log() - remainder(concentration) - x.log()
    log_prob = (volume - deviance).sum(-1) - 0.5 * (total / (2 * math.pi)).log() + remainder(total)
    return torch.where(inside, log_prob, -torch.inf)


def _entropy(a: Tensor) -> Tensor:
    n, size = a.sum(-1), a.shape[-1]
    each = 0.5 * a.log() - 0.5 / a + remainder(a) - (a - 1) * remainder_slope(a)
    whole = (0.5 - size) * n.log() + 0.5 * size / n - remainder(n) + (n - size) * remainder_slope(n)
    return each.sum(-1) + whole + 0.5 * (size - 1) * (1 + math.log(2 * math.pi))


class Dirichlet(Distribution):
    """A point of the simplex, `log_prob(x) = sum_i (a_i - 1) log x_i - log B(a)`  (nats), in at least float32.

    Computed without the cancellation of log-gammas (torch's in float32 is off by 0.04 nat at four concentrations of
    1e4, and by 5 at 1e6). A value with a coordinate that is not positive, or whose sum is not 1, scores `-inf`.

    A draw is gamma draws divided by their sum, formed of their logarithms where those are tiny. A share below the
    smallest normal number becomes that number, see `Gamma`. Gradients of draws are first derivatives only.

    Of torch's draws at two concentrations of 1e-3 a quarter lie between 0.4 and 0.6, where 4 in 10^4 belong. Their
    gradients are wrong for a large concentration beside a small one: by 3% at (1e4, 1), lost in noise at (1e5, 3).

    Args:
        concentration: a, `[*batch, K]`, above 0.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> Dirichlet(torch.ones(3)).log_prob(torch.tensor([0.2, 0.3, 0.5])).exp()
        tensor(2.)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support = simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, *, validate_args: bool | None = None) -> None:
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        total = a.sum(-1, keepdim=True)
        major = a > total / 2  # whose difference to the total has the digits of the others
        others = torch.where(major, torch.where(major, 0.0, a).sum(-1, keepdim=True), total - a)
        return self.mean * (others / total) / (total + 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        shape = (*batch_shape, *self.event_shape)
        return Dirichlet(self.concentration.expand(shape), validate_args=self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        draws = shares(at_least_float32(self.concentration), self._extended_shape(sample_shape))
        return above_zero(draws, self.concentration.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(
            sums_to_one(value),
            _log_density(at_least_float32(value), at_least_float32(self.concentration)),
            -torch.inf,
        )

    def entropy(self) -> Tensor:
        return _entropy(at_least_float32(self.concentration))


def sums_to_one(x: Tensor) -> Tensor:
    """Whether the last axis does, up to the 0.004 that rounding it to bfloat16 may take away or add."""
    return (at_least_float32(x).sum(-1) - 1).abs() < 5e-3


class Beta(Elementwise):
    """A number in (0, 1), `log_prob(x) = (a - 1) log x + (b - 1) log(1 - x) - log B(a, b)`, in at least float32.

    Computed as the Dirichlet density of `(x, 1 - x)`. A value outside of the open interval scores `-inf`.

    A draw that would round to 0 or to 1 becomes the number next to it. Close to 1 numbers are sparse: in float32 this
    happens there to 3 draws in 10^4 at b = 0.5, to 8 in 10^3 at 0.3 and to every fifth at 0.1 (a = 1), each of which
    is scored about `log(1 / b)` nats too low: with smaller concentrations trust the closed KL, or use float64. With
    two concentrations below 1e-3 nearly all draws are next to one of the ends. Draws are those of `Dirichlet`.

    Args:
        concentration1: a, above 0, any shape; the mean is a / (a + b).
        concentration0: b, above 0.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> Beta(torch.ones(2), torch.ones(2), validate_args=False).log_prob(torch.tensor([0.5, 1.0])).exp()
        tensor([1., 0.])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = open_unit_interval
    concentration1: Tensor
    concentration0: Tensor

    def __init__(self, concentration1: Tensor, concentration0: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(concentration1, concentration0, validate_args=validate_args)

    def _pair(self) -> Tensor:
        return torch.stack(self._params(), -1)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.mean * (self.concentration0 / total) / (total + 1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        pair = self._pair()
        draws = shares(pair, self._extended_shape(sample_shape) + pair.shape[-1:])
        return inside_unit(draws[..., 0], self.concentration1.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value = at_least_float32(value)
        return _log_density(torch.stack([value, 1 - value], -1), self._pair())

    def entropy(self) -> Tensor:
        return _entropy(self._pair())


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlets(p: Dirichlet, q: Dirichlet) -> Tensor:
    return dirichlet_divergence(at_least_float32(p.concentration), at_least_float32(q.concentration))


@register_kl(Beta, Beta)
def _kl_betas(p: Beta, q: Beta) -> Tensor:
    return dirichlet_divergence(p._pair(), q._pair())
