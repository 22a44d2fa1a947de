"""Hard samples forward, a soft gradient backward: biased, of low variance, and with the exact ELBO for a value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from reparam._checks import positive, whole
from reparam.bounds import elbo
from reparam.draws import score
from reparam.estimators.estimate import (
    Estimate,
    Objective,
    Scheduled,
    bound_name,
    check_elbo,
    check_samples,
    check_temperature,
    fixed_samples,
    fixed_temperature,
    penalty,
)
from reparam.factors import Factors, factors_of
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule


class _StraightThrough(ABC, Scheduled):
    """What the three share: a hard draw of K samples with somebody's gradient, scored with the KL in closed form."""

    num_samples: int | Schedule
    temperature: float | Schedule
    bound: Objective

    def __post_init__(self) -> None:
        check_samples(self.num_samples)
        check_temperature(self.temperature)
        check_elbo(self.bound, type(self).__name__)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior = model.posterior(x)
        remedy = "Use Pathwise where the latent has an rsample, RLOO for any."
        factors = factors_of(posterior, type(self).__name__, instead=remedy)
        z = self._sample(factors, fixed_samples(self.num_samples), fixed_temperature(self.temperature))
        samples = score(model, x, z.to(factors.dtype), posterior)
        bound = samples.log_likelihood.mean(0) - penalty(self.bound, samples)
        return Estimate.of(bound, self._name(bound_name(self.bound, samples)))

    def _name(self, name: str) -> str:
        return name

    @abstractmethod
    def _sample(self, factors: Factors, num_samples: int, temperature: float) -> Tensor:
        """Hard z, `[K, B, *event]`, with a gradient."""


@dataclass(frozen=True, repr=False)
class StraightThrough(_StraightThrough):
    """A hard sample whose gradient is taken as that of its mean, `softmax(logits / temperature)`. Biased.

    The temperatures of the two passes are separate. With `forward_temperature` other than 1 the samples are not from
    the posterior, so the value is a bound of no model, and named "surrogate".

    Args:
        temperature: of the backward pass, above 0, or a schedule.
        num_samples: K hard draws for each example, or a schedule.
        forward_temperature: of the samples; above 1 explores, below 1 sharpens.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: no closed form for the KL.

    Reference:
        Bengio, Leonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, arXiv
        1308.3432; Shah, Yan, Mozer, Liu, Improving Discrete Optimisation via Decoupled Straight-Through Estimator,
        2024, arXiv 2410.13331 (two temperatures).
    """

    temperature: float | Schedule = 1.0
    num_samples: int | Schedule = 1
    forward_temperature: float = 1.0
    bound: Objective = elbo

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("forward_temperature", self.forward_temperature, remedy="1 samples from the posterior.")

    def _name(self, name: str) -> str:
        return name if self.forward_temperature == 1 else "surrogate" if name == "elbo" else f"surrogate_{name}"

    def _sample(self, factors: Factors, num_samples: int, temperature: float) -> Tensor:
        at_forward = replace(factors, logits=factors.logits.detach() / self.forward_temperature)
        soft = factors.tempered(temperature)
        return factors.harden(at_forward.perturbed(num_samples)) + (soft - soft.detach())


@dataclass(frozen=True, repr=False)
class GumbelRao(_StraightThrough):
    """Straight-through Gumbel-softmax with its noise averaged out given the hard sample. Biased, like that.

    The gradient has the same expectation as `Relaxed(straight_through=True, kl="exact")` and a smaller variance. It
    decodes no more: the average is over the noise behind one and the same z.

    Args:
        temperature: above 0, or a schedule.
        num_samples: K hard draws for each example, or a schedule.
        num_conditional: relaxed draws given each of them.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: no closed form for the KL.

    Reference:
        Paulus, Maddison, Krause, Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator, 2020, arXiv
        2010.04838.
    """

    temperature: float | Schedule = 0.5
    num_samples: int | Schedule = 1
    num_conditional: int = 10
    bound: Objective = elbo

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("num_conditional", self.num_conditional)

    def _sample(self, factors: Factors, num_samples: int, temperature: float) -> Tensor:
        constant = factors.constant()
        z = constant.harden(constant.perturbed(num_samples))
        y = constant.perturbed_given(z.expand(self.num_conditional, *z.shape))
        # the noise is held, as in the estimator that is averaged: y moves with the logits one to one
        soft = factors.squash(y + (factors.logits - constant.logits), temperature).mean(0)
        return z + (soft - soft.detach())


@dataclass(frozen=True, repr=False)
class ReinMax(_StraightThrough):
    """Straight-through of second order (Heun's method). Biased; exact where the objective is quadratic in z.

    Args:
        temperature: of the soft part, above 0, or a schedule; at 1 the order is second, larger ones trade it for
            variance.
        num_samples: K hard draws for each example, or a schedule.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: no closed form for the KL.

    Reference:
        Liu, Dong, Liu, Yu, Gao, Bridging Discrete and Backpropagation: Straight-Through and Beyond, 2023, arXiv
        2304.08612, algorithm 2.
    """

    temperature: float | Schedule = 1.0
    num_samples: int | Schedule = 1
    bound: Objective = elbo

    def _sample(self, factors: Factors, num_samples: int, temperature: float) -> Tensor:
        constant = factors.constant()
        z = constant.harden(constant.perturbed(num_samples))
        halfway = (z + constant.tempered(temperature)) / 2
        # the mean at logits that give `halfway` now and move with the true ones
        shift = factors.logits - constant.logits
        log_odds = halfway.logit() if factors.binary else halfway.log()
        moved = replace(factors, logits=log_odds + shift).probs
        surrogate = 2 * moved - factors.probs / 2
        return z + (surrogate - surrogate.detach())
