"""Bounds: their order, their limits, and the draws they are made of."""

import itertools
import math

import pytest
import torch
from helpers import LinearGaussian, exact_log_likelihood, small_vae

import reparam as rp


def test_bounds_of_known_weights(float64):
    log_weight = torch.tensor([[1.0, 3.0], [3.0, 1.0]]).log()
    torch.testing.assert_close(rp.elbo(log_weight), torch.full((2,), math.log(3) / 2))
    torch.testing.assert_close(rp.iwae(log_weight), torch.full((2,), math.log(2)))
    assert rp.iwae(torch.tensor([[1000.0], [-1000.0]])).item() == pytest.approx(1000 - math.log(2))


def test_iwae_never_falls_below_the_elbo_of_the_same_weights(float64):
    log_weight = torch.randn(20, 50) * 10
    assert (rp.iwae(log_weight) >= rp.elbo(log_weight)).all()
    torch.testing.assert_close(rp.iwae(log_weight[:1]), rp.elbo(log_weight[:1]))


def test_a_draw_scores_with_the_models_own_distributions(float64):
    model, x = small_vae(rp.Categorical(2, 3)), torch.rand(4, 6)
    samples = rp.draw(model, x, 5)
    assert samples.z.shape == (5, 4, 2, 3)
    torch.testing.assert_close(samples.log_prior, torch.full((5, 4), 2 * math.log(1 / 3)))
    torch.testing.assert_close(samples.log_posterior, model.posterior(x).log_prob(samples.z))
    torch.testing.assert_close(samples.log_likelihood, model.likelihood(samples.z).log_prob(x))
    torch.testing.assert_close(samples.log_weight, samples.log_likelihood + samples.log_prior - samples.log_posterior)


def test_a_model_is_anything_with_three_methods():
    assert isinstance(LinearGaussian(), rp.LatentVariableModel)
    assert rp.draw(LinearGaussian(), torch.randn(4, 3), 2).log_weight.shape == (2, 4)


def test_a_forgotten_independent_is_named_wherever_it_is_missing():
    class ForgetsLikelihood(LinearGaussian):
        def likelihood(self, z):
            return super().likelihood(z).base_dist

    class ForgetsPosterior(LinearGaussian):
        def posterior(self, x):
            return super().posterior(x).base_dist

    class ForgetsBoth(ForgetsPosterior):
        def prior(self):
            return super().prior().base_dist

    x = torch.randn(2, 3)  # as many examples as latents: a KL per latent would broadcast without an error
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), and one draw of the likelihood \(\).*Independent"):
        rp.draw(ForgetsLikelihood(), x, 2)
    with pytest.raises(ValueError, match=r"log_prob of the posterior has shape \(4, 2, 2\).*\(4, 2\).*Independent"):
        rp.draw(ForgetsPosterior(), x, 4).log_weight.sum()
    with pytest.raises(
        ValueError, match=r"KL\(q \|\| p\) has shape \(2, 2\); one number per example is \(2,\).*Independent"
    ):
        rp.Pathwise()(ForgetsBoth(), x)


@pytest.mark.parametrize("relaxed_temperature", [None, 0.5])
def test_bounds_rise_with_k_and_stay_below_log_p(relaxed_temperature, float64):
    """On average over many draws; the relaxed model with hard rounding has the exact model's log p(x)."""
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(6, 6).round()
    log_p = exact_log_likelihood(model, x).mean().item()
    sampled = model if relaxed_temperature is None else rp.relax(model, relaxed_temperature, straight_through=True)
    log_weight = rp.draw(sampled, x, 60_000).log_weight
    means, errors = [], []
    for k in (1, 5, 50):
        bound = rp.iwae(log_weight.reshape(k, -1)).reshape(-1, 6).mean(-1)
        means.append(bound.mean().item())
        errors.append(bound.std().item() / math.sqrt(len(bound)))
    assert means[0] < means[1] < means[2] < log_p + 4 * errors[2]
    assert log_p - means[2] < (log_p - means[0]) / 3


def test_renyi_between_the_bounds_it_contains(float64):
    log_weight = torch.randn(6, 40) * 3
    torch.testing.assert_close(rp.renyi(0.0)(log_weight), rp.iwae(log_weight))
    torch.testing.assert_close(rp.renyi(1.0)(log_weight), rp.elbo(log_weight))
    torch.testing.assert_close(rp.renyi(1 - 1e-7)(log_weight), rp.elbo(log_weight), rtol=1e-4, atol=1e-4)
    values = [rp.renyi(alpha)(log_weight) for alpha in (-2.0, 0.0, 0.5, 1.0, 3.0)]
    assert all((lower <= higher).all() for higher, lower in itertools.pairwise(values))
    for scale in (1.0, 0.05):  # far and near, where the formula is another one
        by_hand = (scale * log_weight).exp().sqrt().mean(0).log() * 2
        torch.testing.assert_close(rp.renyi(0.5)(scale * log_weight), by_hand)


def test_renyi_keeps_its_digits_near_one_in_single_precision():
    log_weight = torch.tensor([[-100.0], [-101.0], [-99.0]])
    for distance in (1e-3, 1e-5, 1e-7):
        expected = -100 + distance / 2 * (2 / 3)  # the ELBO and half the variance
        assert rp.renyi(1 - distance)(log_weight).item() == pytest.approx(expected, abs=2e-5)


def test_renyi_of_a_model_bounds_log_p_from_the_side_it_should(float64):
    """Li and Turner, 2016: with exact expectations, log p lies between alpha < 0 and alpha > 0."""
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(5, 6).round()
    states = rp.distributions.joint_support(model.prior())[:, None].expand(-1, 5, -1)
    log_q = model.posterior(x).log_prob(states)
    log_weight = model.likelihood(states).log_prob(x) + model.prior().log_prob(states) - log_q
    log_p = exact_log_likelihood(model, x)

    def exact(alpha):
        return (log_q + (1 - alpha) * log_weight).logsumexp(0) / (1 - alpha)

    assert (exact(-1.0) > log_p).all()
    torch.testing.assert_close(exact(0.0), log_p)
    assert (exact(0.5) < log_p).all()
    assert (exact(2.0) < (log_q.exp() * log_weight).sum(0)).all()


def test_the_thermodynamic_bound_is_a_left_riemann_sum(float64):
    log_weight = torch.randn(7, 5)
    torch.testing.assert_close(rp.tvo((0.0,))(log_weight), rp.elbo(log_weight))

    def expected(beta):
        return ((beta * log_weight).softmax(0) * log_weight).sum(0)

    by_hand = 0.1 * expected(0.0) + 0.3 * expected(0.1) + 0.6 * expected(0.4)
    torch.testing.assert_close(rp.tvo((0.0, 0.1, 0.4))(log_weight), by_hand)
    fine = rp.tvo(tuple(torch.linspace(0, 1, 2001)[:-1].tolist()))(log_weight)
    torch.testing.assert_close(fine, rp.iwae(log_weight), rtol=0, atol=2e-3)  # the integral is log of the mean weight


def test_penalised_bounds_are_named_and_are_what_they_say(float64):
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(5, 6)
    samples = rp.draw(model, x, 3)
    kl = samples.kl_by_variable
    torch.testing.assert_close(kl.sum(1), samples.kl)
    likelihood = samples.log_likelihood
    torch.testing.assert_close(rp.beta_elbo(3.0)(likelihood, kl), likelihood.mean(0) - 3 * samples.kl)
    nats = kl.mean(0).median().item()
    found = rp.free_bits(nats)(likelihood, kl)
    expected = likelihood.mean() - kl.mean(0).clamp_min(nats).sum()
    torch.testing.assert_close(found.mean(), expected)
    assert found.mean() < (likelihood.mean(0) - samples.kl).mean()
    (slope,) = torch.autograd.grad(rp.free_bits(nats).penalty(kl).sum(), kl)
    torch.testing.assert_close(slope, (kl.mean(0) > nats).double().expand(5, 4))
    torch.testing.assert_close(rp.Enumerate(bound=rp.beta_elbo(1.0))(model, x).bound, rp.Enumerate()(model, x).bound)
    names = {
        str(e): e(model, x).name for e in (rp.RLOO(2, rp.beta_elbo(4.0)), rp.StraightThrough(bound=rp.free_bits(0.5)))
    }
    assert list(names.values()) == ["beta_elbo_4", "free_bits_0.5"]
    assert rp.Relaxed(0.5, kl="exact", bound=rp.beta_elbo(4.0))(model, x).name == "surrogate_beta_elbo_4"


def test_the_kl_by_variable_of_a_latent_that_is_one_piece_is_one_column(float64):
    latent = rp.TorchFamily(torch.distributions.Dirichlet, 3)
    samples = rp.draw(small_vae(latent), torch.rand(5, 6))
    torch.testing.assert_close(samples.kl_by_variable, samples.kl[:, None])


REFUSED = [
    (lambda: rp.renyi(math.nan), ValueError, "alpha is nan; it must be finite"),
    (lambda: rp.tvo((0.1, 0.5)), ValueError, r"partition is \(0.1, 0.5\); it must begin with 0 and rise to below 1"),
    (lambda: rp.tvo((0.0, 1.0)), ValueError, "rise to below 1"),
    (lambda: rp.tvo((0.0, 0.5, 0.2)), ValueError, "rise to below 1"),
    (lambda: rp.beta_elbo(-0.5), ValueError, "beta is -0.5; it must be at least 0. 1 is the ELBO"),
    (lambda: rp.beta_elbo(lambda s: -1.0).at(5), ValueError, "beta at step 5 is -1.0"),
    (lambda: rp.beta_elbo(lambda s: 1.0).penalty(torch.ones(2, 2)), ValueError, "beta is a schedule. Fix it first"),
    (lambda: rp.free_bits(-1.0), ValueError, "nats is -1.0; it must be finite and above 0"),
]


@pytest.mark.parametrize(("act", "error", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_refusals_give_the_value_the_rule_and_the_remedy(act, error, message):
    with pytest.raises(error, match=message):
        act()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_do_not_count_get_no_gradient_and_change_no_digit(dtype):
    """e^-100 of the largest would be a denormal number in float32, and each product with it slow."""
    log_weight = (
        torch.cat([torch.zeros(1, 7), torch.linspace(-20, -120, 49).repeat(7, 1).t()]).to(dtype).requires_grad_()
    )
    bound = rp.iwae(log_weight)
    bound.sum().backward()
    assert torch.equal(bound, log_weight.logsumexp(0) - math.log(50))
    exact = log_weight.detach().softmax(0)
    smallest = torch.finfo(dtype).eps ** 2
    gradient = log_weight.grad
    assert ((gradient == 0) | (gradient > 0.9 * smallest)).all()
    assert ((gradient == 0) == (exact < smallest)).all()
    torch.testing.assert_close(gradient, torch.where(gradient == 0, 0, exact))


def test_impossible_samples_among_possible_ones_and_alone():
    log_weight = torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]], requires_grad=True)
    bound = rp.iwae(log_weight)
    assert bound.tolist() == [pytest.approx(-math.log(2)), -math.inf]
    bound[0].backward()
    assert log_weight.grad[:, 0].tolist() == [1.0, 0.0]


def test_an_impossible_sample_does_not_spoil_a_wake_update():
    log_joint = torch.tensor([[0.5], [-math.inf]], requires_grad=True)
    log_q = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    surrogate = rp.surrogates.wake((log_joint - log_q).detach(), log_joint, log_q)
    surrogate.sum().backward()
    assert log_joint.grad.tolist() == [[1.0], [0.0]]
    assert log_q.grad.isfinite().all()
