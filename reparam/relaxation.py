"""relax(model, temperature): another model, whose latent is continuous."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from reparam.hierarchy.chain import Chain
from reparam.hierarchy.composite import Composite
from reparam.model import LatentVariableModel


class RelaxedChain(Composite):
    """A chain whose bits and symbols are relaxed, layer by layer; its other parts stay as they are.

    A layer sees those before it as its network does in the exact chain, at their squashed values.

    Args:
        exact: the chain that is relaxed.
        temperature: above 0.
        straight_through: a layer sees the rounded values of those before it, and the gradient that of the soft ones.
    """

    def __init__(self, exact: Chain, temperature: float | Tensor, straight_through: bool = False) -> None:
        self.exact = exact
        self.temperature = temperature
        self.straight_through = straight_through
        super().__init__(exact.families, exact.batch_shape)
        members = {name: exact.member(name) for name in exact.families}
        self.kinds = {name: _kind(member) for name, member in members.items()}
        self._nested = {
            name: RelaxedChain(member, temperature, straight_through)
            for name, member in members.items()
            if isinstance(member, Chain) and self.kinds[name]
        }
        if not any(self.kinds.values()):
            raise TypeError(
                "the latent cannot be relaxed: no part of it is Bernoulli or one-hot Categorical. Use Pathwise."
            )
        self.rigid = [name for name, member in members.items() if not (self.kinds[name] or member.has_rsample)]
        self.has_rsample = not self.rigid

    def parts(self, values: Mapping[str, Tensor]) -> Iterator[tuple[str, Distribution]]:
        seen: dict[str, Tensor] = {}
        for name, part in self.exact.parts(seen):
            yield name, self._relaxed(part) if self.kinds[name] else part
            seen[name] = self._squashed(name, values[name])

    def _relaxed(self, part: Distribution) -> Distribution:
        return relax_distribution(part, self.temperature, straight_through=self.straight_through)

    def squash(self, y: Tensor) -> Tensor:
        """The relaxed value in the space of the exact one."""
        return self.join({name: self._squashed(name, part) for name, part in self.split(y).items()})

    def _squashed(self, name: str, y: Tensor) -> Tensor:
        kind = self.kinds[name]
        if name in self._nested:
            return self._nested[name].squash(y)
        return y if kind is None else squash(y, binary=(kind == "bits"), hard=self.straight_through)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RelaxedChain:
        return RelaxedChain(self.exact.expand(batch_shape), self.temperature, self.straight_through)


_RELAXED = (
    RelaxedChain,
    LogitRelaxedBernoulli,
    LogRelaxedCategorical,
    TorchLogitRelaxedBernoulli,
    TorchRelaxedBernoulli,
    TorchExpRelaxedCategorical,
    TorchRelaxedOneHotCategorical,
)


def is_relaxed(distribution: Distribution) -> bool:
    """Whether this is a relaxed Bernoulli or Categorical, ours or torch's."""
    base = unwrap(distribution)[0]
    if isinstance(base, Chain):
        return any(is_relaxed(base.member(name)) for name in base.families)
    return isinstance(base, _RELAXED)


def _kind(distribution: Distribution) -> str | None:
    """Which relaxation it has, "bits", "symbols" or "parts", or None."""
    base, _ = unwrap(distribution)
    if isinstance(base, Chain):
        return "parts" if any(_kind(base.member(name)) for name in base.families) else None
    if isinstance(base, distributions.Bernoulli | Bernoulli):
        return "bits"
    return "symbols" if isinstance(base, distributions.OneHotCategorical | OneHotCategorical) else None


def relax_distribution(
    distribution: Distribution, temperature: float | Tensor, *, straight_through: bool = False
) -> Distribution:
    """A Bernoulli as a `LogitRelaxedBernoulli`, a one-hot categorical as a `LogRelaxedCategorical`, a chain by layers.

    Raises:
        TypeError: the distribution is none of these.
    """
    given: Any
    given, num_axes = unwrap(distribution)
    kind = _kind(given)
    relaxed: Distribution
    if isinstance(given, Chain):
        relaxed = RelaxedChain(given, temperature, straight_through)
    elif kind == "bits":
        relaxed = LogitRelaxedBernoulli(temperature, given.logits, validate_args=False)
    elif kind == "symbols":
        relaxed = LogRelaxedCategorical(temperature, given.logits, validate_args=False)
    else:
        raise TypeError(
            f"{type(given).__name__} has no relaxation; Bernoulli and one-hot Categorical have. "
            "Use Pathwise for a continuous latent, RLOO for another discrete one; of the priors with parameters, "
            "LearnedPrior can be relaxed."
        )
    return independent(relaxed, num_axes)


def exact_distribution(relaxed: Distribution) -> Distribution:
    """The discrete distribution that `relax_distribution` relaxed."""
    base, num_axes = unwrap(relaxed)
    exact: Distribution
    if isinstance(base, RelaxedChain):
        exact = base.exact
    elif isinstance(base, LogitRelaxedBernoulli):
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
    squash: Callable[[Tensor], Tensor]

    def prior(self) -> Distribution:
        """The relaxed prior, at the model's temperature."""
        return self._relaxed(self.exact.prior())

    def posterior(self, x: Tensor) -> Distribution:
        """The relaxed posterior, at the model's temperature."""
        return self._relaxed(self.exact.posterior(x))

    def likelihood(self, z: Tensor) -> Distribution:
        """The exact model's likelihood at the squashed latent."""
        return self.exact.likelihood(self.squash(z))

    def _relaxed(self, distribution: Distribution) -> Distribution:
        return relax_distribution(distribution, self.temperature, straight_through=self.straight_through)


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
    relaxed = relax_distribution(
        prior, temperature, straight_through=straight_through
    )  # refuses what has no relaxation
    if isinstance(relaxed, RelaxedChain):
        return RelaxedModel(model, temperature, straight_through, relaxed.squash)
    binary = isinstance(unwrap(relaxed)[0], LogitRelaxedBernoulli)
    return RelaxedModel(model, temperature, straight_through, partial(squash, binary=binary, hard=straight_through))
