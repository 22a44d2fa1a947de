"""kl(q, p): layers sum to the total, and the error is the one that it claims."""

import math

import pytest
import torch
from hierarchies import belief_network, gaussian_hierarchy, ladder
from torch.distributions import Bernoulli, Independent, Normal, StudentT, kl_divergence

import reparam as rp
from reparam.draws import Draw


def test_the_kl_of_layers_sums_to_the_total(float64):
    x = torch.rand(4, 6).round()
    calm_ladder = ladder([rp.Gaussian(3), rp.Gaussian(2), rp.Gaussian(2)], scale=0.2)
    calm_hierarchy = gaussian_hierarchy()  # with its own weights log q - log p has a mean of 5e22, and no error
    with torch.no_grad():
        for parameter in calm_hierarchy.parameters():
            parameter.mul_(0.3)
    for model in (calm_hierarchy, calm_ladder, belief_network()):
        q, p = model.posterior(x), model.prior()
        found = rp.kl(q, p, num_samples=20_000)
        assert found.method == "samples"
        assert set(found.by_part) == set(model.latents)
        torch.testing.assert_close(torch.stack(list(found.by_part.values())).sum(0), found.value)
        z = q.sample((20_000,))
        ratio = q.log_prob(z) - p.log_prob(z)
        error = (ratio.var(0) / len(ratio) + found.standard_error**2).sqrt()
        assert ((ratio.mean(0) - found.value).abs() < 4 * error).all()
        if isinstance(model, rp.Ladder):  # one order of drawing: the inner KLs are in closed form
            assert (found.standard_error < ratio.std(0) / len(ratio) ** 0.5).all()
            assert all((part > 0).all() for part in found.by_part.values())


def test_kl_says_how_it_was_found(float64):
    q, p = rp.Gaussian(3)(torch.randn(5, 6)), rp.Gaussian(3)(torch.zeros(6))
    closed = rp.kl(q, p)
    assert closed.method == "closed form"
    assert (closed.standard_error == 0).all()
    torch.testing.assert_close(closed.value, kl_divergence(q, p))
    sampled = rp.kl(q, Independent(StudentT(4.0, torch.zeros(3), 1.0), 1), num_samples=4000)
    assert sampled.method == "samples"
    assert (sampled.standard_error > 0).all()
    coins = rp.kl(Bernoulli(logits=torch.tensor(1e4)), Bernoulli(logits=torch.tensor(0.0)))
    torch.testing.assert_close(coins.value, torch.tensor(math.log(2)))
    latent = rp.Joint(a=rp.Gaussian(2), b=rp.Bernoulli(3))
    joint = rp.kl(latent(torch.randn(4, 7)), latent(torch.zeros(7)))
    assert joint.method == "closed form"
    torch.testing.assert_close(joint.by_part["a"] + joint.by_part["b"], joint.value)
    with pytest.raises(ValueError, match=r"q has event shape \(3,\) and p \(\)"):
        rp.kl(q, Normal(0.0, 1.0))


def test_kl_has_the_error_that_it_claims(float64):
    q = Independent(Normal(torch.full((2,), 0.7), 1.3), 1)
    p = Independent(StudentT(4.0, torch.zeros(2), 1.0), 1)
    found = [rp.kl(q, p, num_samples=400) for _ in range(400)]
    spread = torch.stack([f.value for f in found]).std()
    claimed = torch.stack([f.standard_error for f in found]).mean()
    assert 0.85 < claimed / spread < 1.15  # the spread of 400 runs is known to 3.5 %


def test_chains_of_other_layouts_are_compared_by_their_values(float64):
    """The same z means the same place in both, whatever the parts are called."""
    g = rp.Gaussian(2)
    a, b, zero = torch.randn(4), torch.randn(4), torch.zeros(4)
    q = rp.Chain({"a": g, "b": g}, {"a": g(a), "b": g(b)})
    p = rp.Chain({"b": g, "a": g}, {"b": g(zero), "a": g(b)})
    found = rp.kl(q, p, num_samples=20_000)
    exact = kl_divergence(g(a), g(zero)) + kl_divergence(g(b), g(b))
    assert found.method == "samples"
    assert abs(found.value - exact) < 4 * found.standard_error
    assert not found.by_part
    same = rp.kl(q, rp.Chain({"a": g, "b": g}, {"a": g(zero), "b": g(b)}))
    torch.testing.assert_close(same.value, exact)


def test_no_draw_meets_another_ones_p():
    with pytest.raises(ValueError, match=r"q has batch shape \(\) and p \(7,\)"):
        rp.kl(Normal(0.0, 1.0), StudentT(3.0, torch.arange(7.0), 1.0))


def test_torchs_coins_in_a_chain_have_finite_kls(float64):
    latent = rp.Joint(a=rp.TorchFamily(Bernoulli, 2), b=rp.Categorical(1, 3))
    q, p = latent(torch.randn(5, 5) * 1e3), latent(torch.zeros(5))
    found = rp.kl(q, p)
    assert found.method == "closed form"
    assert found.value.shape == (5,)
    assert found.value.isfinite().all()


def drawn(q, p):
    """Only the two distributions matter to a KL in closed form."""
    return Draw(torch.zeros(len(q.mean), 6), q.sample((1,)), p, q, q)


def test_a_wrapped_posterior_and_a_prior_of_numbers_have_no_kl():
    samples = drawn(Independent(Normal(torch.randn(4, 2), 1.0), 1), Normal(torch.zeros(2), 1.0))
    with pytest.raises(NotImplementedError):
        _ = samples.kl_by_variable


def test_the_kl_of_torchs_nearly_certain_coins_is_finite_by_variable_too():
    logits = torch.tensor([[1e4, -1e4]]).expand(4, 2)
    samples = drawn(Independent(Bernoulli(logits=logits), 1), Independent(Bernoulli(logits=torch.zeros(2)), 1))
    torch.testing.assert_close(samples.kl_by_variable, torch.full((4, 2), math.log(2)))
    torch.testing.assert_close(samples.kl, torch.full((4,), 2 * math.log(2)))


def test_the_error_of_two_samples_is_unbiased_too(float64):
    """Its square is, for two samples as for many: the divisor is the number of samples."""
    q = Normal(torch.zeros(20_000), 1.0)
    found = rp.kl(q, StudentT(4.0, torch.zeros(20_000), 1.0), num_samples=2)
    variance = found.value.var()
    assert abs(found.standard_error.square().mean() / variance - 1) < 0.1
    with pytest.raises(ValueError, match="num_samples is 1"):
        rp.kl(q, q, num_samples=1)


def test_no_gradient_passes_a_divergence():
    loc = torch.zeros(3, requires_grad=True)
    for p in (Normal(1.0, 1.0), StudentT(4.0)):
        assert not rp.kl(Normal(loc, 1.0), p).value.requires_grad
    model = gaussian_hierarchy()
    assert not rp.kl(model.posterior(torch.rand(4, 6)), model.prior()).value.requires_grad


def test_a_p_that_would_be_broadcast_is_refused():
    with pytest.raises(ValueError, match=r"batch shape \(7,\) and p \(1,\)"):
        rp.kl(Normal(torch.zeros(7), 1.0), Normal(torch.zeros(1), 1.0))


def test_no_error_is_claimed_where_the_terms_have_no_variance():
    """log q - log p of StudentT(3) to a normal grows like x^2, whose square has no mean; the other way it has."""
    many = torch.zeros(200)
    heavy, light = torch.distributions.StudentT(many + 3), torch.distributions.Normal(many, 1.0)
    found = rp.kl(heavy, light)
    assert found.standard_error.isnan().float().mean() > 0.8
    assert (found.heaviest[found.standard_error.isnan()] > 0.25).all()
    found = rp.kl(light, heavy, num_samples=20_000)
    assert found.standard_error.isfinite().all()
    assert found.heaviest.max() < 0.25
    assert rp.kl(light, light).heaviest is None
