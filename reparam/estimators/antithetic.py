"""Estimators from pairs of antithetic draws: ARM and DisARM for coins, DisARM on a tree for categories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reparam import surrogates
from reparam.distributions.noise import logistic
from reparam.draws import score
from reparam.estimators.estimate import Estimate, OfElbo, bound_name, fixed_samples, signal_and_rest
from reparam.factors import Factors, factors_of
from reparam.model import LatentVariableModel


@dataclass(frozen=True, repr=False)
class ARM(OfElbo):
    """Augment-REINFORCE-merge for Bernoulli latents; unbiased for the gradient of the ELBO. DisARM is never worse.

    Args:
        num_samples: K pairs of antithetic draws for each example, or a schedule: the decoder sees two K draws.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli.

    Reference:
        Yin, Zhou, ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks, 2018, arXiv 1807.11143.
    """

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        return _coins(self, model, x, averaged=False)


@dataclass(frozen=True, repr=False)
class DisARM(OfElbo):
    """ARM with its noise averaged out (DisARM, U2G) for Bernoulli latents; unbiased for the gradient of the ELBO.

    Args:
        num_samples: K pairs of antithetic draws for each example, or a schedule: the decoder sees two K draws.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not Bernoulli.

    Reference:
        Dong, Mnih, Tucker, DisARM: An Antithetic Gradient Estimator for Binary Latent Variables, 2020, arXiv
        2006.10680; Yin et al., 2020, arXiv 2006.06448 (U2G).
    """

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        return _coins(self, model, x, averaged=True)


@dataclass(frozen=True, repr=False)
class DisARMTree(OfElbo):
    """DisARM for Categorical latents, each a balanced tree of coins; unbiased for the gradient of the ELBO.

    C categories are the leaves of a tree with C - 1 coins, each of which chooses a side; all coins are thrown as
    antithetic pairs. Coins that neither draw came past have an expected gradient of zero, and are left out.

    Args:
        num_samples: K pairs of antithetic draws for each example, or a schedule: the decoder sees two K draws.
        bound: `elbo`, `beta_elbo(...)` or `free_bits(...)`.

    Raises:
        TypeError: a latent that is not one-hot Categorical.

    Reference:
        Dong, Mnih, Tucker, Coupled Gradient Estimators for Discrete Latent Variables, 2021, arXiv 2106.08056 (the tree
        of coins). There this family does better than ARSM (Yin, Yue, Zhou, 2019), which takes C (C - 1) / 2 draws.
    """

    def __call__(self, model: LatentVariableModel, x: Tensor) -> Estimate:
        posterior = model.posterior(x)
        remedy = "For Bernoulli use DisARM, for any latent RLOO."
        factors = factors_of(posterior, "DisARMTree", instead=remedy, binary=False)
        left, right = _tree(factors.logits.shape[-1], factors.logits.device)
        coins = Factors(_side(factors.logits, left) - _side(factors.logits, right), binary=True)  # [B, *D, C - 1]
        noise = logistic(coins.logits.detach().expand(fixed_samples(self.num_samples), *coins.logits.shape))
        pair = torch.cat([coins.logits + noise, coins.logits - noise]) > 0
        # a leaf is reached if every coin above it points its way; a coin is met if the leaf reached is below it
        points_its_way = torch.where(pair.unsqueeze(-1), left, right) | ~(left | right)
        leaf = points_its_way.all(-2)
        met = (leaf.unsqueeze(-2) & (left | right)).any(-1)
        samples = score(model, x, leaf.to(factors.dtype), posterior)
        signal, rest = signal_and_rest(self.bound, samples)
        met_once = torch.maximum(*met.to(noise).chunk(2))
        first, second = pair.to(noise).chunk(2)
        f, antithetic_f = signal.detach().chunk(2)
        gradient = surrogates.disarm(f, antithetic_f, first * met_once, second * met_once, coins.logits.detach())
        bound = coins.push(signal.mean(0) + rest, gradient)
        return Estimate.of(bound, bound_name(self.bound, samples))


def _coins(estimator: ARM | DisARM, model: LatentVariableModel, x: Tensor, *, averaged: bool) -> Estimate:
    posterior = model.posterior(x)
    name = type(estimator).__name__
    remedy = "For one-hot Categorical use DisARMTree, for any latent RLOO."
    factors = factors_of(posterior, name, instead=remedy, binary=True)
    logits = factors.logits.detach()
    noise = logistic(logits.expand(fixed_samples(estimator.num_samples), *logits.shape))
    z = factors.harden(torch.cat([logits + noise, logits - noise]))
    samples = score(model, x, z.to(factors.dtype), posterior)
    signal, rest = signal_and_rest(estimator.bound, samples)
    f, antithetic_f = signal.detach().chunk(2)
    if averaged:
        first, second = z.chunk(2)
        gradient = surrogates.disarm(f, antithetic_f, first, second, logits)
    else:
        gradient = surrogates.arm(f, antithetic_f, noise)
    return Estimate.of(factors.push(signal.mean(0) + rest, gradient), bound_name(estimator.bound, samples))


def _tree(num_leaves: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each inner node of a balanced binary tree, the leaves below its left and its right side, `[C - 1, C]`."""
    lefts, rights = [], []
    ranges = [(0, num_leaves)]
    while ranges:
        start, end = ranges.pop()
        if end - start < 2:
            continue
        middle = (start + end + 1) // 2
        lefts.append([start <= leaf < middle for leaf in range(num_leaves)])
        rights.append([middle <= leaf < end for leaf in range(num_leaves)])
        ranges += [(start, middle), (middle, end)]
    return torch.tensor(lefts, device=device), torch.tensor(rights, device=device)


def _side(log_probs: Tensor, leaves: Tensor) -> Tensor:
    """log of the probability of the leaves on one side of each node."""
    return log_probs.unsqueeze(-2).masked_fill(~leaves, -torch.inf).logsumexp(-1)
