"""The laws that every distribution is held to. A test file lists its `Member`s and runs each of `LAWS` on each.

Parameters are float64 unless a law says otherwise; references come from SciPy, mpmath or a closed form.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from helpers import assert_mean
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True)
class Member:
    """A distribution with what is known of it from elsewhere.

    Attributes:
        name: of the test case.
        make: from the tensors of `params`, as positional arguments, to a distribution. It must build with
            `validate_args=False`.
        params: float64 tensors that give batch shape [3].
        reference: log-density of values `[N, 3, *event]` by other means: (values, *params as arrays) -> `[N, 3]`.
        nodes: quadrature: the distribution -> values `[N, 3, *event]` and log-weights `[N]` or `[N, 3]`, such that
            `sum exp(log_prob(values) + log_weights)` is one. For a countable support all states that matter, with
            log-weights of zero.
        extremes: lists of parameters (as floats or nested lists of them) whose density, samples and gradients must be
            finite in float32; each is made into a batch of shape [1].
        discrete: values are not differentiable.
        moments: whether `mean` and `variance` exist.
        implicit: rsample's gradient is implicit, so that it is compared through `cdf` and not by common noise.
    """

    name: str
    make: Callable[..., Distribution]
    params: tuple[Tensor, ...]
    reference: Callable[..., np.ndarray]
    nodes: Callable[[Distribution], tuple[Tensor, Tensor]]
    extremes: list[list] = field(default_factory=list)
    discrete: bool = False
    moments: bool = True
    implicit: bool = False

    def __call__(self, dtype=torch.float64) -> Distribution:
        return self.make(*(p.to(dtype) for p in self.params))

    def __str__(self) -> str:
        return self.name


def line(low, high, num_nodes=20_001):
    """Nodes of the trapezoid rule on an interval, the same for each of three members."""

    def nodes(_: Distribution) -> tuple[Tensor, Tensor]:
        values = torch.linspace(low, high, num_nodes, dtype=torch.float64)
        weights = torch.full_like(values, (high - low) / (num_nodes - 1))
        weights[[0, -1]] /= 2
        return values[:, None].expand(-1, 3), weights.log()

    return nodes


def inside(low, high, num_nodes=400):
    """Gauss-Legendre nodes, for densities that are smooth on a bounded interval."""
    points, weights = np.polynomial.legendre.leggauss(num_nodes)

    def nodes(_: Distribution) -> tuple[Tensor, Tensor]:
        values = torch.as_tensor(low + (high - low) * (points + 1) / 2)
        return values[:, None].expand(-1, 3), torch.as_tensor(np.log(weights * (high - low) / 2))

    return nodes


def tanh_sinh(low, high, num_nodes=2_001):
    """Double-exponential nodes, for densities with integrable singularities at the ends of an interval."""

    def nodes(_: Distribution) -> tuple[Tensor, Tensor]:
        t = torch.linspace(-3.8, 3.8, num_nodes, dtype=torch.float64)
        u = 0.5 * math.pi * t.sinh()
        values = low + (high - low) * (2 * u).sigmoid()
        log_weights = (0.5 * math.pi * t.cosh()).log() + (
            7.6 / (num_nodes - 1) * (high - low) / 2 / u.cosh() ** 2
        ).log()
        keep = (values > low) & (values < high)
        return values[keep][:, None].expand(-1, 3), log_weights[keep]

    return nodes


def states(values):
    """Every value of a countable support that has any probability to speak of."""

    def nodes(_: Distribution) -> tuple[Tensor, Tensor]:
        table = torch.as_tensor(values, dtype=torch.float64)
        return table[:, None].expand(-1, 3), torch.zeros(len(table), dtype=torch.float64)

    return nodes


def _leaves(member, dtype=torch.float64):
    return [p.to(dtype).clone().requires_grad_() for p in member.params]


def agrees_with_its_reference(member):
    d = member()
    values = d.sample((200,))
    expected = torch.as_tensor(member.reference(values.numpy(), *(p.numpy() for p in member.params)))
    torch.testing.assert_close(d.log_prob(values), expected, rtol=1e-9, atol=1e-9)


def integrates_to_one(member):
    d = member()
    values, log_weights = member.nodes(d)
    log_weights = log_weights if log_weights.ndim == 2 else log_weights[:, None]
    total = (d.log_prob(values) + log_weights).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-7)


def samples_have_its_moments(member):
    if not member.moments:
        return
    d = member()
    z = d.sample((60_000,))
    assert_mean(z, d.mean, num_errors=5)
    assert_mean((z - d.mean) ** 2, d.variance.expand_as(d.mean), num_errors=5)
    assert not z.requires_grad


def samples_are_inside_the_support(member):
    for dtype in (torch.float64, torch.float32):
        d = member(dtype)
        z = d.sample((2_000,))
        assert z.dtype == dtype
        assert d.support.check(z).all()
        assert d.log_prob(z).isfinite().all()


def log_prob_has_the_right_gradients(member):
    d = member()
    z = d.sample((4,))
    z.requires_grad_(not member.discrete)

    def score(z, *params):
        return member.make(*params).log_prob(z)

    assert torch.autograd.gradcheck(score, (z, *_leaves(member)), eps=1e-6, atol=1e-5, rtol=1e-4)


def rsample_has_the_right_gradients(member):
    if not member().has_rsample:
        return
    params = _leaves(member)
    d = member.make(*params)
    if member.implicit:  # F(z, params) is uniform noise: its total derivative along dz/dparams is zero
        z = d.rsample((50,))
        try:
            u = d.cdf(z)
        except NotImplementedError:  # on a circle or a sphere: its test file checks the gradient by other means
            return
        for parameter in params:
            (total,) = torch.autograd.grad(u.sum(), parameter, retain_graph=True)
            scale = torch.autograd.grad(d.cdf(z.detach()).abs().sum(), parameter, retain_graph=True)[0].abs()
            assert (total.abs() <= 1e-6 * (1 + scale)).all()
        return

    def draw(*params):
        torch.manual_seed(0)
        return member.make(*params).rsample((4,))

    assert torch.autograd.gradcheck(draw, tuple(params), eps=1e-6, atol=1e-5, rtol=1e-4)


def draws_move_as_their_mean(member):
    """Over draws the gradient of a draw has the gradient of the mean as its mean."""
    if not (member.moments and member().has_rsample) or member.implicit:
        return  # a direction is of length one, and moves along the sphere: see its test file
    leaves = _leaves(member)
    params = [p.detach().expand(20_000, *p.shape).clone().requires_grad_() for p in leaves]
    moved = torch.autograd.grad(member.make(*params).rsample().sum(), params)
    mean = member.make(*leaves).mean
    expected = torch.autograd.grad(mean.sum(), leaves, allow_unused=True)
    for samples, gradient, leaf in zip(moved, expected, leaves, strict=True):
        assert_mean(samples, torch.zeros_like(leaf) if gradient is None else gradient, num_errors=5)


def stays_finite_at_extremes(member):
    for extreme in member.extremes:
        params = [torch.tensor([p], dtype=torch.float32, requires_grad=True) for p in extreme]
        d = member.make(*params)
        z = (d.rsample if d.has_rsample else d.sample)((100,))
        assert z.isfinite().all(), f"a sample at {extreme}"
        log_prob = d.log_prob(z.detach())
        assert log_prob.isfinite().all(), f"log_prob of its own samples at {extreme}"
        gradients = torch.autograd.grad(log_prob.sum(), params, allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients), f"a gradient of log_prob at {extreme}"
        if d.has_rsample:
            gradients = torch.autograd.grad(z.sum(), params, allow_unused=True)
            assert all(g is None or g.isfinite().all() for g in gradients), f"a gradient of a sample at {extreme}"
        if member.moments:
            assert d.mean.isfinite().all(), f"the mean at {extreme}"


def expands(member):
    d = member()
    wide = d.expand((5, 3))
    assert wide.batch_shape == (5, 3)
    assert wide.event_shape == d.event_shape
    z = wide.sample((2,))
    assert z.shape == (2, 5, 3, *d.event_shape)
    torch.testing.assert_close(wide.log_prob(z), d.log_prob(z), rtol=1e-12, atol=1e-12)


def broadcasts_values(member):
    d = member()
    z = d.sample()
    both = torch.stack([z, z])
    torch.testing.assert_close(d.log_prob(both), d.log_prob(z).expand(2, 3), rtol=1e-12, atol=1e-12)
    assert d.log_prob(z[:1].expand(3, *d.event_shape)).shape == (3,)


def goes_through_vmap(member):
    z = member().sample((7,))
    mapped = torch.vmap(lambda z, *p: member.make(*p).log_prob(z), in_dims=(1, *[0] * len(member.params)), out_dims=1)
    torch.testing.assert_close(mapped(z, *member.params), member().log_prob(z), rtol=1e-10, atol=1e-10)


def scores_half_precision(member):
    for dtype, tolerance in ((torch.float16, 2e-2), (torch.bfloat16, 2e-2)):
        half = member(dtype)
        z = half.sample((500,))
        assert z.dtype == dtype
        assert z.isfinite().all()
        log_prob = half.log_prob(z)
        assert log_prob.dtype == torch.float32
        exact = member.make(*(p.to(dtype).double() for p in member.params)).log_prob(z.double())
        torch.testing.assert_close(log_prob.double(), exact, rtol=tolerance, atol=tolerance)


def cdf_and_icdf_are_inverse(member):
    d = member()
    u = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)[:, None].expand(-1, 3)
    try:
        z = d.icdf(u)
    except NotImplementedError:
        return
    torch.testing.assert_close(d.cdf(z), u, rtol=1e-8, atol=1e-8)


def copies(member):
    d = member()
    z = d.sample()
    torch.testing.assert_close(copy.deepcopy(d).log_prob(z), d.log_prob(z))
    assert type(d).__name__ in repr(d)


LAWS = [
    agrees_with_its_reference,
    integrates_to_one,
    samples_have_its_moments,
    samples_are_inside_the_support,
    log_prob_has_the_right_gradients,
    rsample_has_the_right_gradients,
    draws_move_as_their_mean,
    stays_finite_at_extremes,
    expands,
    broadcasts_values,
    goes_through_vmap,
    scores_half_precision,
    cdf_and_icdf_are_inverse,
    copies,
]


def kl_agrees_with_samples(q: Distribution, p: Distribution, num_samples: int = 100_000) -> None:
    """A closed-form KL against the mean of log q - log p over draws of q."""
    z = q.sample((num_samples,))
    assert_mean(q.log_prob(z) - p.log_prob(z), torch.distributions.kl_divergence(q, p).expand(q.batch_shape))
