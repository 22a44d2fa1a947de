"""Flow, the distribution: the density of an image, and what a remembered draw may be used for."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from flows import KINDS, flow
from laws import LAWS, Member
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    Independent,
    Normal,
    SigmoidTransform,
    TanhTransform,
    constraints,
)

from reparam import distributions


def lognormal(loc, scale):
    return distributions.Flow(Normal(loc, scale, validate_args=False), ExpTransform(), validate_args=False)


def skewed(loc, scale):
    """z = -2 exp(u) + 3 by two transforms."""
    return distributions.Flow(
        Normal(loc, scale, validate_args=False), ExpTransform(), AffineTransform(3.0, -2.0), validate_args=False
    )


generator = torch.Generator().manual_seed(3)
PARAMS = (
    torch.randn(3, generator=generator, dtype=torch.float64),
    (0.3 * torch.randn(3, generator=generator, dtype=torch.float64)).exp() / 2,
)


def positive_line(sign, shift):
    """Nodes in log(z): dense where the density of a lognormal is."""

    def nodes(_):
        u = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
        step = (u[1] - u[0]).log()
        return (shift + sign * u.exp())[:, None].expand(-1, 3), u + step + math.log(abs(sign))

    return nodes


MEMBERS = [
    Member(
        "Flow of one transform",
        lognormal,
        PARAMS,
        lambda z, m, s: scipy.stats.lognorm(s, scale=np.exp(m)).logpdf(z),
        positive_line(1, 0),
        extremes=[[0.0, 1e-6], [20.0, 1e-3], [-20.0, 1.0]],
        moments=False,
    ),
    Member(
        "Flow of two transforms",
        skewed,
        PARAMS,
        lambda z, m, s: scipy.stats.lognorm(s, scale=np.exp(m)).logpdf((3 - z) / 2) - np.log(2),
        positive_line(-2, 3),
        extremes=[[0.0, 0.1], [3.0, 1e-2]],
        moments=False,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


# the remembered draw


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_of_a_draw_needs_no_inverse_and_is_the_same(kind, float64):
    latent = flow(kind, 5)
    params = torch.randn(4, 10, requires_grad=True)
    posterior = latent(params)
    z = posterior.rsample((3,))
    calls = []
    for transform in posterior.transforms:
        transform._inverse = lambda y: calls.append(1)
    fast = posterior.log_prob(z)
    assert calls == []
    slow = latent(params).log_prob(z)
    torch.testing.assert_close(fast, slow)
    leaves = [params, *latent.parameters()]
    for a, b in zip(*(torch.autograd.grad(s.sum(), leaves, retain_graph=True) for s in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)  # the total derivative: through z as well


def test_a_draw_without_a_gradient_is_not_taken_for_a_score_that_needs_one(float64):
    latent = flow("maf", 3)
    params = torch.randn(4, 6, requires_grad=True)
    posterior = latent(params)
    z = posterior.sample((3,))
    log_prob = posterior.log_prob(z)
    expected = latent(params).log_prob(z)
    leaves = [params, *latent.parameters()]
    for a, b in zip(*(torch.autograd.grad(s.sum(), leaves) for s in (log_prob, expected)), strict=True):
        torch.testing.assert_close(a, b)
        assert b.abs().max() > 1e-4
    with torch.no_grad():
        torch.testing.assert_close(posterior.log_prob(z), expected)


def test_only_the_very_last_draw_as_it_was_drawn_is_remembered(float64):
    latent = flow("nsf", 3)
    posterior = latent(torch.randn(4, 6))
    first, second = posterior.sample((3,)), posterior.sample((3,))
    fresh = latent(torch.cat([posterior.base.base_dist.loc, 2 * posterior.base.base_dist.scale.log()], -1))
    for z in (first, second, second.clone()):
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z))
    second.add_(0.5)
    with torch.no_grad():
        torch.testing.assert_close(posterior.log_prob(second), fresh.log_prob(second))
    with torch.inference_mode():
        z = posterior.sample((3,))
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z.clone()))


def test_an_alias_of_a_draw_has_the_partial_derivative(float64):
    posterior = flow("maf", 3)(torch.randn(4, 6))
    z = posterior.rsample((2,))
    assert torch.autograd.grad(posterior.log_prob(z).sum(), z, allow_unused=True) == (None,)
    (partial,) = torch.autograd.grad(posterior.log_prob(z.view_as(z)).sum(), z)
    eps = 1e-6 * torch.eye(3)
    with torch.no_grad():
        for i in range(3):
            slope = (posterior.log_prob(z + eps[i]) - posterior.log_prob(z - eps[i])) / 2e-6
            torch.testing.assert_close(partial[..., i], slope, rtol=1e-4, atol=1e-5)


def test_transforms_of_any_number_of_event_axes_are_added_up(float64):
    base = Independent(Normal(torch.zeros(4, 2, 3), torch.ones(2, 3)), 2)
    whole = distributions.Flow(base, ComposeTransform([TanhTransform(), AffineTransform(1.0, 2.0, event_dim=0)]))
    rows = distributions.Flow(base, TanhTransform(), AffineTransform(1.0, 2.0, event_dim=1))
    z = whole.sample((5,))
    u = ((z - 1) / 2).atanh()
    expected = base.log_prob(u) - (math.log(2) + (1 - u.tanh().square()).log()).sum((-1, -2))
    for d in (whole, rows):
        torch.testing.assert_close(d.log_prob(z.clone()), expected)
        assert d.log_prob(z).shape == (5, 4)
        assert d.support.event_dim == 2
        assert d.support.check(z).shape == (5, 4)
    sigmoid = distributions.Flow(Normal(0.0, 1.0), SigmoidTransform())
    assert isinstance(sigmoid.support, constraints.interval)
    assert distributions.Flow(Normal(0.0, 1.0)).log_prob(torch.tensor(0.3)) == Normal(0.0, 1.0).log_prob(
        torch.tensor(0.3)
    )
