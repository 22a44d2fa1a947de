"""The von Mises distribution: density, draws and their gradients, against SciPy and mpmath."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from helpers import assert_mean
from laws import kl_agrees_with_samples
from test_directional import von_mises
from torch.distributions import kl_divergence

from reparam.distributions import VonMises
from reparam.distributions.bessel import log_i0e, one_minus_bessel_ratio
from reparam.distributions.von_mises import _velocity_of_kappa, _velocity_of_loc, _wrapped


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-12), (torch.float32, 5e-4)])
def test_bessel_functions_and_their_gradients_keep_their_digits(dtype, tolerance):
    for x in (0.0, 1e-7, 1e-3, 0.99, 1.01, 5.0, 29.9, 30.1, 1e3, 1e6):
        argument = torch.tensor(x, dtype=dtype, requires_grad=True)
        log_value, spare = log_i0e(argument), one_minus_bessel_ratio(argument)
        (slope,), (spare_slope,) = (torch.autograd.grad(y, argument) for y in (log_value, spare))
        with mpmath.workdps(40):
            x_ = mpmath.mpf(argument.item())
            ratio = mpmath.besseli(1, x_) / mpmath.besseli(0, x_)
            ratio_slope = 1 - ratio / x_ - ratio**2 if x else mpmath.mpf(0.5)
            expected = [mpmath.log(mpmath.besseli(0, x_)) - x_, ratio - 1, 1 - ratio, -ratio_slope]
        for found, value in zip((log_value, slope, spare, spare_slope), expected, strict=True):
            assert found.item() == pytest.approx(
                float(value), rel=tolerance, abs=1e-7 if dtype == torch.float32 else 1e-15
            )


def exact_velocity(angle, kappa):
    with mpmath.workdps(30):
        kappa, angle = mpmath.mpf(kappa), mpmath.mpf(angle)
        ratio = mpmath.besseli(1, kappa) / mpmath.besseli(0, kappa)
        pieces = min(60, 2 + int(angle * mpmath.sqrt(kappa)))

        def change(t):
            return (mpmath.cos(t) - ratio) * mpmath.exp(kappa * (mpmath.cos(t) - mpmath.cos(angle)))

        return -float(mpmath.quad(change, mpmath.linspace(0, angle, pieces + 1)))


@pytest.mark.parametrize("kappa", [0.0, 1e-3, 0.1, 1.0, 8.0, 29.0, 31.0, 1e3, 1e4, 1e6])
def test_the_velocity_along_kappa_is_the_implicit_derivative(kappa):
    scale = min(1.0, 1 / math.sqrt(max(kappa, 1e-9)))
    angle = torch.tensor([a * scale for a in (0.01, 0.4, 0.9, 1.1, 1.6, 2.5, 3.1, 5.0) if a * scale < math.pi])
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        there = angle.to(dtype)
        concentration = torch.tensor(kappa, dtype=dtype).expand(there.shape)
        expected = [exact_velocity(a, concentration[0].item()) for a in there.tolist()]
        found = _velocity_of_kappa(there, concentration)
        assert found.tolist() == pytest.approx(expected, rel=tolerance)
        assert _velocity_of_kappa(-there, concentration).tolist() == (-found).tolist()
        ends = _velocity_of_kappa(torch.tensor([0.0, math.pi], dtype=dtype), concentration[:2])
        assert ends.abs().max() < 1e-6


def test_the_velocity_along_loc_transports_the_density(float64):
    for kappa in (0.0, 1e-3, 0.5, 5.0, 200.0):
        d = VonMises(torch.tensor(0.0), torch.tensor(kappa))
        angle = torch.linspace(-3.1, 3.1, 41)
        # p v - p is constant: what turns out of an arc at one end comes in at the other
        flow = (_velocity_of_loc(angle, d.concentration) - 1) * d.log_prob(angle).exp()
        torch.testing.assert_close(flow, flow.mean().expand(41), rtol=1e-7, atol=1e-14)
        around = torch.linspace(-math.pi, math.pi, 2001)
        total = torch.trapezoid(_velocity_of_loc(around, d.concentration), around)
        assert total.abs() < 1e-9  # of all solutions the one of least variance has no circulation


@pytest.mark.parametrize("kappa", [0.0, 0.05, 1.0, 40.0])
@pytest.mark.parametrize("loc", [0.4, 3.0])
def test_gradients_of_drawn_angles_are_those_of_the_expectation(kappa, loc, float64):
    params = [torch.full((60_000,), value, requires_grad=True) for value in (loc, kappa)]
    z = VonMises(*params).rsample()
    found = torch.autograd.grad((2 * z.cos() - z.sin() + 0.7 * (2 * z).cos()).sum(), params)
    centre, concentration = (torch.tensor(value, requires_grad=True) for value in (loc, kappa))
    ratio = 1 - one_minus_bessel_ratio(concentration)
    second = 1 - 2 * ratio / concentration if kappa else concentration**2 / 8  # I2 / I0
    exact = ratio * (2 * centre.cos() - centre.sin()) + 0.7 * second * (2 * centre).cos()
    for samples, expected in zip(found, torch.autograd.grad(exact, (centre, concentration)), strict=True):
        assert_mean(samples, expected)


@pytest.mark.parametrize("kappa", [0.0, 1e-6, 0.02, 1.0, 7.0, 500.0])
@pytest.mark.parametrize("draw", ["sample", "rsample"])
def test_angles_follow_their_distribution(kappa, draw):
    d = VonMises(torch.tensor(0.5), torch.tensor(kappa))
    z = getattr(d, draw)((40_000,)).double()
    turned = (z - 0.5 + math.pi) % (2 * math.pi) - math.pi
    assert scipy.stats.kstest(turned.numpy(), scipy.stats.vonmises(max(kappa, 1e-12)).cdf).pvalue > 1e-3
    assert_mean((z - 0.5).cos(), 1 - d.variance.double())
    assert_mean((z - 0.5).sin(), 0.0)
    assert_mean(-d.log_prob(z.float()).double(), d.entropy().double())


@pytest.mark.parametrize(("kappa", "loc"), [(1e6, 0.0), (1e6, 2.9), (1e10, 0.0)])
def test_angles_at_a_huge_concentration_are_normal(kappa, loc):
    d = VonMises(torch.tensor(loc), torch.tensor(kappa))
    z = (d.sample((40_000,)).double() - d.loc.double()) * kappa**0.5
    assert scipy.stats.kstest(z.numpy(), scipy.stats.norm.cdf).pvalue > 1e-3
    assert d.entropy().item() == pytest.approx(scipy.stats.norm(0, kappa**-0.5).entropy(), abs=1e-5)
    assert d.variance.item() == pytest.approx(0.5 / kappa, rel=1e-5)


def test_float32_angles_around_the_end_of_the_circle_are_wrapped_into_it():
    for turns in (1, 3, 31, 101):
        end = torch.tensor(turns * math.pi)
        angle = (end.view(torch.int32) + torch.arange(-300, 300, dtype=torch.int32)).view(torch.float32)
        for wrapped in (_wrapped(angle), _wrapped(-angle)):
            assert wrapped.abs().max() <= torch.tensor(math.pi)
            assert wrapped.abs().min() > 3.1


def test_angles_stay_on_the_circle_and_others_are_impossible():
    d = VonMises(torch.tensor([3.1415925, -3.1415925, 100.0]), torch.tensor(1e3), validate_args=False)
    z = d.sample((100_000,))
    assert (z.abs() <= torch.tensor(math.pi)).all()
    assert d.log_prob(z).isfinite().all()
    assert (d.log_prob(torch.tensor(3.2)) == -torch.inf).all()
    with pytest.raises(ValueError, match="within the support"):
        VonMises(torch.tensor(0.0), torch.tensor(1.0), validate_args=True).log_prob(torch.tensor(4.0))
    with pytest.raises(ValueError, match="concentration"):
        VonMises(torch.tensor(0.0), torch.tensor(-1.0), validate_args=True)


def test_moments_and_entropy_agree_with_scipy(float64):
    kappa = torch.tensor([1e-3, 0.5, 4.0, 60.0])
    d = VonMises(torch.tensor(0.7), kappa)
    expected = [scipy.stats.vonmises(k).entropy() for k in kappa.tolist()]
    torch.testing.assert_close(d.entropy(), torch.tensor(expected))
    cosine = [scipy.stats.vonmises(k).expect(np.cos, epsabs=1e-12) for k in kappa.tolist()]
    torch.testing.assert_close(d.variance, 1 - torch.tensor(cosine), rtol=1e-7, atol=1e-9)
    assert d.mean.tolist() == d.mode.tolist() == [0.7] * 4


@pytest.mark.parametrize(
    ("q", "p"),
    [((0.3, 0.0), (1.0, 0.0)), ((0.3, 2.0), (1.0, 0.0)), ((0.3, 0.0), (2.0, 5.0)), ((3.0, 4.0), (-3.0, 4.0))],
)
def test_kl_of_angles_against_samples_and_quadrature(q, p, float64):
    q, p = (VonMises(torch.tensor(loc), torch.tensor(kappa)) for loc, kappa in (q, p))
    kl_agrees_with_samples(q, p)
    z = torch.linspace(-math.pi, math.pi, 1001)
    expected = torch.trapezoid(q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z)), z)
    torch.testing.assert_close(kl_divergence(q, p), expected, rtol=1e-10, atol=1e-12)


def exact_kl(kappa_q, kappa_p, turn):
    """KL and its derivatives with respect to the two concentrations and the angle between the means."""
    with mpmath.workdps(40):
        kappa_q, kappa_p, turn = (mpmath.mpf(v) for v in (kappa_q, kappa_p, turn))
        (bessel_q, ratio_q), (bessel_p, ratio_p) = (
            (mpmath.besseli(0, k), mpmath.besseli(1, k) / mpmath.besseli(0, k)) for k in (kappa_q, kappa_p)
        )
        spread = 1 - ratio_q / kappa_q - ratio_q**2 if kappa_q else mpmath.mpf(0.5)
        gain = kappa_q - kappa_p * mpmath.cos(turn)
        kl = ratio_q * gain + mpmath.log(bessel_p / bessel_q)
        slopes = spread * gain, ratio_p - ratio_q * mpmath.cos(turn), kappa_p * ratio_q * mpmath.sin(turn)
        return [float(v) for v in (kl, *slopes)]


@pytest.mark.parametrize(
    "case",
    [
        (1e6, 1e6, 1e-3),
        (1e6, 1e4, 0.01),
        (1e4, 1e6, 0.002),
        (0.0, 0.0, 1.0),
        (0.0, 3.0, 1.0),
        (2.0, 0.0, 1.0),
        (3, 5, 3),
    ],
    ids=str,
)
def test_kl_of_angles_and_its_gradients_keep_their_digits_in_float32(case):
    kappa_q, kappa_p, turn = (torch.tensor(float(v), requires_grad=True) for v in case)
    kl = kl_divergence(von_mises(torch.tensor(0.0), kappa_q), von_mises(turn, kappa_p))
    found = [kl, *torch.autograd.grad(kl, (kappa_q, kappa_p, turn))]
    expected = exact_kl(kappa_q.item(), kappa_p.item(), turn.item())
    assert [v.item() for v in found] == pytest.approx(expected, rel=2e-4, abs=1e-7)


def test_kl_of_an_angle_to_itself_is_zero():
    same = VonMises(torch.tensor(2.0), torch.tensor([0.0, 1e-4, 1.0, 25.0, 35.0, 1e6]))
    assert kl_divergence(same, same).abs().max() < 1e-6
