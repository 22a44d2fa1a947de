"""Directions and angles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from reparam import distributions
from reparam._checks import Shape, whole
from reparam._checks import shape as check_shape
from reparam._tensors import independent
from reparam.families.family import Family, shaped


@dataclass(frozen=True)
class PowerSpherical(Family):
    """A direction: a draw is a vector of length one in R^dim. The standard member is uniform on the sphere.

    The parameters are a vector v: `loc = v / |v|` and `kappa = (dim - 1) |v|`. The mean of the direction is then
    `v / (1 + |v|)` in any dimension, where `kappa = |v|` would ask 100 times larger numbers of a network for 100 more
    dimensions. Gradients are finite at v = 0.

    Args:
        dim: of the space, at least 3.

    Raises:
        ValueError: `dim` below 3; a direction in the plane is an angle, `VonMises(1)`.

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak, Hyperspherical Variational Auto-Encoders, 2018, arXiv 1804.00891;
        De Cao, Aziz, The Power Spherical Distribution, 2020, arXiv 2006.04437.

    Example:
        >>> PowerSpherical(3)(torch.tensor([0.0, 0.0, 4.0])).scale
        tensor(8.)
    """

    dim: int

    def __post_init__(self) -> None:
        whole("dim", self.dim, least=3, remedy="A direction in the plane is an angle: use VonMises(1).")
        self._fix(torch.Size([self.dim]), self.dim)

    def _distribution(self, params: Tensor) -> Distribution:
        vector = _never_zero(params)
        length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
        return distributions.PowerSpherical(vector / length, (self.dim - 1) * length.squeeze(-1), validate_args=False)

    def standard(self, zeros: Float[Tensor, "num_params"]) -> Distribution:
        """The uniform distribution on the sphere, to which the KL is known in closed form."""

        def uniform(zeros: Tensor) -> Distribution:
            return distributions.HypersphericalUniform(
                self.dim, dtype=zeros.dtype, device=zeros.device, validate_args=False
            )

        return self._made(uniform, zeros)


@dataclass(frozen=True)
class VonMises(Family):
    """Independent angles in (-pi, pi]. The standard member is uniform on the circle.

    The parameters of an angle are `kappa cos(loc)` and `kappa sin(loc)`: first all of the cosines, then all of the
    sines. A network reads an angle as its cosine and sine, in the same order, as pi and -pi are one.

    Args:
        shape: of one draw, 20 or (4, 5).

    Example:
        >>> VonMises(20).num_params, VonMises(20).num_features
        (40, 40)
    """

    shape: Shape

    def __post_init__(self) -> None:
        event_shape = check_shape("shape", self.shape)
        self._fix(event_shape, 2 * event_shape.numel())

    @property
    def num_features(self) -> int:
        return 2 * self.event_shape.numel()

    def _distribution(self, params: Tensor) -> Distribution:
        cosines, sines = (shaped(part, self.event_shape) for part in params.chunk(2, -1))
        vector = _never_zero(torch.stack([cosines, sines], -1))
        loc, kappa = torch.atan2(vector[..., 1], vector[..., 0]), torch.linalg.vector_norm(vector, dim=-1)
        return independent(distributions.VonMises(loc, kappa, validate_args=False), len(self.event_shape))

    def standard(self, zeros: Float[Tensor, "num_params"]) -> Distribution:
        """The uniform distribution on the circle."""

        def uniform(zeros: Tensor) -> Distribution:
            zeros = shaped(zeros.chunk(2, -1)[0], self.event_shape)
            return independent(distributions.VonMises(zeros, zeros, validate_args=False), len(self.event_shape))

        return self._made(uniform, zeros)

    def features(self, z: Float[Tensor, "*batch_event"]) -> Float[Tensor, "*batch num_features"]:
        """The cosines, then the sines of a draw."""
        angles = super().features(z)
        return torch.cat([angles.cos(), angles.sin()], -1)


def _never_zero(vector: Tensor) -> Tensor:
    """`vector` moved by its dtype's rounding along the first axis, as zero has no direction, and no gradient of one."""
    first = torch.zeros_like(vector)
    first[..., 0] = torch.finfo(vector.dtype).eps
    return first + vector
