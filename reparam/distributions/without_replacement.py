"""Distinct joint draws of independent discrete variables."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam.distributions.noise import gumbel


def sample_without_replacement(log_probs: Tensor, num_samples: int) -> Tensor:
    """K different joint states, as if drawn one after the other without putting any back.

    The K largest of all Gumbel-perturbed joint log-probabilities are such a sample; they are found variable by
    variable, keeping K partial states, without listing all of them.

    Args:
        log_probs: normalised, `[B, D, C]`: D independent variables of C states.
        num_samples: K.

    Returns:
        Indices of states, `[K, B, D]`.

    Raises:
        ValueError: fewer than K joint states.

    Reference:
        Kool, van Hoof, Welling, Stochastic Beams and Where to Find Them, 2019, arXiv 1903.06059, algorithm 1.
    """
    batch_size, num_variables, num_states = log_probs.shape
    if num_states**num_variables < num_samples:
        raise ValueError(
            f"{num_samples} different samples were asked of a latent with {num_states**num_variables} joint states. "
            "Ask for fewer, or sum over all states with Enumerate()."
        )
    log_probs = log_probs.detach()
    total = log_probs.new_zeros(batch_size, 1)
    perturbed = log_probs.new_zeros(batch_size, 1)
    chosen = torch.zeros(batch_size, 1, 0, dtype=torch.long, device=log_probs.device)
    for variable in range(num_variables):
        grown = total.unsqueeze(-1) + log_probs[:, variable].unsqueeze(1)  # [B, beams, C]
        grown_perturbed = _with_maximum(grown + gumbel(grown), perturbed.unsqueeze(-1))
        num_beams = min(num_samples, grown.shape[1] * num_states)
        perturbed, best = grown_perturbed.flatten(1).topk(num_beams)
        total = grown.flatten(1).gather(1, best)
        parent = (best // num_states).unsqueeze(-1).expand(-1, -1, variable)
        chosen = torch.cat([chosen.gather(1, parent), (best % num_states).unsqueeze(-1)], -1)
    return chosen.transpose(0, 1)


def _with_maximum(gumbels: Tensor, maximum: Tensor) -> Tensor:
    """Gumbel variables given that the largest on the last axis is `maximum`: monotone, without cancellation."""
    largest = gumbels.amax(-1, keepdim=True)
    gap = maximum - gumbels + torch.log(-torch.expm1(gumbels - largest))
    return maximum - gap.clamp_min(0) - torch.log1p((-gap.abs()).exp())


def log_outside_subsets(log_probs: Tensor, states: Tensor) -> Tensor:
    """log of the probability that a draw is none of a subset of distinct states, for every subset of them.

    A sum of positive terms: a draw that is none of them leaves their common prefixes at some variable, for a value
    that none of those with this prefix has. So it keeps its digits where the states are nearly all there is.

    Args:
        log_probs: normalised, `[B, D, C]`.
        states: indices, `[K, B, D]`, different in each column of the batch.

    Returns:
        `[2^K, B]`, in the order of the binary numbers whose bit k says that state k is in the subset.
    """
    num_samples, num_states = len(states), log_probs.shape[-1]
    chosen = log_probs.expand(num_samples, *log_probs.shape).gather(-1, states.unsqueeze(-1)).squeeze(-1)
    log_prefix = chosen.cumsum(-1) - chosen  # [K, B, D]
    equal = states.unsqueeze(1) == states  # [K, K, B, D]
    ahead = torch.cat([torch.ones_like(equal[..., :1]), equal[..., :-1]], -1).cumprod(-1).bool()
    takes = torch.nn.functional.one_hot(states, num_states).bool()
    rows = [torch.zeros_like(log_probs[:, 0, 0])]
    for subset in range(1, 2**num_samples):
        members = [k for k in range(num_samples) if subset >> k & 1]
        together = ahead[members][:, members]  # [m, m, B, D]
        used = (together.unsqueeze(-1) & takes[members]).any(1)  # [m, B, D, C]
        log_leaving = log_probs.masked_fill(used, -torch.inf).logsumexp(-1)
        # each shared prefix is counted once
        terms = log_prefix[members] + log_leaving - together.sum(1).to(log_probs.dtype).log()
        rows.append(terms.transpose(0, 1).flatten(1).logsumexp(-1))
    return torch.stack(rows).clamp_min(-1e30)
