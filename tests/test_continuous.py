"""Laws of the continuous distributions of one number, and of points of the simplex."""

import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import torch
from laws import LAWS, Member, inside, kl_agrees_with_samples, line, rsample_has_the_right_gradients, tanh_sinh
from torch.distributions import kl_divergence

from reparam.distributions import (
    Beta,
    ContinuousBernoulli,
    Dirichlet,
    Gamma,
    Kumaraswamy,
    Laplace,
    Logistic,
    LogisticNormal,
    LogNormal,
    StudentT,
)


def unvalidated(kind, *fixed):
    return lambda *params: kind(
        *(torch.as_tensor(f, dtype=params[0].dtype) for f in fixed), *params, validate_args=False
    )


def three(*values):
    return torch.tensor(values, dtype=torch.float64)


def continuous_bernoulli_logpdf(x, logits):
    decay = np.where(logits == 0, 1.0, np.abs(logits))
    truncated = scipy.stats.truncexpon(decay, scale=1 / decay).logpdf(np.where(logits > 0, 1 - x, x))
    return np.where(logits == 0, 0.0, truncated)


def kumaraswamy_logpdf(x, a, b):
    return scipy.stats.beta(1, b).logpdf(x**a) + np.log(a) + (a - 1) * np.log(x)


def dirichlet_logpdf(x, a):
    return np.stack(
        [scipy.stats.dirichlet(a[i]).logpdf((x[:, i] / x[:, i].sum(-1, keepdims=True)).T) for i in range(3)], 1
    )


def logistic_normal_logpdf(x, loc, scale):
    y = np.log(x[..., :-1]) - np.log(x[..., -1:])
    return scipy.stats.norm(loc, scale).logpdf(y).sum(-1) - np.log(x).sum(-1)


def heavy_tails(d):
    """Nodes on the reals that reach far: sinh of a grid."""
    t = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    return t.sinh()[:, None].expand(-1, 3), t.cosh().log() + math.log(1e-3)


def positive(d):
    """Nodes on (0, infinity): trapezoids of the logarithm."""
    y = torch.linspace(-80, 12, 40_001, dtype=torch.float64)
    return y.exp()[:, None].expand(-1, 3), y + math.log(92 / 40_000)


def triangle(d):
    """Nodes on the simplex of three: u, (1 - u) v and the rest."""
    nodes, log_weights = tanh_sinh(0, 1, 161)(d)
    nodes = nodes[:, 0]
    u, v = (t.flatten() for t in torch.meshgrid(nodes, nodes, indexing="ij"))
    log_u, log_v = (t.flatten() for t in torch.meshgrid(log_weights, log_weights, indexing="ij"))
    values = torch.stack([u, (1 - u) * v, (1 - u) * (1 - v)], -1)
    return values[:, None].expand(-1, 3, -1), log_u + log_v + (1 - u).log()


def log_ratios(d):
    """Nodes on the simplex of three: a grid of log-ratios."""
    grid = torch.linspace(-15, 15, 301, dtype=torch.float64)
    y = torch.stack([t.flatten() for t in torch.meshgrid(grid, grid, indexing="ij")], -1)
    log_x = torch.nn.functional.pad(y, (0, 1)).log_softmax(-1)
    return log_x.exp()[:, None].expand(-1, 3, -1), log_x.sum(-1) + 2 * math.log(0.1)


LOC, SCALE = three(-1.0, 0.5, 2.0), three(0.3, 1.0, 1.5)
A, B = three(0.7, 1.0, 5.0), three(1.2, 1.0, 2.5)
ALPHA = three([0.8, 1.0, 2.0], [1.0, 1.0, 1.0], [4.0, 2.0, 9.0])
RATIO_LOC, RATIO_SCALE = three([0.0, 1.0], [-1.0, 0.5], [0.2, -0.3]), three([1.0, 0.5], [0.8, 1.2], [0.6, 0.7])
WIDE = [[0.0, 1e-6], [0.0, 1e6], [1e6, 1e-6], [-1e4, 1.0]]
SHAPES = [[1e-6, 1.0], [1e-3, 1e-3], [1.0, 1e-6], [1.0, 1e6], [1e6, 1.0], [1e6, 1e6], [1e6, 1e-6]]
SHAPES += [[1e-6, 1e-6], [1e-15, 1e-15], [1e-15, 1.0], [1.0, 1e-15]]

MEMBERS = [
    Member(
        "ContinuousBernoulli",
        unvalidated(ContinuousBernoulli),
        (three(-12.0, 0.3, 4.0),),
        continuous_bernoulli_logpdf,
        inside(0, 1),
        [[logit] for logit in (0.0, 1e-30, -1e-4, 0.999, -1.001, 30.0, -300.0, 1e4, -1e4)],
    ),
    Member(
        "ContinuousBernoulli near zero",
        unvalidated(ContinuousBernoulli),
        (three(-1e-3, 1e-5, 0.04),),
        continuous_bernoulli_logpdf,
        inside(0, 1),
    ),
    Member(
        "Logistic",
        unvalidated(Logistic),
        (LOC, SCALE),
        lambda x, loc, scale: scipy.stats.logistic(loc, scale).logpdf(x),
        line(-80, 80),
        WIDE,
    ),
    Member(
        "Laplace",
        unvalidated(Laplace),
        (LOC, SCALE),
        lambda x, loc, scale: scipy.stats.laplace(loc, scale).logpdf(x),
        line(-60, 60, 1_200_001),  # a kink, which one node of the grid lies on
        WIDE,
    ),
    Member(
        "StudentT",
        unvalidated(StudentT, 4.5),
        (LOC, SCALE),
        lambda x, loc, scale: scipy.stats.t(4.5, loc, scale).logpdf(x),
        heavy_tails,
        WIDE,
    ),
    Member(
        "StudentT by its df",
        unvalidated(StudentT),
        (three(2.5, 4.0, 30.0), LOC, SCALE),
        lambda x, df, loc, scale: scipy.stats.t(df, loc, scale).logpdf(x),
        heavy_tails,
        [[df, 0.0, 1.0] for df in (1e-15, 0.3, 1e4, 1e8)],
        moments=False,  # the variance of a square of such draws is infinite
        implicit=True,
    ),
    Member(
        "LogNormal",
        unvalidated(LogNormal),
        (three(-1.0, 0.5, 0.2), three(0.3, 0.5, 0.4)),
        lambda x, loc, scale: scipy.stats.lognorm(scale, scale=np.exp(loc)).logpdf(x),
        positive,
        [[0.0, 1e-6], [0.0, 5.0], [80.0, 1.0], [-150.0, 5.0]],
    ),
    Member(
        "Gamma",
        unvalidated(Gamma),
        (A, B),
        lambda x, a, rate: scipy.stats.gamma(a, scale=1 / rate).logpdf(x),
        positive,
        [*SHAPES, [1e-6, 1e6]],
    ),
    Member(
        "Beta", unvalidated(Beta), (A, B), lambda x, a, b: scipy.stats.beta(a, b).logpdf(x), tanh_sinh(0, 1), SHAPES
    ),
    Member("Kumaraswamy", unvalidated(Kumaraswamy), (A, B), kumaraswamy_logpdf, tanh_sinh(0, 1), SHAPES),
    Member(
        "Dirichlet",
        unvalidated(Dirichlet),
        (ALPHA,),
        dirichlet_logpdf,
        triangle,
        [[[1e-6, 1.0, 1.0]], [[1e-3] * 3], [[1e6] * 3], [[1e6, 1.0, 1e-6]], [[1e-6] * 3], [[1e-15] * 3]],
    ),
    Member(
        "LogisticNormal",
        unvalidated(LogisticNormal),
        (RATIO_LOC, RATIO_SCALE),
        logistic_normal_logpdf,
        log_ratios,
        [[[0.0, 0.0], [1e-6, 1e-6]], [[0.0, 0.0], [1e6, 1e6]], [[500.0, -500.0], [1.0, 1.0]]],
        moments=False,
    ),
]
# The law compares through a differentiable cdf, which torch does not have; see the test against SciPy's below.
IMPLICIT = ("Gamma", "Beta", "Dirichlet")
CASES = [
    pytest.param(member, law, id=f"{member}-{law.__name__}")
    for member in MEMBERS
    for law in LAWS
    if not (law is rsample_has_the_right_gradients and member.name in IMPLICIT)
]


@pytest.mark.parametrize(("member", "law"), CASES)
def test_law(member, law):
    law(member)


@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_the_pathwise_gradient_of_the_own_density_is_finite_at_extremes(member):
    for extreme in member.extremes:
        params = [torch.tensor([p], dtype=torch.float32, requires_grad=True) for p in extreme]
        d = member.make(*params)
        gradients = torch.autograd.grad(d.log_prob(d.rsample((1000,))).sum(), params)
        assert all(g.isfinite().all() for g in gradients), extreme


OUTSIDE = {
    ContinuousBernoulli: [-1e-6, 1.0001, -math.inf, math.nan],
    LogNormal: [0.0, -1.0, math.nan],
    Gamma: [0.0, -1.0, math.nan],
    Beta: [0.0, 1.0, -0.5, 1.5, math.nan],
    Kumaraswamy: [0.0, 1.0, -0.5, 1.5, math.nan],
    Dirichlet: [[0.5, 0.5, 0.0], [1.5, -0.2, -0.3], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1]],
    LogisticNormal: [[0.5, 0.5, 0.0], [1.5, -0.2, -0.3], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1]],
}


@pytest.mark.parametrize("kind", OUTSIDE, ids=lambda kind: kind.__name__)
def test_values_outside_of_the_support_have_density_zero_and_no_nan_in_a_gradient(kind):
    member = next(m for m in MEMBERS if m.name == kind.__name__)
    params = [p[:1].clone().requires_grad_() for p in member.params]
    values = torch.tensor(OUTSIDE[kind], dtype=torch.float64)[:, None].requires_grad_()
    log_prob = member.make(*params).log_prob(values)
    assert log_prob.isneginf().all()
    gradients = torch.autograd.grad(torch.where(log_prob > -math.inf, log_prob, 0.0).sum(), [values, *params])
    assert all(g.isfinite().all() for g in gradients)
    with pytest.raises(ValueError, match="support"):
        kind(*(p.detach() for p in params), validate_args=True).log_prob(values)


SCIPY = [
    (Logistic, (LOC, SCALE), scipy.stats.logistic),
    (Laplace, (LOC, SCALE), scipy.stats.laplace),
    (StudentT, (three(0.8, 2.5, 40.0), LOC, SCALE), scipy.stats.t),
    (LogNormal, (LOC, SCALE), lambda loc, scale: scipy.stats.lognorm(scale, scale=np.exp(loc))),
    (Gamma, (A, B), lambda a, rate: scipy.stats.gamma(a, scale=1 / rate)),
    (Beta, (A, B), scipy.stats.beta),
    (Kumaraswamy, (A, B), lambda a, b: None),
]


@pytest.mark.parametrize(("kind", "params", "oracle"), SCIPY, ids=lambda x: getattr(x, "__name__", ""))
def test_entropy_moments_and_cdf_agree_with_scipy(kind, params, oracle):
    d, reference = kind(*params), oracle(*(p.numpy() for p in params))
    if kind is Kumaraswamy:  # x^a is a beta variable: its entropy and moments by quadrature
        x, log_weights = tanh_sinh(0, 1)(d)
        p = (d.log_prob(x) + log_weights[:, None]).exp()
        mean = (p * x).sum(0)
        torch.testing.assert_close(d.entropy(), -(p * d.log_prob(x)).sum(0), rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(d.mean, mean, rtol=1e-7, atol=0)
        torch.testing.assert_close(d.variance, (p * (x - mean) ** 2).sum(0), rtol=1e-6, atol=0)
        expected = torch.as_tensor(scipy.stats.beta(1, B.numpy()).cdf((0.3**A).numpy()))
        torch.testing.assert_close(d.cdf(torch.tensor(0.3, dtype=torch.float64)), expected)
        assert d.cdf(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.0, 1.0]
        return
    torch.testing.assert_close(d.entropy(), torch.as_tensor(reference.entropy()), rtol=1e-8, atol=1e-8)
    for ours, moment in ((d.mean, reference.mean()), (d.variance, reference.var())):
        theirs = torch.as_tensor(moment)
        exists = theirs.isfinite()
        torch.testing.assert_close(ours[exists], theirs[exists], rtol=1e-10, atol=0)
        assert not ours[~exists].isfinite().any()
    x = d.sample((50,))
    if kind not in (StudentT, Beta):  # torch has no incomplete beta function
        torch.testing.assert_close(d.cdf(x), torch.as_tensor(reference.cdf(x)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "member", [m for m in MEMBERS if not m.name.startswith(("Dirichlet", "LogisticN", "StudentT by"))], ids=str
)
def test_draws_in_float32_follow_their_distribution(member):
    draws = member(torch.float32).rsample((20_000,)).double()
    params = [p.numpy() for p in member.params]
    for i in range(3):
        column = draws[:, i]
        cdf = {
            "StudentT": lambda x, i=i: scipy.stats.t(4.5, params[0][i], params[1][i]).cdf(x),
            "Beta": lambda x, i=i: scipy.stats.beta(params[0][i], params[1][i]).cdf(x),
        }.get(member.name, lambda x, i=i: member().cdf(torch.as_tensor(x)[:, None].expand(-1, 3))[:, i].numpy())
        assert scipy.stats.kstest(column.numpy(), cdf).pvalue > 1e-4


def test_kls_agree_with_samples():
    for kind in (ContinuousBernoulli, Laplace, LogNormal, Gamma, Beta, Dirichlet, LogisticNormal):
        member = next(m for m in MEMBERS if m.name == kind.__name__)
        q = member.make(*(p.flip(0) * 0.8 for p in member.params))
        kl_agrees_with_samples(member(), q)
        assert kl_divergence(q, q).abs().max() < 1e-12
    for kind in (Logistic, StudentT, Kumaraswamy):
        member = next(m for m in MEMBERS if m.name == kind.__name__)
        with pytest.raises(NotImplementedError):
            kl_divergence(member(), member())


@pytest.mark.parametrize("kind", [Laplace, LogNormal, Gamma, Beta], ids=lambda kind: kind.__name__)
@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.tuples(*[st.floats(-13, 13)] * 4))
def test_kl_is_never_negative_and_vanishes_only_between_equals(kind, raw):
    p_raw, q_raw = torch.tensor(raw).float().requires_grad_().view(2, 2)
    pair = [(r[0] if kind in (Laplace, LogNormal) else r[0].exp(), r[1].exp()) for r in (p_raw, q_raw)]
    kl = kl_divergence(kind(*pair[0]), kind(*pair[1]))
    assert kl >= -2e-6
    assert all(g.isfinite() for p in pair for g in torch.autograd.grad(kl, p, retain_graph=True))
