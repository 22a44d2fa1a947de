"""The von Mises distribution: angles around an angle."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32
from reparam.distributions.bessel import log_i0e, one_minus_bessel_ratio

_LOG_2_PI = math.log(2 * math.pi)
_PI = 3.1415927410125732  # float32's, which is above pi: a draw at the end of the circle must not fall off it
_NODES, _WEIGHTS = ((a + b) / 2 for a, b in zip(np.polynomial.legendre.leggauss(32), (1, 0), strict=True))
_ROUNDS = 16


class VonMises(Distribution):
    """An angle in (-pi, pi], concentrated around `loc`: the normal distribution of the circle.

    `log_prob(z) = kappa (cos(z - loc) - 1) - log(I0(kappa) exp(-kappa)) - log 2 pi`, in nats, in at least float32.
    kappa = 0 is the uniform distribution. An angle outside of [-pi, pi] has density zero: wrap data into it.

    Draws are by rejection from a wrapped Cauchy distribution, 16 candidates at once, of which at least 65% are
    accepted; with probability 4e-8 at most none is, and the first one stands in. Their gradients are implicit: each is
    a velocity v that solves the continuity equation `d(p v)/dz = -dp/dparameter` on the circle,

    `v_kappa = -integral from loc to z of (cos(t - loc) - A) p(t) dt / p(z)`, A = I1(kappa) / I0(kappa), by quadrature;
    `v_loc = 1 - exp(-kappa cos(z - loc)) / I0(kappa)`.

    The solution `v_loc = 1`, a rotation, is as unbiased, but does not vanish where kappa does; this one has the least
    variance, and leaves a finite gradient in `kappa (cos loc, sin loc)`. Gradients of draws are first derivatives only.

    Args:
        loc: mean angle, any real number, in radians.
        concentration: kappa >= 0.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Best, Fisher, Efficient Simulation of the von Mises Distribution, 1979, Applied Statistics 28; Figurnov,
        Mohamed, Mnih, Implicit Reparameterization Gradients, 2018, arXiv 1805.08498; Jankowiak, Obermeyer, Pathwise
        Derivatives Beyond the Reparameterization Trick, 2018, arXiv 1806.01851 (the continuity equation).

    Example:
        >>> angle = VonMises(torch.tensor(3.0), torch.tensor([0.0, 1e4]))
        >>> angle.log_prob(torch.tensor([-1.0, 3.0]))
        tensor([-1.8379,  3.6862])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "concentration": constraints.nonnegative,
    }
    support = constraints.interval(-_PI, _PI)
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, *, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape, concentration.shape)
        self.loc = loc.expand(batch_shape)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMises:
        loc, concentration = self.loc.expand(batch_shape), self.concentration.expand(batch_shape)
        return VonMises(loc, concentration, validate_args=self._validate_args)

    @property
    def mean(self) -> Tensor:
        """The circular mean, `loc`."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - E[cos(z - loc)]."""
        return one_minus_bessel_ratio(at_least_float32(self.concentration)).to(self.loc.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            loc, kappa = at_least_float32(self.loc), at_least_float32(self.concentration)
            return _wrapped(loc + _centred(kappa.expand(self._extended_shape(sample_shape)))).to(self.loc.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        loc, kappa = at_least_float32(self.loc), at_least_float32(self.concentration)
        with torch.no_grad():
            angle = _centred(kappa.expand(self._extended_shape(sample_shape)))
            z = _wrapped(loc + angle)
            by_kappa, by_loc = _velocity_of_kappa(angle, kappa), _velocity_of_loc(angle, kappa)
        moved = by_kappa * (kappa - kappa.detach()) + by_loc * (loc - loc.detach())
        return (z + moved).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        z, kappa = at_least_float32(value), at_least_float32(self.concentration)
        distance = (z - at_least_float32(self.loc)) / 2
        log_prob = -2 * kappa * distance.sin().square() - log_i0e(kappa) - _LOG_2_PI
        return torch.where(z.abs() <= _PI, log_prob, -torch.inf)

    def entropy(self) -> Tensor:
        kappa = at_least_float32(self.concentration)
        return kappa * one_minus_bessel_ratio(kappa) + log_i0e(kappa) + _LOG_2_PI


def _wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi]."""
    return (angle - 2 * math.pi * (angle / (2 * math.pi)).round()).clamp(-_PI, _PI)


def _centred(kappa: Tensor) -> Tensor:
    """Draws around zero in the shape of `kappa`.

    With `w = sin^2(angle / 2)` the target is `exp(-2 kappa w)` and the proposal `1 / (1 - q + 2 q w)`, an angle of
    `2 atan(sqrt((1 - q) / (1 + q)) tan(pi (u - 1/2)))` for uniform u. Best and Fisher's choice of q has the largest
    ratio of the two at `w = (1 - q) / 2`.
    """
    root = torch.hypot(torch.ones_like(kappa), 2 * kappa)
    q = 2 * kappa / (1 + root)
    rest = (1 + 1 / (root + 2 * kappa)) / (1 + root)  # 1 - q, of which nothing is left at large kappa
    shape = (_ROUNDS, *kappa.shape)
    turn = math.pi * (torch.rand_like(kappa.expand(shape), memory_format=torch.contiguous_format) - 0.5)
    opposite, adjacent = (rest / (1 + q)).sqrt() * turn.sin(), turn.cos()
    w = opposite.square() / (opposite.square() + adjacent.square())
    log_ratio = -2 * kappa * (w - rest / 2) + ((rest + 2 * q * w) / (rest * (1 + q))).log()
    accepted = torch.rand_like(turn).log() <= log_ratio
    first = accepted.int().argmax(0, keepdim=True)
    return 2 * torch.atan2(opposite, adjacent).gather(0, first).squeeze(0)


def _velocity_of_kappa(angle: Tensor, kappa: Tensor) -> Tensor:
    """How a draw at `angle` from `loc` moves with kappa, `-integral from 0 to angle of (cos - A) p / p(angle)`.

    The integral over [0, pi] is zero, so one to the far end will do as well. From the angle where cos is A, inwards or
    outwards, no term changes its sign and none exceeds p(angle) by more than a factor: nothing cancels or overflows.
    """
    start = angle.abs()
    spare = one_minus_bessel_ratio(kappa)  # 1 - A
    inner = 2 * (start / 2).sin().square() < spare
    # nine standard deviations outwards leave out less than e^-40
    outer_end = torch.minimum(start + 9 / kappa.sqrt(), torch.full_like(start, math.pi))
    span = torch.where(inner, torch.zeros_like(start), outer_end) - start
    nodes, weights = (
        torch.as_tensor(rule, dtype=kappa.dtype, device=kappa.device).reshape(-1, *[1] * start.ndim)
        for rule in (_NODES, _WEIGHTS)
    )
    step = span * nodes
    t = start + step
    log_density = -2 * kappa * (step / 2).sin() * ((start + t) / 2).sin()  # with respect to the one at the angle
    total = (weights * (2 * (t / 2).sin().square() - spare) * log_density.exp()).sum(0)
    return -angle.sign() * span * total


def _velocity_of_loc(angle: Tensor, kappa: Tensor) -> Tensor:
    """How a draw at `angle` from `loc` moves with `loc`: `1 - exp(-kappa cos(angle)) / I0(kappa)`."""
    return -torch.expm1(-2 * kappa * (angle / 2).cos().square() - log_i0e(kappa))


@register_kl(VonMises, VonMises)
def _kl_von_mises_von_mises(q: VonMises, p: VonMises) -> Tensor:
    kappa_q, kappa_p = at_least_float32(q.concentration), at_least_float32(p.concentration)
    spare = one_minus_bessel_ratio(kappa_q)  # 1 - A
    distance = ((at_least_float32(q.loc) - at_least_float32(p.loc)) / 2).sin().square()
    rest = log_i0e(kappa_p) - log_i0e(kappa_q)
    return spare * (kappa_p - kappa_q) + 2 * kappa_p * (1 - spare) * distance + rest
