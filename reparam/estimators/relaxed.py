"""The gradient through a relaxed sample of a discrete latent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from reparam._checks import choice, positive, whole
from reparam.bounds import Bound, closed_form_kl, draw, elbo
from reparam.estimators.estimate import Estimate, bound_name, check_bound, name_of, weighed
from reparam.model import LatentVariableModel
from reparam.relaxation import exact_distribution, relax
from reparam.schedules import Schedule


@dataclass(frozen=True)
class Relaxed:
    """Gumbel-softmax / Concrete: train a discrete model through its relaxation. Biased for the exact model's gradient.

    With `kl="relaxed"` the value is a bound of the relaxed model, whose gradient it follows without bias:
    "relaxed_elbo" or "relaxed_iwae_5". With `kl="exact"` it is the quantity usually quoted, the likelihood at a
    relaxed sample less the KL of the *discrete* distributions: a bound of no model, named "surrogate".

    With `straight_through=True` the likelihood sees the rounded sample and the gradient passes as if it were soft. Then
    `kl="exact"` has the value of the exact ELBO (and its name), with a biased gradient.

    Args:
        temperature: above 0, or a schedule from step to temperature such as `exponential(1.0, 0.1, rate=3e-5)`.
        num_samples: K relaxed draws for each example.
        kl: "relaxed" or "exact", see above.
        straight_through: round in the forward pass.
        bound: with `kl="relaxed"`, any function `[K, B] -> [B]` of log-weights.

    Raises:
        ValueError: a temperature that is not above 0; `kl="exact"` with another bound than the ELBO.
        TypeError: the latent has no relaxation.

    Reference:
        Maddison, Mnih, Teh, The Concrete Distribution, 2016, arXiv 1611.00712, section 3 and appendix C (kl="relaxed");
        Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, 2016, arXiv 1611.01144, sections 2.1 and
        2.2 (straight-through).
    """

    temperature: float | Schedule = 0.5
    num_samples: int = 1
    kl: Literal["relaxed", "exact"] = "relaxed"
    straight_through: bool = False
    bound: Bound = elbo

    def __post_init__(self) -> None:
        if not callable(self.temperature):
            positive("temperature", self.temperature, remedy="0.5 is a usual choice; lower is nearer to discrete.")
        whole("num_samples", self.num_samples)
        check_bound(self.bound)
        choice("kl", self.kl, ("relaxed", "exact"))
        if self.kl == "exact" and self.bound is not elbo:
            raise ValueError(
                f'kl="exact" with the bound {name_of(self.bound)}: only the ELBO splits into a likelihood and a KL. '
                'Use kl="relaxed", or bound=elbo.'
            )

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        if callable(self.temperature):
            raise ValueError("the temperature is a schedule. Fix it first: estimator.at(step)(model, x); fit does so.")
        relaxed = relax(model, self.temperature, straight_through=self.straight_through)
        samples = draw(relaxed, x, self.num_samples, reparameterized=True)
        if self.kl == "relaxed":
            return Estimate.of(weighed(self.bound, samples), bound_name(self.bound, samples))
        kl = closed_form_kl(exact_distribution(samples.posterior), exact_distribution(samples.prior), len(x))
        name = "elbo" if self.straight_through else "surrogate"
        return Estimate.of(samples.log_likelihood.mean(0) - kl, name)

    def at(self, step: int) -> Relaxed:
        if not callable(self.temperature):
            return self
        temperature = positive(f"the temperature that the schedule gives for step {step}", self.temperature(step))
        return replace(self, temperature=temperature)
