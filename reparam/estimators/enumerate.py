"""The exact gradient, by summing over every state of the latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reparam._checks import whole
from reparam.bounds import score
from reparam.distributions.enumeration import MAX_STATES, joint_support
from reparam.estimators.estimate import Estimate
from reparam.model import LatentVariableModel


@dataclass(frozen=True)
class Enumerate:
    """`ELBO = sum over z of q(z|x) log (p(x, z) / q(z|x))`, without sampling: exact value, exact gradient.

    It decodes every state for every example at once, S x B of them: the oracle for the other estimators, and for a
    latent of up to some hundred states often the best choice. Memory ends before `max_states` does where x is large.

    Args:
        max_states: the most joint states that are enumerated.

    Raises:
        TypeError: a latent whose states cannot be listed.
        ValueError: more than `max_states` states.
    """

    max_states: int = MAX_STATES

    def __post_init__(self) -> None:
        whole("max_states", self.max_states)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        prior = model.prior()
        states = joint_support(prior, max_states=self.max_states)
        z = states.unsqueeze(1).expand(-1, x.shape[0], *prior.event_shape)
        samples = score(model, x, z, model.posterior(x))
        log_q = samples.log_posterior
        possible = log_q > -torch.inf  # a state that q excludes adds nothing: 0 log 0 = 0
        weighted = log_q.exp() * torch.where(possible, samples.log_weight, 0.0)
        return Estimate.of(torch.where(possible, weighted, 0.0).sum(0), "elbo")

    def at(self, step: int) -> Enumerate:
        return self
