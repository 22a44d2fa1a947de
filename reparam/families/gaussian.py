"""Normals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from reparam import distributions
from reparam._checks import Shape, positive, whole
from reparam._checks import shape as check_shape
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class Gaussian(Family):
    """Normals, independent unless a covariance is asked for. The standard member is N(0, I) for each.

    - "diagonal": the parameters are all `loc`, then all log-variances `raw`, so `scale = exp(raw / 2)`.
    - "full": D of `loc`, D log-squares of the diagonal of the covariance's Cholesky factor, then the D (D - 1) / 2
      entries below it, row by row.
    - a rank R: the covariance is `W W^T` plus a diagonal; D of `loc`, D logs of the diagonal, then W, `[D, R]`.
    - with `scale` the parameters are `loc` alone; as a latent its default prior has that scale, too.

    A rank keeps its digits at any diagonal, up to the rounding of the draws (`reparam.distributions.LowRankNormal`).
    "full" loses them where entries below the diagonal are many times the diagonal: with 6 variables, a diagonal of e^-4
    and entries from N(0, 1), rounding a draw to float32 lowers its log-density by 1e5 nats on average.

    Args:
        shape: of one draw, 20 or (1, 28, 28); one axis if there is a covariance.
        covariance: "diagonal", "full", or a rank of at least 1.
        scale: a fixed standard deviation above 0, in the unit of the data, for a diagonal covariance.

    Raises:
        TypeError: a covariance or scale of another kind.
        ValueError: a scale that is not above 0 or comes with a covariance; a covariance of several axes.

    Example:
        >>> Gaussian(20)(torch.zeros(128, 40)).log_prob(torch.zeros(128, 20)).shape
        torch.Size([128])
        >>> Gaussian(20, covariance="full").num_params, Gaussian(20, covariance=2).num_params, Gaussian(20, scale=0.1)
        (230, 80, Gaussian(shape=20, scale=0.1))
    """

    shape: Shape
    covariance: Literal["diagonal", "full"] | int = field(default="diagonal", kw_only=True)
    scale: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        size = event_shape.numel()
        if self.scale is not None:
            positive("scale", self.scale, remedy="Leave it out to let the network give one.")
        if self.covariance == "diagonal":
            self._fix(event_shape, (1 if self.scale is not None else 2) * size)
            return
        if isinstance(self.covariance, str) and self.covariance != "full":
            raise ValueError(f'covariance is {self.covariance!r}; it must be "diagonal", "full" or a rank such as 2.')
        if self.covariance != "full":
            whole("covariance", self.covariance, remedy='Give "diagonal", "full" or a rank such as 2.')
        if self.scale is not None:
            raise ValueError(f"scale is {self.scale} and covariance {self.covariance!r}; leave one of them out.")
        if len(event_shape) != 1:
            raise ValueError(f"shape is {self.shape} with a covariance; it must have one axis, such as {size}.")
        below = size * (size - 1) // 2 if self.covariance == "full" else size * int(self.covariance)
        self._fix(event_shape, 2 * size + below)

    @property
    def location_only(self) -> bool:
        """Whether the scale is fixed."""
        return self.scale is not None

    def __repr__(self) -> str:
        covariance = "" if self.covariance == "diagonal" else f", covariance={self.covariance!r}"
        scale = "" if self.scale is None else f", scale={self.scale!r}"
        return f"Gaussian(shape={self.shape!r}{covariance}{scale})"

    def _distribution(self, params: Tensor) -> Distribution:
        if self.covariance != "diagonal":
            return self._correlated(params)
        if self.scale is not None:
            loc = shaped(params, self.event_shape)
            scale = torch.full((), self.scale, dtype=params.dtype, device=params.device).expand_as(loc)
        else:
            loc, log_variance = (shaped(part, self.event_shape) for part in params.chunk(2, -1))
            scale = (log_variance / 2).exp()
        return Independent(Normal(loc, scale, validate_args=False), len(self.event_shape), validate_args=False)

    def _correlated(self, params: Tensor) -> Distribution:
        size = self.event_shape.numel()
        loc, log_variance, rest = params.split([size, size, self.num_params - 2 * size], -1)
        if self.covariance != "full":
            factor = rest.unflatten(-1, (size, -1))
            return distributions.LowRankNormal(loc, factor, (log_variance / 2).exp(), validate_args=False)
        # each place of the factor looks up its entry; the diagonal and all above it find the zero at the end
        rows, columns = torch.tril_indices(size, size, -1, device=params.device)
        place = torch.full((size, size), rest.shape[-1], device=params.device)
        place[rows, columns] = torch.arange(rest.shape[-1], device=params.device)
        below = torch.cat([rest, torch.zeros_like(loc[..., :1])], -1)[..., place]
        scale_tril = below + (log_variance / 2).exp().diag_embed()
        return MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)
