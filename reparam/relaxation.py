"""relax(model, temperature): another model, whose latent is continuous."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli as TorchLogitRelaxedBernoulli
from torch.distributions.relaxed_bernoulli import RelaxedBernoulli as TorchRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical
from torch.distributions.relaxed_categorical import RelaxedOneHotCategorical as TorchRelaxedOneHotCategorical

from reparam import distributions
from reparam._tensors import independent, unwrap
from reparam.distributions import LogitRelaxedBernoulli, LogRelaxedCategorical
from reparam.model import LatentVariableModel

_RELAXED = (
    LogitRelaxedBernoulli,
    LogRelaxedCategorical,
    TorchLogitRelaxedBernoulli,
    TorchRelaxedBernoulli,
    TorchExpRelaxedCategorical,
    TorchRelaxedOneHotCategorical,
)


def is_relaxed(distribution: Distribution) -> bool:
    """Whether this is a relaxed Bernoulli or Categorical, ours or torch's."""
    return isinstance(unwrap(distribution)[0], _RELAXED)


def relax_distribution(distribution: Distribution, temperature: float | Tensor) -> Distribution:
    """A Bernoulli as a `LogitRelaxedBernoulli`, a one-hot categorical as a `LogRelaxedCategorical`.

    Raises:
        TypeError: the distribution is neither.
    """
    base, num_axes = unwrap(distribution)
    relaxed: Distribution
    if isinstance(base, distributions.Bernoulli | Bernoulli):
        relaxed = LogitRelaxedBernoulli(temperature, base.logits, validate_args=False)
    elif isinstance(base, distributions.OneHotCategorical | OneHotCategorical):
        relaxed = LogRelaxedCategorical(temperature, base.logits, validate_args=False)
    else:
        raise TypeError(
            f"{type(base).__name__} has no relaxation; Bernoulli and one-hot Categorical have. "
            "Use Pathwise for a continuous latent, RLOO for another discrete one."
        )
    return independent(relaxed, num_axes)


def exact_distribution(relaxed: Distribution) -> Distribution:
    """The discrete distribution that `relax_distribution` relaxed."""
    base, num_axes = unwrap(relaxed)
    exact: Distribution
    if isinstance(base, LogitRelaxedBernoulli):
        exact = distributions.Bernoulli(base.logits, validate_args=False)
    elif isinstance(base, LogRelaxedCategorical):
        exact = distributions.OneHotCategorical(base.logits, validate_args=False)
    else:
        raise TypeError(f"{type(base).__name__} is not one of reparam's relaxed distributions.")
    return independent(exact, num_axes)


def squash(y: Tensor, *, binary: bool, hard: bool = False) -> Tensor:
    """A relaxed latent y in the space of the discrete one: `sigmoid(y)`, or `exp(y)` on the simplex.

    Args:
        y: logits, or points of the log-simplex.
        binary: which of the two.
        hard: round to the nearest discrete value; the gradient stays that of the soft value (straight-through).
    """
    soft = y.sigmoid() if binary else y.exp()
    if not hard:
        return soft
    rounded = (y > 0).to(soft) if binary else torch.zeros_like(y).scatter(-1, y.argmax(-1, keepdim=True), 1.0)
    return rounded + (soft - soft.detach())


@dataclass(frozen=True, eq=False)
class RelaxedModel:
    """A model whose latent y is the relaxation of a discrete z; make it with `relax`."""

    exact: LatentVariableModel
    temperature: float | Tensor
    straight_through: bool
    binary: bool

    def prior(self) -> Distribution:
        """The relaxed prior, at the model's temperature."""
        return relax_distribution(self.exact.prior(), self.temperature)

    def posterior(self, x: Tensor) -> Distribution:
        """The relaxed posterior, at the model's temperature."""
        return relax_distribution(self.exact.posterior(x), self.temperature)

    def likelihood(self, z: Tensor) -> Distribution:
        """The exact model's likelihood at the squashed latent."""
        return self.exact.likelihood(squash(z, binary=self.binary, hard=self.straight_through))


def relax(model: LatentVariableModel, temperature: float | Tensor, *, straight_through: bool = False) -> RelaxedModel:
    """Another model, with a continuous latent y in logit or log-simplex space.

    Its prior and posterior are the relaxed ones, its likelihood is the exact model's at `sigmoid(y)` or `exp(y)`. A
    bound of it is a bound of *it*: it says nothing about the exact model, and `evaluate` refuses it.

    Args:
        model: with a Bernoulli or one-hot Categorical latent.
        temperature: above 0; the lower, the closer y is to discrete.
        straight_through: the likelihood sees the rounded y, its gradient the soft one. As a hard y under the relaxed
            prior is distributed as z, this model gives every x the probability that the exact model gives it.

    Raises:
        TypeError: the latent has no relaxation.
        ValueError: a temperature that is not above 0.

    Reference:
        Maddison, Mnih, Teh, The Concrete Distribution, 2016, arXiv 1611.00712, section 3 and appendix C.
    """
    prior = model.prior()
    if is_relaxed(prior):
        raise TypeError("the model is relaxed already. Relax the exact model: relaxed_model.exact.")
    if isinstance(temperature, Tensor) and not bool((temperature > 0).all()):
        raise ValueError(f"temperature is {temperature.tolist()}; it must be above 0, such as 0.5.")
    relaxed_prior = relax_distribution(prior, temperature)  # refuses a latent that has no relaxation
    binary = isinstance(unwrap(relaxed_prior)[0], LogitRelaxedBernoulli)
    return RelaxedModel(model, temperature, straight_through, binary)
