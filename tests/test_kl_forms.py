"""KL(q || p) of torch's own classes, for every pair that torch registers, against mpmath and where torch is right."""

import math
from itertools import product

import mpmath as mp
import pytest
import torch
from closed_forms import DIGITS, exact_and_slope
from kl_oracles import ORACLES, member
from torch import distributions as td
from torch.distributions.kl import _KL_REGISTRY

import reparam as rp
from reparam.distributions import closed_kl

ROUNDINGS = 64
POSITIVE = (1e-3, 0.3, 1.0, 7.0, 1e4)
LOC_SCALE = tuple(product((-20.0, 0.0, 0.5), (1e-2, 1.0, 30.0)))
MEMBERS = {
    "Bernoulli": tuple((x,) for x in (-30.0, -0.5, 1e-3, 12.0)),
    "Beta": tuple(product((0.3, 2.0, 1e4), (0.2, 1.0, 3e4))),
    "Chi2": tuple((x,) for x in POSITIVE),
    "ContinuousBernoulli": tuple((x,) for x in (-40.0, -1.0, 1e-2, 3.0, 40.0)),
    "Exponential": tuple((x,) for x in POSITIVE),
    "Gamma": tuple(product((0.2, 1.0, 3.7, 1e5), (1e-2, 1.0, 40.0))),
    "Geometric": tuple((x,) for x in (-8.0, -0.5, 3.0)),
    "HalfCauchy": tuple((x,) for x in POSITIVE),
    "HalfNormal": tuple((x,) for x in POSITIVE),
    "Pareto": tuple(product((0.1, 1.0, 30.0), (0.5, 2.5, 40.0))),
    "Poisson": tuple((x,) for x in (0.0, 1e-3, 2.0, 1e7)),
    "Uniform": ((0.0, 1.0), (0.2, 0.9), (0.5, 0.50001), (-3.0, 50.0), (2.0, 9.0)),
}
MEMBERS |= dict.fromkeys(("Cauchy", "Gumbel", "Laplace", "Normal", "LogNormal"), LOC_SCALE)
MEMBERS["InverseGamma"] = MEMBERS["Gamma"]


def float32s(row):
    return tuple(torch.tensor(x, dtype=torch.float32).item() for x in row)


def rows_of(q, p):
    """All pairs of members, and where both are of one family each with itself and with a near one."""
    rows = [(*a, *b) for a, b in product(MEMBERS[q], MEMBERS[p])]
    if q == p:
        rows += [(*a, *(x * (1 + d) for x in a)) for a in MEMBERS[q] for d in (0.0, 1e-5, 1e-2)]
    return [float32s(row) for row in rows]


@pytest.mark.parametrize("pair", ORACLES, ids="-".join)
def test_a_closed_form_keeps_the_digits_of_its_parameters(pair):
    """Its error is at most as large as if the result and each parameter had been rounded 64 times."""
    q, p = pair
    rows, size = rows_of(q, p), len(MEMBERS[q][0])
    for dtype in (torch.float32, torch.float64):
        columns = [torch.tensor(column, dtype=dtype) for column in zip(*rows, strict=True)]
        found = closed_kl(member(q, *columns[:size]), member(p, *columns[size:]))
        assert (found >= 0).all()
        eps, largest = torch.finfo(dtype).eps, torch.finfo(dtype).max
        for row, value in zip(rows, found.double().tolist(), strict=True):
            with mp.workdps(DIGITS):
                exact, slope = exact_and_slope(ORACLES[pair], row)
                if not mp.isfinite(exact) or exact > largest:
                    assert value == math.inf, row
                    continue
                allowed = ROUNDINGS * eps * (abs(exact) + (slope if mp.isfinite(slope) else 0) + 1)
                assert abs(mp.mpf(value) - exact) <= allowed, (row, dtype, value, float(exact))


KNOWN = [
    (td.Poisson(torch.tensor(1e7)), td.Poisson(torch.tensor(1.0001e7)), 0.0500),
    (td.Poisson(torch.tensor(0.0)), td.Poisson(torch.tensor(2.0)), 2.0),
    (td.Binomial(5, logits=torch.tensor(20.0)), td.Binomial(5, logits=torch.tensor(0.0)), 3.4657),
    (td.ContinuousBernoulli(logits=torch.tensor(40.0)), td.ContinuousBernoulli(logits=torch.tensor(1.0)), 2.2552),
    (td.ContinuousBernoulli(logits=torch.tensor(1.0)), td.Uniform(0.0, 1.0), 0.0407),
    (td.Beta(torch.tensor(1e5), torch.tensor(2e5)), td.Beta(torch.tensor(1.01e5), torch.tensor(2e5)), 3.3186),
    (td.Gamma(torch.tensor(1e6), torch.tensor(1.0)), td.Gamma(torch.tensor(1.001e6), torch.tensor(1.0)), 0.4998),
    (td.Normal(torch.tensor(0.0), 1e-23), td.Normal(0.0, 1.0), 52.4595),
]


@pytest.mark.parametrize(("q", "p", "nats"), KNOWN, ids=lambda each: type(each).__name__)
def test_where_torchs_closed_form_is_wrong(q, p, nats):
    found = rp.kl(q, p)
    assert found.method == "closed form"
    assert found.value.item() == pytest.approx(nats, abs=6e-5)


def examples(kind, seed):
    """Three members of a class at usual parameters, in float64."""
    torch.manual_seed(seed)
    positive = lambda *shape: torch.rand(3, *shape, dtype=torch.float64) + 0.5  # noqa: E731
    real = lambda *shape: torch.randn(3, *shape, dtype=torch.float64)  # noqa: E731
    special = {
        td.MultivariateNormal: lambda: kind(real(4), scale_tril=0.3 * real(4, 4).tril(-1) + positive(4).diag_embed()),
        td.LowRankMultivariateNormal: lambda: kind(real(4), real(4, 2), positive(4)),
        td.Binomial: lambda: kind(7, logits=real()),
        td.Uniform: lambda: kind(positive() / 9, 0.5 + positive() / 9),
        td.VonMises: lambda: kind(real(), positive()),
        td.LKJCholesky: lambda: kind(3, positive()),
        td.Wishart: lambda: kind(positive() + 4, torch.eye(3, dtype=torch.float64).expand(3, 3, 3)),
        td.Dirichlet: lambda: kind(positive(4)),
        td.Pareto: lambda: kind(positive() / 9, positive() + 2),
        td.Multinomial: lambda: kind(5, logits=real(4)),
        td.Independent: lambda: kind(td.Normal(real(4), positive(4)), 1),
        td.TransformedDistribution: lambda: kind(td.Normal(real(), positive()), [td.ExpTransform()]),
        td.ExponentialFamily: lambda: td.Gamma(positive(), positive()),
    }
    if kind in special:
        return special[kind]()
    names = kind.arg_constraints
    if "logits" in names:
        return kind(logits=real(4) if "Categorical" in kind.__name__ else real())
    free = {"loc": real}
    return kind(**{name: free.get(name, positive)() for name in names})


TORCHS = [pair for pair in _KL_REGISTRY if all(kind.__module__.startswith("torch.") for kind in pair)]


@pytest.mark.parametrize(("q", "p"), TORCHS, ids=lambda kind: kind.__name__)
def test_every_pair_that_torch_registers_has_a_closed_form_here(q, p):
    """At usual parameters in float64 it is torch's; a KL that torch calls infinite is infinite."""
    a, b = examples(q, 0), examples(p, 1)
    torch.testing.assert_close(closed_kl(a, b), td.kl_divergence(a, b).clamp_min(0.0), rtol=1e-6, atol=1e-9)
    if q is p:
        torch.testing.assert_close(closed_kl(a, a), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_gradients_are_finite_where_the_divergence_is():
    for q, p in ORACLES:
        rows = rows_of(q, p)
        size = len(MEMBERS[q][0])
        columns = [torch.tensor(column, dtype=torch.float64, requires_grad=True) for column in zip(*rows, strict=True)]
        kl = closed_kl(member(q, *columns[:size]), member(p, *columns[size:]))
        if not kl.requires_grad:
            continue
        parts = torch.autograd.grad(kl[kl.isfinite()].sum(), columns, allow_unused=True)
        for part in parts:
            assert part is None or part.isfinite().all(), (q, p)
