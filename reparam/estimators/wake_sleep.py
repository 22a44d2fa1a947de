"""Learning the posterior from the model's own draws, or from weighted ones: wake-sleep and its reweighted form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reparam._checks import choice
from reparam._tensors import possible
from reparam.bounds import elbo, iwae
from reparam.draws import draw
from reparam.estimators.estimate import Estimate, Scheduled, bound_name, check_samples, fixed_samples
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.surrogates import wake, with_gradient_of


@dataclass(frozen=True, repr=False)
class WakeSleep(Scheduled):
    """The wake-sleep algorithm, for any latent: the decoder explains the data, the encoder the decoder's dreams.

    The gradient of the generative parameters is unbiased for that of the ELBO. The posterior's is unbiased for that of
    `-E_p(x)[KL(p(z|x) || q(z|x))]`: another objective, so the two together are the gradient of no bound. Where prior
    and posterior share parameters (`Ladder`, `VampPrior`), these get the sum of both, which is the gradient of neither.

    Reference:
        Hinton, Dayan, Frey, Neal, The "wake-sleep" algorithm for unsupervised neural networks, Science, 1995.
    """

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x)
        explained = samples.log_likelihood + samples.log_prior
        dreamt = _log_posterior_of_dreams(model, len(x))
        value = elbo(samples.log_weight)
        return Estimate.of(with_gradient_of(value, possible(explained).mean(0) + dreamt), bound_name(elbo, samples))


@dataclass(frozen=True, repr=False)
class RWS(Scheduled):
    """Reweighted wake-sleep, for any latent: the generative parameters follow "iwae_K" without bias.

    The posterior is fitted to the true one in the other direction than a bound does it, KL(p(z|x) || q(z|x)): on the
    data with self-normalised weights ("wake", biased by order 1/K), on the model's own draws ("sleep", unbiased, but of
    dreams), or by the mean of both. The gradients together are those of no bound, nor are those of parameters that
    prior and posterior share (`Ladder`, `VampPrior`). With one sample "sleep" is WakeSleep.

    Args:
        num_samples: K hard draws for each example, or a schedule; for "wake" at least 2.
        update: how the posterior learns: "wake", "sleep" or "both".

    Raises:
        ValueError: a wake update from a single sample.

    Reference:
        Bornschein, Bengio, Reweighted Wake-Sleep, 2014, arXiv 1406.2751; Le, Kosiorek, Siddharth, Teh, Wood, Revisiting
        Reweighted Wake-Sleep for Models with Stochastic Control Flow, 2018, arXiv 1805.10469.
    """

    num_samples: int | Schedule = 8
    update: Literal["wake", "sleep", "both"] = "wake"

    def __post_init__(self) -> None:
        choice("update", self.update, ("wake", "sleep", "both"))
        remedy = "One weight is always 1, and teaches the posterior its own draws. Use RWS(8), or update='sleep'."
        check_samples(self.num_samples, least=1 if self.update == "sleep" else 2, remedy=remedy)

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        num_samples = fixed_samples(self.num_samples)
        samples = draw(model, x, num_samples)
        log_joint = samples.log_likelihood + samples.log_prior
        wake_share = {"wake": 1.0, "sleep": 0.0, "both": 0.5}[self.update]
        bound = wake(samples.log_weight, log_joint, wake_share * samples.log_posterior)
        if wake_share < 1:
            dreamt = (1 - wake_share) * _log_posterior_of_dreams(model, len(x))
            bound = bound + (dreamt - dreamt.detach())
        return Estimate.of(bound, bound_name(iwae, samples) if num_samples > 1 else bound_name(elbo, samples))


def _log_posterior_of_dreams(model: LatentVariableModel, batch_size: int) -> Tensor:
    """log q(z|x) of pairs drawn from the model, `[B]`; only the posterior gets a gradient.

    A dream that the posterior excludes has an infinite loss without a gradient, and counts as zero.
    """
    with torch.no_grad():
        z = model.prior().sample((batch_size,))
        x = model.likelihood(z.unsqueeze(0)).sample()[0]
    return possible(model.posterior(x).log_prob(z))
