"""Bounds: what is maximised. Pure functions of log-weights, `[K, B] -> [B]`, or of a likelihood and a KL.

A weight of zero is a log-weight of `-inf`. The bound is then the limit, `-inf` or finite, and its gradient is finite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from reparam._checks import number, positive
from reparam._tensors import log_mean_exp, possible
from reparam.schedules import Schedule, value_at

Bound = Callable[[Tensor], Tensor]


def elbo(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
    """The evidence lower bound, `mean over k of log w_k`, in nats; its expectation is at most log p(x) for every K.

    Reference:
        Kingma, Welling, Auto-Encoding Variational Bayes, 2013, arXiv 1312.6114, equation 2.
    """
    return log_weight.mean(0)


def iwae(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
    """The importance-weighted bound, `log mean over k of w_k`, in nats; at K = 1 the ELBO, and it rises with K.

    Reference:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2015, arXiv 1509.00519, equation 8.
    """
    return log_mean_exp(log_weight)


@dataclass(frozen=True)
class renyi:
    """Renyi's bound, `log(mean over k of w_k^(1 - alpha)) / (1 - alpha)`, in nats.

    `alpha = 1` is the ELBO, `alpha = 0` the importance-weighted bound; between them it falls with alpha. Below 0 it is
    no lower bound of log p(x) (its limit in K is above it), above 1 it is a looser one than the ELBO.

    Args:
        alpha: any real number.

    Reference:
        Li, Turner, Renyi Divergence Variational Inference, 2016, arXiv 1602.02311, section 4.

    Example:
        >>> renyi(0.5)(torch.tensor([[0.0], [2.0]]))
        tensor([1.2402])
    """

    alpha: float

    def __post_init__(self) -> None:
        number("alpha", self.alpha)

    def __call__(self, log_weight: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
        if self.alpha == 1:
            return elbo(log_weight)
        if self.alpha < 1:
            return self._of(log_weight)
        impossible = (log_weight.detach() == -torch.inf).any(0)  # one weight of zero has the power infinity
        return self._of(possible(log_weight)).masked_fill(impossible, -torch.inf)

    def _of(self, log_weight: Tensor) -> Tensor:
        power = 1 - self.alpha
        mean = possible(log_weight.mean(0))  # any finite number would do
        exponent = power * (log_weight - mean)
        # near alpha = 1 the logarithm is of a number near 1, whose digits expm1 and log1p keep
        near = exponent.abs().amax(0) < 0.5
        series = torch.where(near, exponent, 0.0).expm1().mean(0).log1p() / power + mean
        return torch.where(near, series, log_mean_exp(exponent) / power + mean)

    def __str__(self) -> str:
        return f"renyi_{self.alpha:g}"


@dataclass(frozen=True)
class tvo:
    """The thermodynamic bound: a left Riemann sum of `integral over beta from 0 to 1 of E_beta[log w]`, in nats.

    Each expectation, under `p(x, z)^beta q(z|x)^(1 - beta)`, is taken with the K samples' weights `w^beta`,
    self-normalised. With exact expectations the sum is a lower bound of log p(x), at one partition the ELBO; with few
    samples it is an estimate of that.

    Args:
        partition: rising numbers from 0 (included) to below 1, where the integrand is evaluated.

    Reference:
        Masrani, Le, Wood, The Thermodynamic Variational Objective, 2019, arXiv 1907.00031, section 3.
    """

    partition: tuple[float, ...] = (0.0, 0.1, 0.3)

    def __post_init__(self) -> None:
        if not isinstance(self.partition, tuple | list):
            raise TypeError(f"partition is {self.partition!r}; it must be a tuple of numbers, such as (0.0, 0.1, 0.3).")
        for beta in self.partition:
            number("a point of the partition", beta)
        ends = (*self.partition, 1.0)
        if ends[0] != 0 or any(a >= b for a, b in pairwise(ends)):
            raise ValueError(
                f"partition is {self.partition}; it must begin with 0 and rise to below 1, such as (0.0, 0.1, 0.3)."
            )

    def steps(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The points of the partition and the widths of its intervals, each `[P, 1, 1]`."""
        ends = torch.tensor([*self.partition, 1.0], dtype=like.dtype, device=like.device)[:, None, None]
        return ends[:-1], ends.diff(dim=0)

    def __call__(self, log_weight: Float[Tensor, "K B"]) -> Float[Tensor, "B"]:
        betas, widths = self.steps(log_weight)
        share = tempered(betas, log_weight).softmax(1)
        return (widths * share * torch.where(share > 0, log_weight, 0.0)).sum((0, 1))

    def __str__(self) -> str:
        return f"tvo_{len(self.partition)}"


def tempered(betas: Tensor, log_weight: Tensor) -> Tensor:
    """`log w^beta`, where `w^0 = 1` even of a weight of zero; zero where all weights are, so that they share alike."""
    alike = (betas == 0) | (log_weight.detach().amax(0) == -torch.inf)
    return torch.where(alike, 0.0, betas * log_weight)


class PenalisedBound(ABC):
    """An objective `E[log p(x|z)] - penalty(KL)`. It is not the ELBO, and its name never says so.

    It takes the KL in closed form, one column for each independent variable of the latent.
    """

    @abstractmethod
    def penalty(self, kl: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """What the KL by variable costs, in nats."""

    def at(self, step: int) -> Self:
        """This objective with its schedule fixed at a training step."""
        return self

    def __call__(self, log_likelihood: Float[Tensor, "K B"], kl: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """The objective of K likelihoods and the KL by variable."""
        return log_likelihood.mean(0) - self.penalty(kl)


def _not_negative(name: str, value: float) -> float:
    if number(name, value) < 0:
        raise ValueError(f"{name} is {value}; it must be at least 0. 1 is the ELBO.")
    return value


@dataclass(frozen=True)
class beta_elbo(PenalisedBound):
    """`E[log p(x|z)] - beta KL(q || p)`: the ELBO only at beta = 1, a lower bound of log p(x) only from there on.

    Args:
        beta: at least 0, or a schedule of it (warm-up: `linear(0.0, 1.0, 10_000)`).

    Reference:
        Higgins et al., beta-VAE, ICLR 2017; Bowman et al., 2015, arXiv 1511.06349, section 3.1 (annealing).
    """

    beta: float | Schedule

    def __post_init__(self) -> None:
        if not callable(self.beta):
            _not_negative("beta", self.beta)

    def penalty(self, kl: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        if callable(self.beta):
            raise ValueError("beta is a schedule. Fix it first: estimator.at(step)(model, x); fit does so.")
        return self.beta * kl.sum(1)

    def at(self, step: int) -> beta_elbo:
        return replace(self, beta=_not_negative(f"beta at step {step}", value_at(self.beta, step)))

    def __str__(self) -> str:
        return f"beta_elbo_{self.beta:g}" if not callable(self.beta) else "beta_elbo"


@dataclass(frozen=True)
class free_bits(PenalisedBound):
    """`E[log p(x|z)] - sum over d of max(nats, mean over the batch of KL_d)`: each one's first `nats` are free.

    A variable whose KL is below that on the batch gets no gradient from it. Its mean over the batch is never above the
    ELBO's.

    Args:
        nats: above 0, for each independent variable.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling, Improving Variational Inference with Inverse
        Autoregressive Flow, 2016, arXiv 1606.04934, appendix (free bits).
    """

    nats: float

    def __post_init__(self) -> None:
        positive("nats", self.nats)

    def penalty(self, kl: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        return torch.where(kl.mean(0) > self.nats, kl, self.nats).sum(1)

    def __str__(self) -> str:
        return f"free_bits_{self.nats:g}"
