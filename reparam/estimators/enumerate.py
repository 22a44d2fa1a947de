"""The exact gradient, by summing over every state of the latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reparam._checks import whole
from reparam.bounds import Bound, PenalisedBound, elbo
from reparam.distributions.enumeration import MAX_STATES, joint_support
from reparam.draws import Draw, score
from reparam.estimators.estimate import Estimate, Objective, Scheduled, bound_name, check_bound, penalty
from reparam.model import LatentVariableModel
from reparam.surrogates import finite_signal, with_gradient_of


@dataclass(frozen=True, repr=False)
class Enumerate(Scheduled):
    """`ELBO = sum over z of q(z|x) log (p(x, z) / q(z|x))`, without sampling: exact value, exact gradient.

    It decodes every state for every example at once, S x B of them: the oracle for the other estimators, and for a
    latent of up to some hundred states often the best choice. Memory ends before `max_states` does where x is large.

    Args:
        num_samples: K of a bound of K samples: its expectation over all S^K tuples of states. The ELBO's does not
            depend on it.
        bound: `elbo`, `iwae` or any other function `[K, B] -> [B]` of log-weights; `beta_elbo(...)`, `free_bits(...)`.
        max_states: the most joint states, or tuples of them, that are enumerated.

    Raises:
        TypeError: a latent whose states cannot be listed.
        ValueError: more than `max_states` states or tuples.
    """

    num_samples: int = 1
    bound: Objective = elbo
    max_states: int = MAX_STATES

    def __post_init__(self) -> None:
        whole("num_samples", self.num_samples)
        whole("max_states", self.max_states)
        check_bound(self.bound)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior, prior = model.posterior(x), model.prior()
        states = joint_support(prior, max_states=self.max_states)
        z = states.unsqueeze(1).expand(-1, x.shape[0], *prior.event_shape)
        samples = score(model, x, z, posterior)
        name = bound_name(self.bound, samples, self.num_samples)
        log_q = samples.log_posterior
        possible = log_q != -torch.inf  # a state that q excludes adds nothing: 0 log 0 = 0; NaN stays NaN
        if isinstance(self.bound, PenalisedBound):
            expected = _sum(possible, log_q, samples.log_likelihood)
            return Estimate.of(expected - penalty(self.bound, samples), name)
        if self.bound is elbo:
            return Estimate.of(_sum(possible, log_q, samples.log_weight), name)
        return Estimate.of(self._over_tuples(self.bound, samples), name)

    def _over_tuples(self, bound: Bound, samples: Draw) -> Tensor:
        """The expectation of a bound of K log-weights, each from its own draw."""
        num_states, num_tuples = len(samples.z), len(samples.z) ** self.num_samples
        if num_tuples > self.max_states:
            raise ValueError(
                f"{self.num_samples} draws of {num_states} states have {num_tuples} tuples; enumeration takes at most "
                f"{self.max_states}. Use fewer samples, or an estimator that samples, such as VIMCO."
            )
        index = torch.arange(num_states, device=samples.x.device)
        tuples = torch.cartesian_prod(*[index] * self.num_samples).reshape(num_tuples, self.num_samples)
        log_q = samples.log_posterior[tuples].sum(1)
        possible = log_q != -torch.inf
        log_weight = samples.log_weight.transpose(0, 1)[:, tuples.T].permute(1, 0, 2)  # [K, B, tuples]
        log_weight = torch.where(possible.T, log_weight, 0.0)
        values = bound(log_weight.flatten(1)).reshape(-1, num_tuples).T
        return _sum(possible, log_q, values)


def _sum(possible: Tensor, log_q: Tensor, values: Tensor) -> Tensor:
    """The expectation under q. Where it is `-inf`, its gradient is that of a finite penalty for what is impossible."""
    values = torch.where(possible, values, 0.0)
    finite = torch.where(possible, log_q.exp() * finite_signal(values), 0.0).sum(0)
    return with_gradient_of(finite.masked_fill((values == -torch.inf).any(0), -torch.inf), finite)
