"""The image of a continuous distribution under an invertible map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, constraints

from reparam._tensors import at_least_float32, version_of


class _Drawn(NamedTuple):
    """What is known of the last draw z: its noise, its log |det dz/du|, and when that is still true."""

    z: Tensor
    version: float
    u: Tensor
    log_det: Tensor
    differentiable: bool


class Flow(Distribution):
    """`z = T(u)` with u from a base: `log p(z) = log p(u) - log |det dz/du|`.

    T is one transform after the other, each forwards to sample, and inverted to score: choose them so that forwards is
    the fast way. The last draw is
    remembered with its noise, so `log_prob` of that very tensor needs no inverse. Such a score is a function of the
    noise and not of z: its total derivative is right, a partial one with respect to z is not there. Score an alias,
    `z.view_as(z)`, to have it, at the price of the inverse. A draw without a gradient (`sample`) is remembered for
    scores without one only.

    torch's `TransformedDistribution` remembers by the `cache_size` of its transforms, which those of zuko lose, and
    does so even for a `sample` whose score then needs a gradient.

    Args:
        base: with `rsample`, and a support that T is defined on.
        transforms: the first is applied first; each keeps the shape, and has no more event axes than the base.
        validate_args: as in `torch.distributions.Distribution`.

    Reference:
        Rezende, Mohamed, Variational Inference with Normalizing Flows, 2015, arXiv 1505.05770.

    Example:
        >>> from torch.distributions import ExpTransform, Normal
        >>> Flow(Normal(0.0, 1.0), ExpTransform()).log_prob(torch.tensor(1.0))
        tensor(-0.9189)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, base: Distribution, *transforms: Transform, validate_args: bool | None = None) -> None:
        self.base = base
        self.transforms = transforms
        self._drawn: _Drawn | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        codomain: Any = self.transforms[-1].codomain if self.transforms else self.base.support
        missing = len(self.event_shape) - codomain.event_dim
        return constraints.independent(codomain, missing) if missing else codomain

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        return Flow(self.base.expand(batch_shape), *self.transforms, validate_args=self._validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = self.base.rsample(sample_shape)
        z, log_det = self._through(self.transforms, u)
        self._drawn = _Drawn(z, version_of(z), u, log_det, torch.is_grad_enabled())
        return z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if (drawn := self.remembered(value)) is not None:
            return at_least_float32(self.base.log_prob(drawn.u)) - drawn.log_det
        u, log_det = self._through([transform.inv for transform in reversed(self.transforms)], value)
        return at_least_float32(self.base.log_prob(u)) + log_det

    def remembered(self, value: Tensor) -> _Drawn | None:
        """What is known of `value`, if it is the last draw, unchanged, and has the gradients that are wanted now."""
        drawn = self._drawn
        if drawn is None or drawn.z is not value or drawn.version != version_of(value):
            return None
        return drawn if drawn.differentiable or not torch.is_grad_enabled() else None

    def _through(self, transforms: Sequence[Any], u: Tensor) -> tuple[Tensor, Tensor]:
        """The image of u, `[..., *event]`, and the log-determinant, `[...]`, in at least float32."""
        event_dim = len(self.event_shape)
        total = torch.zeros(u.shape[: u.dim() - event_dim], dtype=u.dtype, device=u.device)
        total = at_least_float32(total)
        for transform in transforms:
            u, log_det = _step(transform, u)
            num_axes = event_dim - transform.domain.event_dim  # that the transform takes to be independent
            total = total + at_least_float32(log_det.flatten(-num_axes).sum(-1) if num_axes else log_det)
        return u, total


def _step(transform: Any, u: Tensor) -> tuple[Tensor, Tensor]:
    """The image and the log-determinant, in one pass where the transform can (zuko's can, torch's cannot)."""
    if hasattr(transform, "call_and_ladj"):
        z, log_det = transform.call_and_ladj(u)
    else:
        z = transform(u)
        log_det = transform.log_abs_det_jacobian(u, z)
    return z, log_det
