"""Draws in 16 bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from reparam._tensors import at_least_float32, independent, least_positive, unwrap, version_of, within_range
from reparam.distributions.flow import Flow
from reparam.distributions.support import LevelSet, simplex

if TYPE_CHECKING:  # generic from torch 2.7 on
    _Independent = Independent[Distribution]
else:
    _Independent = Independent


class Rounded(_Independent):
    """A distribution whose draws are in 16 bits, while its parameters, scores and moments stay in float32.

    A draw is rounded to the nearest number of `dtype` in the support. A draw inside stays inside: a positive draw never
    becomes 0, and a draw below 1 never becomes 1. `log_prob` is the density of `distribution` at the given value, which
    may be in any dtype. The exception is the last draw of a `Flow`, which the flow remembers: its score is the density
    before rounding, which needs no inverse.

    Rounding moves a draw by up to 2^-8 (bfloat16) or 2^-11 (float16) of itself. Rounded draws of a narrow distribution
    score too low: a normal number by `d^2 / 24 scale^2` nats on average, where d is the distance between neighbouring
    numbers of `dtype`.

    Args:
        distribution: with parameters in at least float32. `base_dist` is the distribution inside its `Independent`s.
        dtype: of the draws, `torch.bfloat16` or `torch.float16`.
        validate_args: whether `log_prob` refuses values outside the support.

    Example:
        >>> from torch.distributions import Normal
        >>> noise = Rounded(Normal(torch.zeros(3), torch.ones(3)), torch.bfloat16)
        >>> noise.sample().dtype, noise.log_prob(noise.sample()).dtype
        (torch.bfloat16, torch.float32)
    """

    def __init__(self, distribution: Distribution, dtype: torch.dtype, *, validate_args: bool | None = False) -> None:
        self.dtype = dtype
        self._drawn: tuple[Tensor, float, Tensor] | None = None  # a flow's last draw, its version, and it unrounded
        super().__init__(*unwrap(distribution), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Rounded:
        axes = self.reinterpreted_batch_ndims
        base = self.base_dist.expand(torch.Size(batch_shape) + self.event_shape[:axes])
        return Rounded(independent(base, axes), self.dtype, validate_args=self._validate_args)

    @property
    def _element_support(self) -> Any:
        try:
            support: Any = self.base_dist.support
        except NotImplementedError:  # a flow of zuko has none; it is a density
            return constraints.real
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return simplex if support is constraints.simplex else support

    @property
    def support(self) -> Any:
        support: Any = self.base_dist.support
        support = simplex if support is constraints.simplex else support
        axes = self.reinterpreted_batch_ndims
        return constraints.independent(support, axes) if axes else support

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._draw(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._draw(self.base_dist.rsample(sample_shape))

    def _draw(self, x: Tensor) -> Tensor:
        y = self.rounded(x)
        if isinstance(self.base_dist, Flow):
            self._drawn = (y, version_of(y), x)
        return y

    def enumerate_support(self, expand: bool = True) -> Tensor:
        plain: Any = super()  # has no types
        return self.rounded(plain.enumerate_support(expand))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if (unrounded := self._remembered(value)) is not None:
            value = unrounded
        elif not isinstance(self._element_support, LevelSet):  # a level is recognised by the precision of the value
            value = at_least_float32(value)
        plain: Any = super()  # has no types
        log_prob: Tensor = plain.log_prob(value)
        return log_prob

    def _remembered(self, value: Tensor) -> Tensor | None:
        """The unrounded draw of a flow, if `value` is that draw and the flow knows its density without an inverse."""
        flow = self.base_dist
        if self._drawn is None or not isinstance(flow, Flow):
            return None
        draw, version, unrounded = self._drawn
        same = draw is value and version == version_of(value)
        return unrounded if same and flow.remembered(unrounded) is not None else None

    def rounded(self, x: Tensor) -> Tensor:
        """Values of the distribution in `dtype`, inside its support."""
        if not x.is_floating_point():
            return x
        y = within_range(x, self.dtype)
        support = self._element_support
        if support is simplex:
            return y.clamp_min(least_positive(self.dtype))
        if support.event_dim or support is constraints.real or isinstance(support, LevelSet):
            return y
        wide = y.float()  # in bfloat16 the comparison 2064 <= 2060 is true
        stays = support.check(wide)
        if not support.is_discrete:
            for end in ("lower_bound", "upper_bound"):
                stays = stays & ((wide == x) | (wide != getattr(support, end, math.nan)))
        # 0.6 of a step rounds to the next number and not to the one after, whichever way it leads
        step = (0.6 * torch.finfo(self.dtype).eps * wide.abs()).clamp_min(least_positive(self.dtype))
        return torch.where(stays, y, (wide + step * (x - wide).sign()).to(self.dtype))
