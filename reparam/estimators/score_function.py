"""Score-function estimators: nothing has to be differentiable in z.

They weigh each example's samples by what that example's likelihood says. Where it also depends on the latents of other
examples, through batch norm in training mode, they are biased; `Pathwise` is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from reparam._checks import choice, positive
from reparam.bounds import elbo, iwae
from reparam.draws import draw
from reparam.estimators.estimate import (
    Estimate,
    Objective,
    OfElbo,
    Scheduled,
    bound_name,
    check_elbo,
    check_samples,
    fixed_samples,
    one_number_each,
    signal_and_rest,
)
from reparam.model import LatentVariableModel
from reparam.schedules import Schedule
from reparam.surrogates import advantage_over_others, finite_signal, reinforce, vimco


@dataclass(frozen=True, repr=False)
class RLOO(OfElbo):
    """REINFORCE with the other samples' mean as baseline; unbiased for the gradient of the ELBO, for any latent.

    Args:
        num_samples: K >= 2 hard draws for each example, or a schedule; the variance falls as K grows.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        ValueError: fewer than two samples.

    Reference:
        Kool, van Hoof, Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, ICLR workshop 2019.
    """

    num_samples: int | Schedule = 4

    def __post_init__(self) -> None:
        remedy = "Each sample is compared with the mean of the others. Use RLOO(num_samples=4)."
        check_samples(self.num_samples, least=2, remedy=remedy)
        super().__post_init__()

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, fixed_samples(self.num_samples))
        signal, rest = signal_and_rest(self.bound, samples)
        baseline = finite_signal(signal.detach()) - advantage_over_others(signal)
        bound = reinforce(signal, samples.log_posterior, baseline) + rest
        return Estimate.of(bound, bound_name(self.bound, samples))


@dataclass(frozen=True, repr=False)
class VIMCO(Scheduled):
    """The importance-weighted bound by score functions; unbiased for the gradient of "iwae_K", for any latent.

    Args:
        num_samples: K >= 2 hard draws for each example, or a schedule. More make the bound tighter.
        mean: what stands for a sample's weight in its baseline: the geometric or the arithmetic mean of the others.

    Raises:
        ValueError: fewer than two samples.

    Reference:
        Mnih, Rezende, Variational inference for Monte Carlo objectives, 2016, arXiv 1602.06725, section 2.5.
    """

    num_samples: int | Schedule = 8
    mean: Literal["geometric", "arithmetic"] = "geometric"

    def __post_init__(self) -> None:
        remedy = "Each sample is compared with the others. Use VIMCO(num_samples=8)."
        check_samples(self.num_samples, least=2, remedy=remedy)
        choice("mean", self.mean, ("geometric", "arithmetic"))

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        samples = draw(model, x, fixed_samples(self.num_samples))
        bound = vimco(samples.log_weight, samples.log_posterior, self.mean)
        return Estimate.of(bound, bound_name(iwae, samples))


class RunningAverage(nn.Module):
    """An exponential average of batch means, kept with the estimator that owns it."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        if positive("decay", decay) >= 1:
            raise ValueError(f"decay is {decay}; it must be below 1, such as 0.9.")
        self.decay = decay
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("batches_seen", torch.zeros(()))

    value: Tensor
    batches_seen: Tensor

    def follow(self, mean: Tensor) -> None:
        """Moves on while training; the first batch sets it, and one that is not finite is passed over."""
        if not (torch.is_grad_enabled() and self.training):
            return
        share = torch.where(self.batches_seen == 0, 1.0, 1 - self.decay).to(self.value)
        finite = mean.isfinite()
        self.value.lerp_(torch.where(finite, mean, 0.0).to(self.value), share * finite)
        self.batches_seen.add_(finite)


class REINFORCE(Scheduled, nn.Module):
    """The score function with no baseline, or with the running average of earlier batches; for any latent.

    Unbiased for the gradient of the ELBO: the average is of batches before this one. Its variance is large, which is
    why the others exist.

    Args:
        num_samples: K hard draws for each example, or a schedule.
        baseline: "none" or "average".
        decay: of the running average: what is kept of it at each batch.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Reference:
        Williams, 1992; Paisley, Blei, Jordan, Variational Bayesian Inference with Stochastic Search, 2012, arXiv
        1206.6430.
    """

    def __init__(
        self,
        num_samples: int | Schedule = 1,
        baseline: Literal["none", "average"] = "average",
        decay: float = 0.9,
        bound: Objective = elbo,
    ) -> None:
        super().__init__()
        check_samples(num_samples)
        check_elbo(bound, "REINFORCE")
        self.num_samples = num_samples
        self.baseline = choice("baseline", baseline, ("none", "average"))
        self.bound = bound
        self.decay = decay
        self.average = RunningAverage(decay)

    def forward(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        """The estimate for a batch x, `[B, *event]`."""
        samples = draw(model, x, fixed_samples(self.num_samples))
        signal, rest = signal_and_rest(self.bound, samples)
        baseline = self.average.value if self.baseline == "average" else 0.0
        bound = reinforce(signal, samples.log_posterior, baseline) + rest
        if self.baseline == "average":
            self.average.follow(signal.detach().mean())
        return Estimate.of(bound, bound_name(self.bound, samples))


class NVIL(Scheduled, nn.Module):
    """The score function with a learned baseline b(x) on top of the running average; for any latent. Unbiased.

    The network learns to predict the signal, the log-weight log p(x, z) - log q(z|x) of a sample, from x alone; its
    `control_loss` is the mean squared difference of the two. (The original also
    divides the signal by a running standard deviation; that changes the length of the gradient, so it is left out.)

    Args:
        network: `[B, *event]` to `[B, 1]`, such as `rp.mlp(784, [100], 1)`. It does not see z.
        num_samples: K hard draws for each example, or a schedule.
        decay: of the running average.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Reference:
        Mnih, Gregor, Neural Variational Inference and Learning in Belief Networks, 2014, arXiv 1402.0030, section 2.3.
    """

    def __init__(
        self, network: nn.Module, num_samples: int | Schedule = 1, decay: float = 0.9, bound: Objective = elbo
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network is {network!r}; it must be an nn.Module from x to one number: rp.mlp(784, [100], 1)."
            )
        check_samples(num_samples)
        check_elbo(bound, "NVIL")
        self.network = network
        self.num_samples = num_samples
        self.bound = bound
        self.decay = decay
        self.average = RunningAverage(decay)

    def forward(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        """The estimate for a batch x, `[B, *event]`."""
        samples = draw(model, x, fixed_samples(self.num_samples))
        signal, rest = signal_and_rest(self.bound, samples)
        baseline = self.average.value + one_number_each(self.network, x, "x").reshape(-1)
        bound = reinforce(signal, samples.log_posterior, baseline) + rest
        possible = signal.detach() > -torch.inf  # no baseline predicts an infinite signal
        control_loss = torch.where(possible, signal.detach() - baseline, 0.0).square().mean()
        self.average.follow(signal.detach().mean())
        return Estimate.of(bound, bound_name(self.bound, samples), control_loss)
