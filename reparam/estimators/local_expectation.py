"""Each latent variable's own states summed out, the others sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reparam.draws import score
from reparam.estimators.estimate import Estimate, OfElbo, bound_name, fixed_samples, signal_and_rest
from reparam.factors import factors_of
from reparam.model import LatentVariableModel
from reparam.surrogates import finite_signal


@dataclass(frozen=True, repr=False)
class LocalExpectation(OfElbo):
    """Each variable's own states are summed out exactly, the other variables sampled.

    The gradient for variable d is `sum over states c of grad q_d(c) f(z with z_d = c)`, f the log-weight. Unbiased for
    the gradient of the ELBO. Value and decoder gradient are averaged in the same way over each variable's states. Every
    neighbour of a sample is decoded: 1 + D (C - 1) of them for D variables of C states.

    Args:
        num_samples: K hard draws for each example, or a schedule.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.

    Reference:
        Titsias, Lazaro-Gredilla, Local Expectation Gradients for Doubly Stochastic Variational Inference, 2015, arXiv
        1503.01494, section 3.
    """

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior = model.posterior(x)
        factors = factors_of(posterior, "LocalExpectation", instead="Use RLOO, which takes any latent.")
        log_probs = factors.state_log_probs()  # [B, D, C]
        _, num_variables, num_states = log_probs.shape
        num_samples = fixed_samples(self.num_samples)
        drawn = torch.distributions.Categorical(logits=log_probs.detach(), validate_args=False)
        states = drawn.sample((num_samples,))  # [K, B, D]
        # the sample itself, and for each variable the C - 1 samples that differ in it: by 1, ..., C - 1 states
        step = torch.eye(num_variables, dtype=torch.long, device=x.device)
        steps = (torch.arange(1, num_states, device=x.device)[:, None, None] * step).flatten(0, 1)  # [(C - 1) D, D]
        neighbours = (states.unsqueeze(1) + steps[:, None, :]) % num_states  # [K, (C - 1) D, B, D]
        everyone = torch.cat([states.unsqueeze(1), neighbours], 1).flatten(0, 1)
        samples = score(model, x, factors.from_states(everyone), posterior)
        signal, rest = signal_and_rest(self.bound, samples)
        signal = signal.unflatten(0, (num_samples, -1))
        itself = signal[:, :1].unsqueeze(1).expand(-1, 1, num_variables, -1)
        others = signal[:, 1:].unflatten(1, (num_states - 1, num_variables))
        by_shift = torch.cat([itself, others], 1).permute(0, 3, 2, 1)  # [K, B, D, C], by distance from the sample
        shifts = (torch.arange(num_states, device=x.device) - states.unsqueeze(-1)) % num_states
        by_state = by_shift.gather(-1, shifts)
        probs = log_probs.exp()
        by_state = torch.where(probs != 0, by_state, 0.0)  # of a state that is ruled out nothing is known, nor needed
        value = (probs.detach() * by_state).sum(-1).mean(2).mean(0)
        learned = finite_signal(by_state.detach().movedim(-1, 0)).movedim(0, -1)
        expected = (probs * learned).sum(-1).sum(2).mean(0)
        bound = value + (expected - expected.detach()) + rest
        return Estimate.of(bound, bound_name(self.bound, samples))
