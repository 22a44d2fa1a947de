"""The thermodynamic variational objective."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from reparam import surrogates
from reparam.bounds import tvo
from reparam.draws import draw
from reparam.estimators.estimate import Estimate, Scheduled, bound_name, check_samples, fixed_samples
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule


@dataclass(frozen=True, repr=False)
class TVO(Scheduled):
    """The thermodynamic bound by its covariance gradient, for any latent; tighter than the ELBO, without `rsample`.

    Biased by order 1/K for the gradient of the thermodynamic bound with exact expectations: the weights are
    self-normalised. With the partition (0,) it is the ELBO, and unbiased.

    Args:
        num_samples: K >= 2 hard draws for each example, or a schedule.
        partition: rising numbers from 0 to below 1, where the integrand is evaluated. It rises fast near 0, so a few
            points below 0.3 do most; more of them are free of decodings.

    Raises:
        ValueError: fewer than two samples; a partition that does not begin with 0 or does not rise.

    Reference:
        Masrani, Le, Wood, The Thermodynamic Variational Objective, 2019, arXiv 1907.00031.
    """

    num_samples: int | Schedule = 8
    partition: tuple[float, ...] = field(default=tvo.partition)

    def __post_init__(self) -> None:
        check_samples(self.num_samples, least=2, remedy="A covariance needs two. Use TVO(num_samples=8).")
        tvo(self.partition)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, fixed_samples(self.num_samples))
        bound = surrogates.tvo(samples.log_weight, samples.log_posterior, self.partition)
        return Estimate.of(bound, bound_name(tvo(self.partition), samples))
