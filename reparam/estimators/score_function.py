"""Score-function estimators: nothing has to be differentiable in z."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reparam._checks import whole
from reparam.bounds import draw, elbo
from reparam.estimators.estimate import Estimate, bound_name
from reparam.model import LatentVariableModel
from reparam.surrogates import rloo


@dataclass(frozen=True)
class RLOO:
    """REINFORCE with the other samples' mean as baseline; unbiased for the gradient of the ELBO, for any latent.

    Args:
        num_samples: K >= 2 hard draws for each example; the variance falls as K grows.

    Raises:
        ValueError: fewer than two samples.

    Reference:
        Kool, van Hoof, Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, ICLR workshop 2019.
    """

    num_samples: int = 4

    def __post_init__(self) -> None:
        remedy = "Each sample is compared with the mean of the others. Use RLOO(num_samples=4)."
        whole("num_samples", self.num_samples, least=2, remedy=remedy)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, self.num_samples)
        return Estimate.of(rloo(samples.log_weight, samples.log_posterior), bound_name(elbo, samples))

    def at(self, step: int) -> RLOO:
        return self
