"""Normals with one scale for all pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from reparam._checks import Shape, choice, positive
from reparam._checks import shape as check_shape
from reparam._tensors import HALF, at_least_float32, independent
from reparam.families.family import Family, shaped

SharedScale = Literal["learned", "optimal"]
_LEAST_MEAN_SQUARE = 1e-12  # a scale of 1e-6: reconstructions without any error have no largest likelihood


class SharedScaleGaussian(Family, nn.Module):
    """Independent normals with one scale for all pixels; the parameters are `loc` alone.

    A module as well as a family, since the scale belongs to the model: a `VAE` trains and saves it with its weights.

    - "learned": one parameter `log_scale`, trained by gradient.
    - "optimal": no parameter. In *training* mode `likelihood(params).log_prob(x)` uses the scale of the largest
      likelihood for the batch at hand, the root of the mean square of `x - loc` over samples, examples and pixels, and
      moves a stored mean square towards it. In *eval* mode, for draws, and for the family as a latent, the scale is the
      stored one: a fixed, normalised density, so that every evaluated bound is one.

    With "optimal", a log-likelihood in training depends on the whole batch, as with batch norm, so a bound printed in
    training is not that of a fixed model. The scale counts all samples alike and is held constant in the gradient. For
    an ELBO of drawn samples that loses nothing: at its optimum the gradient through the scale is zero. Where samples
    have weights (`iwae`, `Enumerate`), the scale is that of the unweighted samples, and where an estimator scores
    samples in several calls (`REBAR`, `WakeSleep`), each call has its own; take "learned" there.

    Args:
        shape: of one draw, 784 or (3, 32, 32).
        scale: "learned" or "optimal". Either is 1 at the start.
        momentum: of the stored mean square, in (0, 1]: the weight of a new batch. The first 1 / momentum batches
            weigh alike.

    Reference:
        Rybkin, Daniilidis, Levine, Simple and Effective VAE Training with Calibrated Decoders, 2020, arXiv 2006.13202.

    Example:
        >>> pixels = SharedScaleGaussian(4, scale="optimal")
        >>> _ = pixels.likelihood(torch.zeros(3, 4)).log_prob(torch.full((3, 4), 0.5))
        >>> pixels.eval().likelihood(torch.zeros(3, 4)).stddev.unique()
        tensor([0.5000])
    """

    def __init__(self, shape: Shape, scale: SharedScale = "learned", *, momentum: float = 0.01) -> None:
        super().__init__()
        self.shape = shape
        self.scale = choice("scale", scale, get_args(SharedScale))
        self.momentum = positive("momentum", momentum)
        if self.momentum > 1:
            raise ValueError(f"momentum is {momentum}; it must be at most 1. Take 0.01 to average over 100 batches.")
        event_shape = check_shape("shape", shape)
        self._fix(event_shape, event_shape.numel())
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("mean_square", torch.ones(()))
            self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    mean_square: Tensor
    num_batches: Tensor

    @property
    def location_only(self) -> bool:
        """True: the scale is no output of a network."""
        return True

    def __repr__(self) -> str:
        return f"SharedScaleGaussian({self.shape}, scale={self.scale!r})"

    def _scale(self) -> Tensor:
        if self.scale == "learned":
            return at_least_float32(self.log_scale).exp()
        return self.mean_square.sqrt()

    def _distribution(self, params: Tensor, store: Callable[[Tensor], None] | None = None) -> Distribution:
        normal = _SharedScaleNormal(shaped(params, self.event_shape), self._scale(), store)
        return independent(normal, len(self.event_shape))

    def likelihood(self, params: Tensor) -> Distribution:
        """p(x|z); with "optimal" and in training mode its `log_prob` finds the scale and stores it."""
        store = self._store if self._fits_batches() else None
        return self._made(partial(self._distribution, store=store), params)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Moves and converts, but not to 16 bits: there the stored mean square would not follow its batches."""
        before = getattr(self, "mean_square", None)
        plain: Any = super()  # has no types
        plain._apply(fn, recurse)
        if before is not None and self.mean_square.dtype in HALF:
            self.mean_square = before.to(self.mean_square.device, torch.float32)
        return self

    def _fits_batches(self) -> bool:
        return self.scale == "optimal" and self.training

    def _store(self, mean_square: Tensor) -> None:
        self.num_batches += 1
        weight = (1 / self.num_batches).clamp(min=self.momentum).to(self.mean_square.dtype)
        self.mean_square.lerp_(mean_square.to(self.mean_square.dtype), weight)


class _SharedScaleNormal(Normal):
    """Normals of one scale. Given `store`, `log_prob` takes the best scale for its values, and stores its square."""

    def __init__(self, loc: Tensor, scale: Tensor, store: Callable[[Tensor], None] | None = None) -> None:
        super().__init__(loc, scale.to(loc.dtype), validate_args=False)
        self.shared_scale = scale
        self.store = store

    def expand(self, batch_shape: Any, _instance: Any = None) -> _SharedScaleNormal:
        return _SharedScaleNormal(self.loc.expand(batch_shape), self.shared_scale, self.store)

    def log_prob(self, value: Tensor) -> Tensor:
        scale = self.shared_scale
        if self.store is not None:
            mean_square = (value - self.loc).detach().square().mean().clamp(min=_LEAST_MEAN_SQUARE)
            self.store(mean_square)
            scale = mean_square.sqrt()
        log_prob: Tensor = Normal(self.loc, scale, validate_args=False).log_prob(value)
        return log_prob
