"""The power spherical distribution: directions around a direction."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32
from reparam.distributions.gamma_differences import digamma_difference
from reparam.distributions.hyperspherical_uniform import HypersphericalUniform, check_equal_dims, unit_vector
from reparam.distributions.stirling import log_gamma_ratio, shape_divergence


class PowerSpherical(Distribution):
    """A direction x in R^d, on the unit sphere S^(d-1), concentrated around `loc`.

    `log_prob(x) = kappa log((1 + loc . x) / 2) + log Gamma(kappa + d - 1) - log Gamma(kappa + (d-1)/2)
    - (d-1)/2 log(4 pi)`, in nats with respect to the sphere's area, in at least float32. kappa = 0 is the uniform
    distribution. A value that is not of length one has density zero.

    `(1 + loc . x) / 2` is Beta distributed. It is drawn as two gammas, of whose ratio float32 keeps all digits where
    the Beta variable itself would round to 1, and scored through `|x - loc|` and `|x + loc|` for the same reason.
    The gradient of a draw with respect to kappa is that of torch's gammas (to 2e-4; that of torch's Beta is off by
    100% in float32 at d = 3, kappa = 1e6). With respect to `loc` it is the vector field

    `dx = kappa / (kappa + d - 2) P(dloc)`, P the parallel transport from `loc` to x,

    which solves the same continuity equation as a rotation of x with `loc` and so is unbiased as well, but vanishes
    with kappa: a nearly uniform draw has no reason to follow `loc`. On a circle, d = 2, it is the rotation.
    Gradients of draws are first derivatives only.

    Args:
        loc: mean direction, `[..., d]`, of length one, d at least 2.
        scale: concentration kappa >= 0, `[...]`; the name is the paper's.
        validate_args: as in `torch.distributions.Distribution`.

    Raises:
        ValueError: `loc` without an axis of at least 2 coordinates.

    Reference:
        De Cao, Aziz, The Power Spherical Distribution, 2020, arXiv 2006.04437; Jankowiak, Obermeyer, Pathwise
        Derivatives Beyond the Reparameterization Trick, 2018, arXiv 1806.01851 (the continuity equation).

    Example:
        >>> north = torch.tensor([0.0, 0.0, 1.0])
        >>> PowerSpherical(north, torch.tensor(8.0)).mean
        tensor([0.0000, 0.0000, 0.8000])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": unit_vector,
        "scale": constraints.nonnegative,
    }
    support = unit_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.ndim == 0 or loc.shape[-1] < 2:
            raise ValueError(f"loc has shape {tuple(loc.shape)}; its last axis must be the 2 or more of a direction.")
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], scale.shape)
        self.loc = loc.expand(*batch_shape, loc.shape[-1])
        self.scale = scale.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PowerSpherical:
        batch_shape = torch.Size(batch_shape)
        loc, scale = self.loc.expand(batch_shape + self.event_shape), self.scale.expand(batch_shape)
        return PowerSpherical(loc, scale, validate_args=self._validate_args)

    @property
    def _dim(self) -> int:
        return self.loc.shape[-1]

    @property
    def _shapes(self) -> tuple[Tensor, float]:
        """Of the Beta variable: (d-1)/2 + kappa and (d-1)/2."""
        half = (self._dim - 1) / 2
        return at_least_float32(self.scale) + half, half

    @property
    def mean(self) -> Tensor:
        return self.loc * (self.scale / (self.scale + self._dim - 1)).unsqueeze(-1)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Of each coordinate."""
        alpha, beta = self._shapes
        total = alpha + beta
        across = (2 * alpha / (total * (total + 1))).unsqueeze(-1)  # of a coordinate at right angles to loc
        along = across * (2 * beta / total).unsqueeze(-1)
        square = at_least_float32(self.loc).square()
        return (along * square + across * (1 - square)).to(self.loc.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            loc = F.normalize(at_least_float32(self.loc), dim=-1)
            return self._around(loc, self._extended_shape(sample_shape)).to(self.loc.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        loc = F.normalize(at_least_float32(self.loc), dim=-1)
        x = self._around(loc.detach(), self._extended_shape(sample_shape))
        scale = at_least_float32(self.scale).detach().unsqueeze(-1)
        share = scale / (scale + self._dim - 2) if self._dim > 2 else 1.0
        # parallel transport from loc to x is the reflection that takes loc to -x, for what is at right angles to loc
        moved = _reflected(loc - loc.detach(), F.normalize(loc.detach() + x.detach(), dim=-1))
        return (x + share * moved).to(self.loc.dtype)

    def _around(self, loc: Tensor, shape: torch.Size) -> Tensor:
        """Draws around the constant `loc`, differentiable in kappa."""
        alpha, beta = self._shapes
        alpha = alpha.expand(shape[:-1])
        log_ratio = torch._standard_gamma(alpha).log() - torch._standard_gamma(torch.full_like(alpha, beta)).log()
        cosine, sine = (log_ratio / 2).tanh(), (log_ratio / 2).cosh().reciprocal()
        # a direction at right angles to the first axis, and the reflection of that axis to loc or -loc, the further one
        normal = torch.randn_like(loc[..., 1:].expand(*shape[:-1], self._dim - 1))
        across = F.pad(F.normalize(normal, dim=-1), (1, 0))
        first = F.pad(torch.ones_like(loc[..., :1]), (0, self._dim - 1))
        axis = first + torch.where(loc[..., :1] > 0, loc, -loc)
        across = _reflected(across, F.normalize(axis, dim=-1))
        return cosine.unsqueeze(-1) * loc + sine.unsqueeze(-1) * across

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        loc, x, scale = at_least_float32(self.loc), at_least_float32(value), at_least_float32(self.scale)
        inside = unit_vector.check(x)
        x = torch.where(inside.unsqueeze(-1), x, loc)
        # 1 + loc . x has no digits left where x is near -loc, and none that count where kappa is large and x near loc
        apart, opposite = (x - loc).square().sum(-1), (x + loc).square().sum(-1)
        opposite = opposite.clamp_min(1e-18)  # closer to -loc than 1e-9 counts as 1e-9: float32 sees no smaller angle
        log_prob = self._log_normalizer() - scale * (apart / opposite).log1p()
        return torch.where(inside, log_prob, -torch.inf)

    def _log_normalizer(self) -> Tensor:
        alpha, beta = self._shapes
        return log_gamma_ratio(alpha, beta) - beta * math.log(4 * math.pi)

    def entropy(self) -> Tensor:
        return at_least_float32(self.scale) * digamma_difference(*self._shapes) - self._log_normalizer()


def _reflected(x: Tensor, axis: Tensor) -> Tensor:
    """`x` in the mirror at right angles to `axis`, which is of length one."""
    return x - 2 * (x * axis).sum(-1, keepdim=True) * axis


@register_kl(PowerSpherical, HypersphericalUniform)
def _kl_power_spherical_uniform(p: PowerSpherical, q: HypersphericalUniform) -> Tensor:
    check_equal_dims(p.event_shape[0], q.dim)
    scale = at_least_float32(p.scale)
    alpha, beta = p._shapes
    half = torch.full_like(alpha, beta)
    # of two Beta variables, their shapes being (alpha, beta) and (beta, beta): without terms larger than the result
    whole = beta * (scale * (scale / (4 * beta * alpha))).log1p()
    return whole + shape_divergence(alpha, half) - shape_divergence(alpha + half, 2 * half)
