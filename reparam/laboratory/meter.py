"""Gradients of one estimator on one batch, drawn again and again: their mean, spread and cost."""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.estimators import Estimator
from reparam.model import LatentVariableModel
from reparam.training.control import Control

NUM_BLOCKS = 10


class Counted:
    """A model that counts how many latents its likelihood decodes."""

    def __init__(self, model: LatentVariableModel) -> None:
        self.model = model
        self.decoded = 0

    def prior(self) -> Distribution:
        return self.model.prior()

    def posterior(self, x: Tensor) -> Distribution:
        return self.model.posterior(x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)  # for an estimator that looks into its model

    def likelihood(self, z: Tensor) -> Distribution:
        likelihood = self.model.likelihood(z)
        self.decoded += likelihood.batch_shape.numel()
        return likelihood


class Meter:
    """Draws gradients with respect to `parameters`, as vectors of P coordinates, and keeps their moments.

    The repeats fall into ten blocks, whose differences tell how far each figure can be trusted.

    Attributes:
        repeats: how many gradients will be drawn.
        name: of the bound: `Estimate.name`.
        seconds: median time of one gradient, forward and backward.
        decodings: decoder evaluations for each example.
        block_means: `[blocks, P]`, in float64.
        variance: of a single gradient, by coordinate, `[P]`.
        block_variances: total variance within each block, `[blocks]`.
        broken: how many gradients were not finite.
        cosine: mean cosine of a single gradient with the reference; NaN without one.
    """

    def __init__(
        self,
        estimator: Estimator,
        model: LatentVariableModel,
        x: Tensor,
        parameters: list[nn.Parameter],
        repeats: int,
        reference: Tensor | None = None,
    ) -> None:
        self.estimator = estimator
        self.model = Counted(model)
        self.x = x
        self.parameters = parameters
        self.reference = reference
        self.name = ""
        self.repeats = repeats
        self._per_block = repeats // NUM_BLOCKS
        self._drawn = 0
        size = sum(p.numel() for p in parameters)
        self._sums = torch.zeros(NUM_BLOCKS, size, dtype=torch.float64, device=x.device)
        self._squares = torch.zeros(size, dtype=torch.float64, device=x.device)
        self._square_norms = torch.zeros(NUM_BLOCKS, dtype=torch.float64, device=x.device)
        self._mean = torch.zeros(size, dtype=torch.float64, device=x.device)
        self._largest = self._scatter = 0.0
        self.broken = 0
        self._cosines: list[float] = []
        self._seconds: list[float] = []

    def draw(self) -> None:
        """One more gradient."""
        started = time.perf_counter()
        estimate = self.estimator(self.model, self.x)
        parts = torch.autograd.grad(estimate.loss, self.parameters, allow_unused=True)
        if self.x.device.type != "cpu":
            torch.accelerator.synchronize()
        self._seconds.append(time.perf_counter() - started)
        gradient = flat(parts, self.parameters)
        block = self._drawn // self._per_block
        square_norm = gradient @ gradient
        self.broken += not bool(square_norm.isfinite())
        # Welford's increments: what each gradient adds to the sum of squares about the mean
        deviation = gradient - self._mean
        increment = float(deviation @ deviation) * self._drawn / (self._drawn + 1)
        self._mean += deviation / (self._drawn + 1)
        self._scatter += increment
        self._largest = max(self._largest, increment)
        self._sums[block] += gradient
        self._squares += gradient.square()
        self._square_norms[block] += square_norm
        if self.reference is not None:
            lengths = (square_norm * (self.reference @ self.reference)).sqrt()
            self._cosines.append(float(gradient @ self.reference / lengths.clamp_min(1e-300)))
        self._drawn += 1
        self.name = estimate.name

    @property
    def seconds(self) -> float:
        return statistics.median(self._seconds)

    @property
    def decodings(self) -> float:
        return self.model.decoded / (self._drawn * len(self.x))

    @property
    def block_means(self) -> Tensor:
        return self._sums / self._per_block

    @property
    def variance(self) -> Tensor:
        mean = self._sums.sum(0) / self._drawn
        variance = (self._squares - self._drawn * mean.square()) / (self._drawn - 1)
        return torch.where(variance > 1e-12 * mean.square(), variance, 0.0)  # below that it is rounding

    @property
    def block_variances(self) -> Tensor:
        n = self._per_block
        return ((self._square_norms - n * self.block_means.square().sum(1)) / (n - 1)).clamp_min(0)

    @property
    def heaviest(self) -> float:
        """The share of the one gradient that adds most in the variance."""
        return self._largest / self._scatter if self._scatter > 0 else 0.0

    @property
    def cosine(self) -> float:
        return statistics.fmean(self._cosines) if self._cosines else float("nan")


def flat(parts: tuple[Tensor | None, ...], parameters: list[nn.Parameter]) -> Tensor:
    """Gradients as one vector in float64; zero where a parameter was not used."""
    pairs = zip(parts, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]).double()


def warmed_up(estimator: Estimator, model: LatentVariableModel, x: Tensor, steps: int, lr: float) -> Estimator:
    """A copy whose baselines and control variates have been fitted to this batch; the model is left alone."""
    if not isinstance(estimator, nn.Module):
        return estimator
    estimator = copy.deepcopy(estimator)
    control = Control(estimator, model, lr)
    for _ in range(steps):
        control.step(estimator(model, x).control_loss)
    return estimator
