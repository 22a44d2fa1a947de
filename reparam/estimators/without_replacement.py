"""Distinct samples: no decoder evaluation is spent twice on the same latent."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reparam._checks import whole
from reparam.distributions import log_outside_subsets, sample_without_replacement
from reparam.draws import score
from reparam.estimators.estimate import Estimate, OfElbo, bound_name, signal_and_rest
from reparam.factors import factors_of
from reparam.model import LatentVariableModel
from reparam.surrogates import unordered_set
from reparam.surrogates.without_replacement import MAX_SET


@dataclass(frozen=True, repr=False)
class UnorderedSet(OfElbo):
    """REINFORCE on K distinct joint states, drawn without replacement; unbiased for the gradient of the ELBO.

    Better than RLOO where the posterior is peaked, so that RLOO's samples are often equal; the same where all samples
    differ anyway. Drawing goes through the variables one by one and weighing through all 2^K subsets, so a step costs
    several times one of RLOO's where the decoder is small. The value is an unbiased estimate of the ELBO as well.

    Args:
        num_samples: K, from 2 to 8.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli or one-hot Categorical.
        ValueError: fewer than two or more than eight samples, or more than the latent has states.

    Reference:
        Kool, van Hoof, Welling, Estimating Gradients for Discrete Random Variables by Sampling without Replacement,
        2020, arXiv 2002.06043.
    """

    num_samples: int = 4

    def __post_init__(self) -> None:
        whole("num_samples", self.num_samples, least=2, remedy="Use UnorderedSet(num_samples=4).")
        if self.num_samples > MAX_SET:
            raise ValueError(
                f"num_samples is {self.num_samples}; it must be at most {MAX_SET}, since all subsets are gone through. "
                "Use RLOO for more."
            )
        super().__post_init__()

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior = model.posterior(x)
        factors = factors_of(posterior, "UnorderedSet", instead="Use RLOO, which takes any latent.")
        log_probs = factors.state_log_probs()
        states = sample_without_replacement(log_probs, self.num_samples)
        samples = score(model, x, factors.from_states(states), posterior)
        log_q = log_probs.expand(len(states), *log_probs.shape).gather(-1, states.unsqueeze(-1)).squeeze(-1).sum(-1)
        signal, rest = signal_and_rest(self.bound, samples)
        outside = log_outside_subsets(log_probs.detach(), states)
        return Estimate.of(unordered_set(signal, log_q, outside) + rest, bound_name(self.bound, samples))
