"""The gradient through a relaxed sample of a discrete latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from reparam._checks import choice
from reparam.bounds import PenalisedBound, elbo
from reparam.draws import Draw, draw
from reparam.estimators.estimate import (
    Estimate,
    Objective,
    Scheduled,
    bound_name,
    check_bound,
    check_samples,
    check_temperature,
    fixed_samples,
    fixed_temperature,
    name_of,
    penalty,
    weighed,
)
from reparam.model import LatentVariableModel
from reparam.relaxation import exact_distribution, relax
from reparam.schedules import Schedule


@dataclass(frozen=True, repr=False)
class Relaxed(Scheduled):
    """Gumbel-softmax / Concrete: train a discrete model through its relaxation. Biased for the exact model's gradient.

    With `kl="exact"` the value is the quantity usually quoted, the likelihood at a relaxed sample less the KL of the
    *discrete* distributions: a bound of no model, named "surrogate". Its gradient tends to that of the exact ELBO as
    the temperature falls. With `kl="relaxed"` it is a bound of the relaxed model, whose gradient it follows without
    bias: "relaxed_elbo" or "relaxed_iwae_5". But the KL of two relaxed distributions of one temperature is the same at
    every temperature, and larger than that of the discrete ones, so the bias for the exact model does not go away:
    choose it if you want the relaxed model itself.

    With `straight_through=True` the likelihood sees the rounded sample and the gradient passes as if it were soft
    (straight-through Gumbel-softmax). Then `kl="exact"` has the value of the exact ELBO (and its name), with a biased
    gradient.

    Args:
        temperature: above 0, or a schedule from step to temperature such as `exponential(1.0, 0.1, rate=3e-5)`.
        num_samples: K relaxed draws for each example, or a schedule.
        kl: "exact" or "relaxed", see above.
        straight_through: round in the forward pass.
        bound: with `kl="relaxed"`, any function `[K, B] -> [B]` of log-weights; with `kl="exact"` the ELBO,
            `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        ValueError: a temperature that is not above 0; `kl="exact"` with a bound that needs weights.
        TypeError: the latent has no relaxation.

    Reference:
        Maddison, Mnih, Teh, The Concrete Distribution, 2016, arXiv 1611.00712, section 3 and appendix C (kl="relaxed");
        Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, 2016, arXiv 1611.01144, sections 2.1 and
        2.2 (straight-through).
    """

    temperature: float | Schedule = 0.5
    num_samples: int | Schedule = 1
    kl: Literal["exact", "relaxed"] = "exact"
    straight_through: bool = False
    bound: Objective = elbo

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_samples(self.num_samples)
        check_bound(self.bound)
        choice("kl", self.kl, ("relaxed", "exact"))
        penalised = isinstance(self.bound, PenalisedBound)
        if self.kl == "exact" and self.bound is not elbo and not penalised:
            raise ValueError(
                f'kl="exact" with the bound {name_of(self.bound)}: only the ELBO splits into a likelihood and a KL. '
                'Use kl="relaxed", or bound=elbo.'
            )
        if self.kl == "relaxed" and penalised:
            raise ValueError(f'kl="relaxed" with {name_of(self.bound)}, which weighs the exact KL. Use kl="exact".')

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        relaxed = relax(model, fixed_temperature(self.temperature), straight_through=self.straight_through)
        samples = draw(relaxed, x, fixed_samples(self.num_samples), reparameterized=True)
        if not isinstance(self.bound, PenalisedBound) and self.kl == "relaxed":
            return Estimate.of(weighed(self.bound, samples), bound_name(self.bound, samples))
        prior, posterior = exact_distribution(samples.prior), exact_distribution(samples.posterior)
        exact = Draw(x, samples.z, prior, posterior, samples.likelihood)
        name = bound_name(self.bound, exact)
        if not self.straight_through:
            name = "surrogate" if self.bound is elbo else f"surrogate_{name}"
        return Estimate.of(exact.log_likelihood.mean(0) - penalty(self.bound, exact), name)
