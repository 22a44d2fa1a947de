"""The continuous Bernoulli distribution at every logit, against mpmath."""

import math

import hypothesis
import hypothesis.strategies as st
import mpmath
import pytest
import torch
from torch import distributions as td
from torch.distributions import kl_divergence

from reparam.distributions import ContinuousBernoulli

# Logits on both sides of every switch between two formulas.
LOGITS = [0.0, 1e-30, 1e-9, 1e-4, 0.0499, 0.0501, 0.2499, 0.2501, 2.0, 17.0, 40.0, 800.0, 1e4]
LOGITS += [-logit for logit in LOGITS[1:]]


def continuous_bernoulli_moments(logit):
    """Log-normaliser, mean, variance and entropy by quadrature, split so that its nodes find the mass."""
    with mpmath.workdps(40):
        slope = mpmath.mpf(logit)
        ends = [0, *(t for t in (20 / abs(slope), 200 / abs(slope)) if t < 1), 1] if slope else [0, 1]
        ends = ends if slope <= 0 else [1 - t for t in reversed(ends)]
        peak = max(slope, 0)
        mass, first = (mpmath.quad(lambda x, k=k: x**k * mpmath.exp(slope * x - peak), ends) for k in (0, 1))
        mean = first / mass
        variance = mpmath.quad(lambda x: (x - mean) ** 2 * mpmath.exp(slope * x - peak), ends) / mass
        log_normalizer = mpmath.log(mass) + peak
        return [float(v) for v in (log_normalizer, mean, variance, log_normalizer - slope * mean)]


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_against_quadrature_at_every_logit(logit):
    log_normalizer, mean, variance, entropy = continuous_bernoulli_moments(logit)
    for dtype, rel in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        leaf = torch.tensor(logit, dtype=dtype, requires_grad=True)
        d = ContinuousBernoulli(leaf)
        assert d.log_prob(torch.tensor(0.0, dtype=dtype)).item() == pytest.approx(-log_normalizer, rel=rel, abs=rel)
        assert d.mean.item() == pytest.approx(mean, rel=rel)
        assert d.variance.item() == pytest.approx(variance, rel=20 * rel)
        assert d.entropy().item() == pytest.approx(entropy, rel=rel, abs=rel)
        for x in (0.0, 0.37, 1.0):
            (score,) = torch.autograd.grad(d.log_prob(torch.tensor(x, dtype=dtype)), leaf)
            assert score.item() == pytest.approx(x - mean, rel=10 * rel, abs=rel)
        (slope,) = torch.autograd.grad(d.mean, leaf)
        assert slope.item() == pytest.approx(variance, rel=100 * rel, abs=rel / 10)
        (slope,) = torch.autograd.grad(d.entropy(), leaf)
        assert slope.item() == pytest.approx(-logit * variance, rel=100 * rel, abs=10 * rel)


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("u", [1e-7, 0.02, 0.5, 0.97, 1 - 1e-7])
def test_continuous_bernoulli_quantiles_and_their_gradients_at_every_logit(logit, u):
    def quantile(slope):
        with mpmath.workdps(40):
            slope, v = mpmath.mpf(slope), mpmath.mpf(u)
            return v if slope == 0 else mpmath.log1p(v * mpmath.expm1(slope)) / slope

    with mpmath.workdps(40):
        slope = float(mpmath.diff(quantile, logit, h=mpmath.mpf(10) ** -12)) if logit else u * (1 - u) / 2
    leaf = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    d = ContinuousBernoulli(leaf)
    x = d.icdf(torch.tensor(u, dtype=torch.float64))
    assert x.item() == pytest.approx(float(quantile(logit)), rel=1e-9)  # 1 - u has lost digits
    assert torch.autograd.grad(x, leaf)[0].item() == pytest.approx(slope, rel=1e-8, abs=1e-13)
    assert d.cdf(x).item() == pytest.approx(u, rel=1e-7)
    assert d.icdf(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist() == [0.0, 1.0]


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(p=st.floats(-1e4, 1e4), q=st.floats(-1e4, 1e4) | st.floats(-1.5, 1.5))
def test_kl_of_continuous_bernoullis_is_exact_and_not_negative(p, q):
    with mpmath.workdps(60):

        def log_normalizer(slope):
            return mpmath.log(mpmath.expm1(slope) / slope) if slope else mpmath.mpf(0)

        a, b = mpmath.mpf(p), mpmath.mpf(q)
        tiny = abs(a) < 1e-12
        mean = mpmath.mpf(1) / 2 + a / 12 if tiny else 1 / (1 - mpmath.exp(-a)) - 1 / a
        expected = (a - b) * mean - log_normalizer(a) + log_normalizer(b)
    for dtype, tolerance in ((torch.float64, 1e-14), (torch.float32, 2e-6)):
        if dtype == torch.float32 and (p, q) != tuple(torch.tensor([p, q]).tolist()):
            continue
        leaves = [torch.tensor(logit, dtype=dtype, requires_grad=True) for logit in (p, q)]
        kl = kl_divergence(*map(ContinuousBernoulli, leaves))
        assert kl.item() == pytest.approx(float(expected), rel=10 * tolerance, abs=tolerance)
        assert kl.item() >= -tolerance
        assert all(g.isfinite() for g in torch.autograd.grad(kl, leaves))


def test_second_derivatives_are_right_too():
    logits = torch.tensor([-30.0, -1.0, -0.1, 0.0, 0.2, 5.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor(0.3, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda logits: ContinuousBernoulli(logits).log_prob(x), logits)
    twice = torch.func.grad(torch.func.grad(lambda logit: ContinuousBernoulli(logit, validate_args=False).log_prob(x)))
    curvature = torch.vmap(twice)(logits.detach())
    torch.testing.assert_close(curvature, -ContinuousBernoulli(logits.detach()).variance)


def test_pitfall_7_continuous_bernoulli_validates_only_when_asked():
    with pytest.raises(ValueError, match="invalid values"):
        td.ContinuousBernoulli(probs=torch.tensor(1.5), validate_args=False)
    nothing = torch.tensor(math.nan)
    assert ContinuousBernoulli(nothing, validate_args=False).logits.isnan()
    with pytest.raises(ValueError, match="logits"):
        ContinuousBernoulli(nothing, validate_args=True)
    assert ContinuousBernoulli(torch.zeros(2), validate_args=False).log_prob(torch.tensor([1.5, -0.1])).isneginf().all()
    with pytest.raises(ValueError, match="support"):
        ContinuousBernoulli(torch.zeros(1), validate_args=True).log_prob(torch.tensor([1.5]))


@pytest.mark.parametrize(("logit", "theirs_total"), [(20.0, 0.797), (40.0, 0.399), (100.0, 0.159), (-100.0, 0.159)])
def test_pitfall_9_continuous_bernoulli_integrates_to_one(logit, theirs_total):
    near_edge = torch.linspace(0, 1, 400_001, dtype=torch.float64)
    log_probs = td.ContinuousBernoulli(logits=torch.tensor(logit)).log_prob(near_edge.float()).double()
    assert torch.trapezoid(log_probs.exp(), near_edge).item() == pytest.approx(theirs_total, abs=2e-3)
    ours = ContinuousBernoulli(torch.tensor(logit)).log_prob(near_edge.float()).double()
    assert torch.trapezoid(ours.exp(), near_edge).item() == pytest.approx(1, abs=1e-4)


def test_pitfall_9_continuous_bernoulli_has_the_right_gradient_where_it_is_dark():
    gradients = []
    for kind in (lambda logits: td.ContinuousBernoulli(logits=logits), ContinuousBernoulli):
        logit = torch.tensor(-20.0, requires_grad=True)
        (gradient,) = torch.autograd.grad(kind(logit).log_prob(torch.tensor(0.0)), logit)
        gradients.append(gradient.item())
    assert abs(gradients[0]) < 1e-8
    assert gradients[1] == pytest.approx(-0.05, rel=1e-6)


def test_pitfall_9_kl_of_continuous_bernoullis_is_not_negative():
    p, q = torch.tensor([30.0, -40.0, 5.0]), torch.tensor([60.0, -20.0, 5.0])
    theirs = kl_divergence(td.ContinuousBernoulli(logits=p), td.ContinuousBernoulli(logits=q))
    ours = kl_divergence(ContinuousBernoulli(p), ContinuousBernoulli(q))
    assert (theirs < -0.1).any()
    assert (ours >= 0).all()
    expected = [60 / 30 - 1 - math.log(60 / 30), 20 / 40 - 1 - math.log(20 / 40), 0.0]  # nearly exponentials
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=1e-5, atol=1e-6)
