"""Student's t distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from reparam._tensors import at_least_float32
from reparam.distributions.elementwise import Elementwise, exp_in_range
from reparam.distributions.gamma_differences import digamma_difference
from reparam.distributions.gamma_draws import following, gamma_draws
from reparam.distributions.stirling import log_beta, log_gamma_ratio


class StudentT(Elementwise):
    """A normal variable whose precision is drawn from a gamma distribution: heavy, polynomial tails.

    `log_prob(x) = -(df + 1) / 2 log(1 + s^2 / df) - log scale - log(df) / 2 - log B(1/2, df / 2)` with
    `s = (x - loc) / scale`  (nats), in at least float32. It has no closed KL.

    torch's class has no half precision on the CPU, checks the degrees of freedom at each construction whatever
    `validate_args` says, and its density is infinitely small in float32 from 4e19 scales on. Here a draw beyond the
    largest number of the dtype becomes that number: in float32 one draw in 90 at df = 0.05, two of five at 0.01.

    Args:
        df: degrees of freedom, above 0; the mean exists above 1 and the variance above 2.
        loc: centre, any shape.
        scale: above 0.
        validate_args: as in `torch.distributions.Distribution`.

    Example:
        >>> StudentT(torch.tensor(4.0), torch.zeros(2), torch.ones(2)).log_prob(torch.tensor([0.0, 1e24]))
        tensor([  -0.9808, -273.8253])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    df: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        super().__init__(df, loc, scale, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return torch.where(self.df > 1, self.loc, torch.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.scale.square() * self.df / torch.where(self.df > 2, self.df - 2, 1.0)
        return torch.where(self.df > 2, finite, torch.where(self.df > 1, torch.inf, torch.nan))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        df, loc, scale = self._params()
        shape = self._extended_shape(sample_shape)
        half = df / 2
        number, log_factor = gamma_draws(half, shape)  # their product is df / 2 times the precision of a normal draw
        normal = torch.randn_like(number)
        log_precision = number.log() + log_factor + following(half, number, log_factor) - half.log()
        distance = exp_in_range(scale.log() + normal.abs().log() - log_precision / 2)
        largest = torch.finfo(self.loc.dtype).max
        return (loc + normal.sign() * distance).clamp(-largest, largest).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        df, loc, scale = self._params()
        distance, width = (at_least_float32(value) - loc).abs(), scale * df.sqrt()
        far = distance > width  # the square of distance / width may overflow, that of its inverse not
        outer, inner = torch.where(far, distance, width), torch.where(far, 0.0, distance) / width
        log_square = 2 * (outer.log() - width.log()) + (width / outer).square().log1p()
        power = torch.where(far, log_square, inner.square().log1p())
        return -0.5 * (df + 1) * power - scale.log() - 0.5 * df.log() - log_beta(torch.full_like(df, 0.5), df / 2)

    def entropy(self) -> Tensor:
        df, _, scale = self._params()
        half = df / 2
        spread = (half + 0.5) * digamma_difference(half, 0.5) + 0.5 * df.log() - log_gamma_ratio(half, 0.5)
        return spread + 0.5 * math.log(math.pi) + scale.log()
