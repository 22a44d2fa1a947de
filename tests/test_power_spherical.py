"""The power spherical distribution and the uniform one on the sphere: densities, draws and their gradients."""

import mpmath
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from helpers import assert_mean
from laws import kl_agrees_with_samples
from test_directional import log_area, power_spherical, units
from torch.distributions import kl_divergence

from reparam.distributions import HypersphericalUniform, PowerSpherical
from reparam.distributions.gamma_differences import digamma_difference
from reparam.distributions.stirling import log_gamma_ratio


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_ratios_of_gamma_functions_keep_their_digits(dtype, tolerance):
    for shift in (0.5, 1.0, 9.5, 149.5):
        for x in (0.5, 3.0, 19.9, 20.1, 1e3, 1e6):
            argument = torch.tensor(x, dtype=dtype, requires_grad=True)
            log_ratio, difference = log_gamma_ratio(argument, shift), digamma_difference(argument, shift)
            (slope,) = torch.autograd.grad(log_ratio, argument)
            with mpmath.workdps(40):
                x_ = mpmath.mpf(argument.item())
                expected = mpmath.loggamma(x_ + shift) - mpmath.loggamma(x_)
                expected_slope = mpmath.digamma(x_ + shift) - mpmath.digamma(x_)
            assert log_ratio.item() == pytest.approx(float(expected), rel=tolerance, abs=1e-14)
            for found in (slope, difference):
                assert found.item() == pytest.approx(float(expected_slope), rel=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-6)])
@pytest.mark.parametrize("dim", [2, 3, 50, 300])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 19.0, 1e3, 1e6])
def test_density_entropy_and_kl_from_uniform_to_a_point(dim, scale, dtype, tolerance):
    kappa = torch.tensor(scale, dtype=dtype, requires_grad=True)
    d = PowerSpherical(units(dim, dtype=dtype), kappa)
    with mpmath.workdps(40):
        beta, k = mpmath.mpf(dim - 1) / 2, mpmath.mpf(kappa.item())
        peak = mpmath.loggamma(k + 2 * beta) - mpmath.loggamma(k + beta) - beta * mpmath.log(4 * mpmath.pi)
        entropy = k * (mpmath.digamma(k + 2 * beta) - mpmath.digamma(k + beta)) - peak
        area = mpmath.log(2 * mpmath.pi ** (mpmath.mpf(dim) / 2) / mpmath.gamma(mpmath.mpf(dim) / 2))
    near = {"rel": tolerance, "abs": tolerance * dim}
    kl = kl_divergence(d, HypersphericalUniform(dim, dtype=dtype))
    assert d.log_prob(d.loc).item() == pytest.approx(float(peak), **near)
    assert d.entropy().item() == pytest.approx(float(entropy), **near)
    assert kl.item() == pytest.approx(float(area - entropy), **near)
    if scale == 0:
        assert kl.item() == 0
    (slope,) = torch.autograd.grad(kl, kappa)
    assert slope.isfinite()
    if scale >= 1:  # d KL = kappa Var(log((1 + t) / 2)) d kappa
        with mpmath.workdps(40):
            expected = k * (mpmath.polygamma(1, k + beta) - mpmath.polygamma(1, k + 2 * beta))
        assert slope.item() == pytest.approx(float(expected), rel=max(1e-8, 100 * tolerance))


def test_no_concentration_is_the_uniform_distribution(float64):
    scale = torch.zeros(5, requires_grad=True)
    x = units(5, 4, seed=2)
    log_prob = PowerSpherical(units(5, 4), scale).log_prob(x)
    torch.testing.assert_close(log_prob, HypersphericalUniform(4).log_prob(x), rtol=1e-14, atol=1e-14)
    (slope,) = torch.autograd.grad(log_prob.sum(), scale)
    height = (1 + (x * units(5, 4)).sum(-1)) / 2
    mean = torch.digamma(torch.tensor(1.5)) - torch.digamma(torch.tensor(3.0))
    torch.testing.assert_close(slope, height.log() - mean)


@pytest.mark.parametrize("dim", [2, 3, 50, 300])
def test_float32_draws_and_scores_at_a_huge_concentration_are_those_of_float64(dim):
    for scale in (1e4, 1e6):
        d = PowerSpherical(units(dim, dtype=torch.float32), torch.tensor(scale))
        x = d.sample((20_000,))
        exact = PowerSpherical(F.normalize(d.loc.double(), dim=-1), d.scale.double())
        found, expected = d.log_prob(x).double(), exact.log_prob(F.normalize(x.double(), dim=-1))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-3)
        assert_mean(-expected, exact.entropy())
        low = (x.double() - exact.loc).square().sum(-1) / 4  # (1 - t) / 2, which rounds to 0 as 1 - b
        marginal = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2 + scale)
        assert scipy.stats.kstest(low.numpy(), marginal.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dim", [2, 3, 50])
@pytest.mark.parametrize("scale", [0.0, 0.3, 10.0])
def test_draws_follow_the_beta_marginal_and_have_no_other_preference(dim, scale, float64):
    loc = units(dim)
    x = PowerSpherical(loc, torch.tensor(scale)).sample((20_000 if dim < 50 else 5_000,))
    t = x @ loc
    beta = (dim - 1) / 2
    assert scipy.stats.kstest(((1 + t) / 2).numpy(), scipy.stats.beta(beta + scale, beta).cdf).pvalue > 1e-3
    across = F.normalize(x - t[:, None] * loc, dim=-1)
    plane = torch.eye(dim) - loc[:, None] * loc
    assert_mean(across[:, :, None] * across[:, None], plane / (dim - 1), num_errors=5)
    assert_mean(across, 0.0, num_errors=5)
    assert_mean(across * t[:, None] ** 2, 0.0, num_errors=5)
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(len(x)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_loc_on_an_axis_is_like_any_other(axis, sign, float64):
    loc = torch.zeros(3)
    loc[axis] = sign
    d = PowerSpherical(loc, torch.tensor(7.0))
    x = d.sample((20_000,))
    assert_mean(x, d.mean)
    assert_mean((x - d.mean) ** 2, d.variance)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_loc_close_to_an_axis_keeps_float32_draws_on_the_sphere(sign):
    # a reflection of the axis to loc loses its digits where the two are close, and so do draws, at right angles to it
    angle = torch.logspace(-7, -2, 200)
    loc = torch.stack([sign * angle.cos(), angle.sin(), torch.zeros(200)], -1)
    x = PowerSpherical(loc, torch.tensor(5.0)).sample((50,))
    assert (x.norm(dim=-1) - 1).abs().max() < 1e-6


def test_a_value_near_the_opposite_of_loc_keeps_its_digits():
    angle = torch.tensor([1e-1, 1e-3, 1e-5])
    x = torch.stack([-angle.cos(), angle.sin()], -1).requires_grad_()
    d = PowerSpherical(torch.tensor([1.0, 0.0]), torch.tensor(3.0))
    log_prob = d.log_prob(x)
    expected = 2 * 3 * (angle.double() / 2).sin().log() + d._log_normalizer().double()
    torch.testing.assert_close(log_prob.double(), expected, rtol=1e-6, atol=1e-5)
    assert torch.autograd.grad(log_prob.sum(), x)[0].isfinite().all()
    for angle in (0.0, 1e-30, 1e-12, 1e-8):
        opposite = torch.tensor([-1.0, angle], requires_grad=True)
        log_prob = d.log_prob(opposite)
        assert -130 < log_prob < -100
        assert torch.autograd.grad(log_prob, opposite)[0].isfinite().all()


def expectation(loc, scale, linear, square):
    """E[linear . x + (square . x)^2 + |linear . x|^2 |...] in closed form: the first two moments of x."""
    dim = loc.shape[-1]
    alpha, beta = scale + (dim - 1) / 2, torch.as_tensor((dim - 1) / 2)
    total = alpha + beta
    mean, spread = scale / total, 4 * alpha * beta / (total * (total + 1))
    along = (square * loc).sum(-1) ** 2
    second = (1 - spread) * along + spread / (dim - 1) * (square.square().sum(-1) - along)
    return mean * (linear * loc).sum(-1) + second


@pytest.mark.parametrize("dim", [2, 3, 50])
@pytest.mark.parametrize("scale", [0.2, 4.0, 300.0])
def test_gradients_of_draws_are_those_of_the_expectation(dim, scale, float64):
    num_samples = 40_000
    linear, square = units(2, dim, seed=3) * 2
    vector = (units(dim) * 1.7).expand(num_samples, dim).clone().requires_grad_()
    kappa = torch.full((num_samples,), scale, requires_grad=True)
    x = PowerSpherical(F.normalize(vector, dim=-1), kappa).rsample()
    found = torch.autograd.grad(((x @ linear) + (x @ square) ** 2).sum(), (vector, kappa))
    vector, kappa = vector[0].detach().requires_grad_(), kappa[0].detach().requires_grad_()
    exact = torch.autograd.grad(expectation(F.normalize(vector, dim=-1), kappa, linear, square), (vector, kappa))
    for samples, expected in zip(found, exact, strict=True):
        assert_mean(samples, expected, num_errors=4.5)


def test_a_draw_moves_along_the_sphere(float64):
    loc, scale = units(4, 6).requires_grad_(), torch.tensor([0.0, 1.0, 10.0, 1e5], requires_grad=True)
    x = PowerSpherical(loc, scale).rsample()
    for parameter in (loc, scale):
        radial = torch.autograd.grad((x.square().sum(-1)).sum(), parameter, retain_graph=True)[0]
        assert radial.abs().max() < 1e-12


def test_kl_of_directions_against_samples(float64):
    for dim in (2, 3, 50):
        q = PowerSpherical(units(3, dim), torch.tensor([0.0, 2.0, 90.0]))
        kl_agrees_with_samples(q, HypersphericalUniform(dim))


@pytest.mark.parametrize("dim", [2, 3, 50])
def test_the_uniform_distribution_has_no_preference(dim, float64):
    d = HypersphericalUniform(dim)
    x = d.rsample((20_000,))
    assert_mean(x, d.mean, num_errors=5)
    assert_mean(x[:, :, None] * x[:, None], torch.eye(dim) / dim, num_errors=5)
    torch.testing.assert_close(d.variance, torch.full((dim,), 1 / dim))
    torch.testing.assert_close(d.log_prob(x), torch.full((20_000,), -log_area(dim)))
    torch.testing.assert_close(d.entropy().item(), log_area(dim))
    if dim > 2:  # a uniform point's coordinate is Beta
        marginal = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2)
        assert scipy.stats.kstest(((1 + x[:, 0]) / 2).numpy(), marginal.cdf).pvalue > 1e-3


def test_the_uniform_distribution_has_shapes_and_a_dtype():
    d = HypersphericalUniform(3, (2,), dtype=torch.float64).expand((5, 2))
    assert d.sample((4,)).shape == (4, 5, 2, 3)
    assert d.sample().dtype == torch.float64
    assert d.log_prob(d.sample((4,))).shape == (4, 5, 2)
    assert d.log_prob(d.sample()[0, 0]).shape == (5, 2)
    half = HypersphericalUniform(3, dtype=torch.bfloat16)
    assert half.sample().dtype == torch.bfloat16
    assert half.log_prob(half.sample((1_000,))).dtype == torch.float32
    assert half.log_prob(half.sample((1_000,))).isfinite().all()
    assert repr(d) == "HypersphericalUniform(3, (5, 2))"
    same = HypersphericalUniform(3)
    assert kl_divergence(d, same).tolist() == [[0.0, 0.0]] * 5
    assert HypersphericalUniform(3, device="meta").sample().device.type == "meta"


def test_what_is_no_direction_is_refused_or_impossible():
    off, on = torch.tensor([0.0, 1.1, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    for d in (HypersphericalUniform(3, validate_args=False), power_spherical(on, torch.tensor(2.0))):
        assert d.log_prob(torch.stack([off, on])).isfinite().tolist() == [False, True]
        assert d.log_prob(off) == -torch.inf
    loc, scale = on.clone().requires_grad_(), torch.tensor(2.0, requires_grad=True)
    log_prob = power_spherical(loc, scale).log_prob(torch.tensor([torch.inf, 0.0, 0.0]))
    assert log_prob == -torch.inf
    assert all(g.isfinite().all() for g in torch.autograd.grad(log_prob, (loc, scale)))
    with pytest.raises(ValueError, match="within the support"):
        HypersphericalUniform(3, validate_args=True).log_prob(off)
    with pytest.raises(ValueError, match="loc"):
        PowerSpherical(off, torch.tensor(1.0), validate_args=True)
    with pytest.raises(ValueError, match="scale"):
        PowerSpherical(on, torch.tensor(-1.0), validate_args=True)
    with pytest.raises(ValueError, match=r"loc has shape \(3, 1\); its last axis must be the 2 or more"):
        PowerSpherical(torch.ones(3, 1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="dim is 1; it must be at least 2"):
        HypersphericalUniform(1)
    with pytest.raises(ValueError, match=r"directions in R\^3 and R\^4"):
        kl_divergence(power_spherical(on, torch.tensor(1.0)), HypersphericalUniform(4))
