"""Mixture and Autoregressive, of which priors are made: their laws, and what is impossible under each component."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from laws import LAWS, Member, line
from scipy.special import log_expit, log_softmax, logsumexp
from torch.distributions import Independent, Normal

from reparam.distributions import Autoregressive, Bernoulli, Mixture, OneHotCategorical


def bits(num_variables):
    """All states of coins, for each of three members, with weights of one."""

    def nodes(_):
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * num_variables)
        return states[:, None].expand(-1, 3, -1), torch.zeros(len(states), dtype=torch.float64)

    return nodes


def symbols(num_variables, num_categories):
    def nodes(_):
        one_hot = torch.eye(num_categories, dtype=torch.float64)
        index = torch.cartesian_prod(*[torch.arange(num_categories)] * num_variables)
        states = one_hot[index]
        return states[:, None].expand(-1, 3, -1, -1), torch.zeros(len(states), dtype=torch.float64)

    return nodes


def mixture_of_normals(logits, loc, scale):
    return Mixture(logits, Normal(loc, scale, validate_args=False), validate_args=False)


def mixture_of_coins(logits, coins):
    return Mixture(logits, Independent(Bernoulli(coins, validate_args=False), 1), validate_args=False)


def chain_of_coins(logits, weight):
    def conditionals(z):
        given = (weight.tril(-1) @ z.unsqueeze(-1)).squeeze(-1)
        return Independent(Bernoulli(logits + given, validate_args=False), 1)

    return Autoregressive(conditionals, torch.zeros_like(logits), event_dim=1, validate_args=False)


def chain_of_symbols(logits, weight):
    """Two symbols of three; `weight` `[..., 3, 3]` is what the first adds to the logits of the second."""

    def conditionals(z):
        second = logits[..., 1, :] + (z[..., :1, :] @ weight).squeeze(-2)
        both = torch.stack([logits[..., 0, :].expand_as(second), second], -2)
        return Independent(OneHotCategorical(both, validate_args=False), 1)

    return Autoregressive(conditionals, torch.zeros_like(logits), event_dim=2, validate_args=False)


def _coin_chain_reference(z, logits, weight):
    given = logits + np.einsum("bij,nbj->nbi", np.tril(weight, -1), z)
    return (log_expit(given) * z + log_expit(-given) * (1 - z)).sum(-1)


def _symbol_chain_reference(z, logits, weight):
    second = logits[:, 1] + np.einsum("nbi,bij->nbj", z[:, :, 0], weight)
    return (log_softmax(logits[:, 0], -1) * z[:, :, 0] + log_softmax(second, -1) * z[:, :, 1]).sum(-1)


generator = torch.Generator().manual_seed(3)


def normal(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


MEMBERS = [
    Member(
        "Mixture of normals",
        mixture_of_normals,
        (normal(3, 4), 2 * normal(3, 4), (0.5 * normal(3, 4)).exp()),
        lambda z, a, m, s: logsumexp(log_softmax(a, -1) + scipy.stats.norm(m, s).logpdf(z[..., None]), -1),
        line(-40, 40),
        extremes=[
            [[1e4, -1e4], [0.0, 1.0], [1.0, 1.0]],
            [[0.0, 0.0], [-1e4, 1e4], [1e-4, 1e-4]],
            [[0.0, 0.0], [0.0, 0.0], [1e-6, 1e6]],
        ],
    ),
    Member(
        "Mixture of coins",
        mixture_of_coins,
        (normal(3, 4), 2 * normal(3, 4, 3)),
        lambda z, a, c: logsumexp(
            log_softmax(a, -1) + (log_expit(c) * z[..., None, :] + log_expit(-c) * (1 - z[..., None, :])).sum(-1),
            -1,
        ),
        bits(3),
        extremes=[[[1e4, -1e4], [[0.0, 1.0], [-1.0, 1e4]]], [[0.0, 0.0], [[1e4, -1e4], [-1e4, 1e4]]]],
        discrete=True,
    ),
    Member(
        "Autoregressive coins",
        chain_of_coins,
        (normal(3, 4), 2 * normal(3, 4, 4)),
        _coin_chain_reference,
        bits(4),
        extremes=[[[1e4, -1e4], [[0.0, 0.0], [1e4, 0.0]]], [[0.0, 0.0], [[0.0, 0.0], [-1e4, 0.0]]]],
        discrete=True,
        moments=False,
    ),
    Member(
        "Autoregressive symbols",
        chain_of_symbols,
        (normal(3, 2, 3), 2 * normal(3, 3, 3)),
        _symbol_chain_reference,
        symbols(2, 3),
        extremes=[[[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], [[1e4, 0.0, 0.0], [0.0, -1e4, 0.0], [0.0, 0.0, 0.0]]]],
        discrete=True,
        moments=False,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


def test_a_value_that_is_impossible_under_each_component_leaves_no_nan_in_a_gradient():
    logits = torch.zeros(2, requires_grad=True)
    mixture = Mixture(logits, Independent(Bernoulli(torch.zeros(2, 3), validate_args=False), 1), validate_args=False)
    log_prob = mixture.log_prob(torch.tensor([[0.3, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(log_prob, torch.tensor([-math.inf, -3 * math.log(2)]))
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    assert gradient.isfinite().all()
