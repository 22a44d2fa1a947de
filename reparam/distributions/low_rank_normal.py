"""The normal distribution whose covariance is a diagonal and a few columns."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints
from torch.distributions.kl import register_kl

from reparam._tensors import at_least_float32, within_range


class LowRankNormal(Distribution):
    """A normal vector in R^n with covariance `W W^T + diag(scale^2)`, where W has r columns.

    `log_prob(x) = -(n log 2 pi + log det covariance + (x - loc)^T covariance^-1 (x - loc)) / 2`  (nats), in at least
    float32, at a cost of order n r^2.

    The quadratic form is a sum of squares: the part of `(x - loc) / scale` that W cannot explain. torch's
    `LowRankMultivariateNormal` takes a difference of two large numbers instead. In float32, at n = 20, r = 3, a scale
    of e^-7.5 and entries of W from N(0, 5^2), torch is off by 760 nats and this class by 0.02; where scales differ by
    a factor of e^15, torch raises a LinAlgError. What remains is the rounding of x: it moves the density by a nat where
    a scale is 3e-6 of x.

    Args:
        loc: the mean, `[*batch, n]`.
        factor: W, `[*batch, n, r]`; any rank, zero included.
        scale: standard deviations of the independent part, above 0, `[*batch, n]`.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, Roundoff Error Analysis of the CholeskyQR2 Algorithm, Electronic
        Transactions on Numerical Analysis 44, 2015 (orthogonal columns by repeated triangular factors).

    Example:
        >>> LowRankNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3)).covariance_matrix
        tensor([[2., 1., 1.],
                [1., 2., 1.],
                [1., 1., 2.]])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real_vector,
        "factor": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, factor: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], factor.shape[:-2], scale.shape[:-1])
        self.loc = loc.expand(*batch_shape, loc.shape[-1])
        self.scale = scale.expand(*batch_shape, loc.shape[-1])
        self.factor = factor.expand(*batch_shape, *factor.shape[-2:])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)
        self._columns, self.log_det = _orthogonal(at_least_float32(self.factor), at_least_float32(self.scale))

    def expand(self, batch_shape: Any, _instance: Any = None) -> LowRankNormal:
        n, r = self.factor.shape[-2:]
        loc, scale = self.loc.expand(*batch_shape, n), self.scale.expand(*batch_shape, n)
        factor = self.factor.expand(*batch_shape, n, r)
        return LowRankNormal(loc, factor, scale, validate_args=self._validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return at_least_float32(self.factor).square().sum(-1) + at_least_float32(self.scale).square()

    @property
    def covariance_matrix(self) -> Tensor:
        """`[*batch, n, n]`, in at least float32."""
        factor = at_least_float32(self.factor)
        return factor @ factor.mT + at_least_float32(self.scale).square().diag_embed()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        factor, scale = at_least_float32(self.factor), at_least_float32(self.scale)
        common = torch.randn((*shape[:-1], factor.shape[-1]), dtype=factor.dtype, device=factor.device)
        own = torch.randn(shape, dtype=scale.dtype, device=scale.device)
        z = at_least_float32(self.loc) + torch.einsum("...nr,...r->...n", factor, common) + scale * own
        return within_range(z, self.loc.dtype)

    def whitened(self, x: Tensor) -> Tensor:
        """Vectors `[..., n + r]` whose squared length is `x^T covariance^-1 x`, for x of shape `[..., n]`.

        That square is the least of `|(x - W u) / scale|^2 + |u|^2` over all u, so the vector is `[x / scale, 0]`
        without its part along the columns of `[W / scale; I]`.
        """
        residual = F.pad(x / at_least_float32(self.scale), (0, self.factor.shape[-1]))
        residual = residual - _along(self._columns, residual)
        for _ in range(2):  # rounding leaves a part along the columns; as a function it is zero and has no gradient
            residual = residual - _along(self._columns.detach(), residual.detach())
        return residual

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = self.whitened(at_least_float32(value) - at_least_float32(self.loc)).square().sum(-1)
        return -0.5 * (self.event_shape[0] * math.log(2 * math.pi) + self.log_det + distance)

    def entropy(self) -> Tensor:
        return 0.5 * (self.event_shape[0] * (1 + math.log(2 * math.pi)) + self.log_det)


def _orthogonal(factor: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of the columns of `[W / scale; I]`, and the log-determinant of the covariance.

    Each round divides the columns by a triangular factor R, which brings them closer to orthonormal ones, and adds
    `2 log det R`. One round is not enough where rows differ by more than 1e7 (float32). Any R would do in the first
    rounds, so theirs is a constant; the last round is differentiable, so that every derivative is right.
    """
    rank = factor.shape[-1]
    identity = torch.eye(rank, dtype=factor.dtype, device=factor.device).expand(*factor.shape[:-2], rank, rank)
    columns = torch.cat([factor / scale.unsqueeze(-1), identity], -2)
    log_det = 2 * scale.log().sum(-1)
    for triangle_of in (_constant_triangle, _constant_triangle, _triangle):
        triangle = triangle_of(columns)
        columns = torch.linalg.solve_triangular(triangle, columns, upper=True, left=False)
        log_det = log_det + 2 * triangle.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
    return columns, log_det


def _constant_triangle(columns: Tensor) -> Tensor:
    """R of a QR decomposition, which no condition of the columns can make fail."""
    triangle: Tensor = torch.linalg.qr(columns.detach(), mode="r").R
    return triangle


def _triangle(columns: Tensor) -> Tensor:
    """R of columns that are nearly orthonormal; NaN in the columns gives NaN, and no error."""
    triangle: Tensor = torch.linalg.cholesky_ex(columns.mT @ columns).L.mT
    return triangle


def _along(columns: Tensor, x: Tensor) -> Tensor:
    """The part of x along orthonormal columns. `einsum` makes no copy of them for each sample."""
    return torch.einsum("...nr,...r->...n", columns, torch.einsum("...nr,...n->...r", columns, x))


def _log_det(d: LowRankNormal | MultivariateNormal) -> Tensor:
    if isinstance(d, LowRankNormal):
        return d.log_det
    log_det: Tensor = 2 * d.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return log_det


def _distances(d: LowRankNormal | MultivariateNormal, x: Tensor) -> Tensor:
    """`x^T covariance^-1 x` of vectors `[m, *batch, n]`: `[m, *batch]`."""
    if isinstance(d, LowRankNormal):
        return d.whitened(x).square().sum(-1)
    columns: Tensor = torch.linalg.solve_triangular(d.scale_tril, x.movedim(0, -1), upper=False)
    return columns.square().sum(-2).movedim(-1, 0)


def _trace(q: LowRankNormal | MultivariateNormal, p: LowRankNormal | MultivariateNormal) -> Tensor:
    """Trace of the inverse of p's covariance times q's: p's distances of vectors that make up the latter."""
    if isinstance(q, MultivariateNormal):
        return _distances(p, q.scale_tril.movedim(-1, 0)).sum(0)
    n = q.event_shape[0]
    axes = torch.eye(n, dtype=p.loc.dtype, device=p.loc.device).reshape(n, *[1] * len(p.batch_shape), n)
    own = at_least_float32(q.scale).square() * _distances(p, at_least_float32(axes)).movedim(0, -1)
    return _distances(p, at_least_float32(q.factor).movedim(-1, 0)).sum(0) + own.sum(-1)


@register_kl(LowRankNormal, LowRankNormal)
@register_kl(LowRankNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankNormal)
def _kl_normals(q: LowRankNormal | MultivariateNormal, p: LowRankNormal | MultivariateNormal) -> Tensor:
    between = _distances(p, (at_least_float32(q.loc) - at_least_float32(p.loc)).unsqueeze(0)).squeeze(0)
    return 0.5 * (_trace(q, p) - q.event_shape[0] + between + _log_det(p) - _log_det(q))
