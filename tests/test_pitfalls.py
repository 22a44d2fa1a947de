"""Mistakes known in this field, by the numbers of the project's list; ours must be right where others are wrong."""

import math

import pytest
import torch
from helpers import assert_mean, exact_log_likelihood, gradient, small_vae
from hierarchies import belief_network
from torch.distributions import Independent, kl_divergence

import reparam as rp
from reparam.distributions import (
    Bernoulli,
    LogitRelaxedBernoulli,
    LogRelaxedCategorical,
    OneHotCategorical,
    joint_support,
)
from reparam.relaxation import squash


def test_pitfall_1_kl_of_relaxed_distributions_exists():
    torch_relaxed = torch.distributions.RelaxedBernoulli(torch.tensor(0.5), logits=torch.zeros(3))
    with pytest.raises(NotImplementedError):
        kl_divergence(torch_relaxed, torch_relaxed)
    for kind in (LogitRelaxedBernoulli, LogRelaxedCategorical):
        p, q = (kind(0.5, torch.randn(8, 4)) for _ in range(2))
        kl = kl_divergence(p, q)
        assert (kl > 0).all()
        assert kl_divergence(p, p).abs().max() < 1e-5


def test_pitfall_2_relaxed_density_is_finite_far_from_its_centre():
    value = torch.tensor([200.0, -200.0])
    theirs = torch.distributions.relaxed_bernoulli.LogitRelaxedBernoulli(torch.tensor(0.5), logits=torch.zeros(2))
    assert theirs.log_prob(value)[1] == -math.inf
    torch.testing.assert_close(
        LogitRelaxedBernoulli(0.5, torch.zeros(2)).log_prob(value), torch.full((2,), math.log(0.5) - 100)
    )


def test_pitfall_3_samples_come_from_logits_not_clamped_probabilities():
    logits = torch.full((2000,), 30.0, requires_grad=True)
    y = LogitRelaxedBernoulli(1.0, logits).rsample()
    (grad,) = torch.autograd.grad(y.sum(), logits)
    assert (grad == 1).all()
    assert_mean(y.detach(), 30.0)


@pytest.mark.parametrize("temperature", [0.1, 0.05])
def test_pitfall_4_relaxed_categorical_scores_its_own_samples(temperature):
    logits = torch.zeros(50_000, 10)
    theirs = torch.distributions.RelaxedOneHotCategorical(torch.tensor(temperature), logits=logits, validate_args=False)
    assert not theirs.log_prob(theirs.rsample()).isfinite().all()
    ours = LogRelaxedCategorical(temperature, logits)
    assert ours.log_prob(ours.rsample()).isfinite().all()


def test_pitfall_5_a_hard_sample_has_relaxed_density_zero():
    hard_bit = torch.tensor([math.inf, -math.inf])  # logits of 1 and 0
    assert (LogitRelaxedBernoulli(0.5, torch.zeros(2), validate_args=False).log_prob(hard_bit) == -math.inf).all()
    hard_symbol = torch.tensor([0.0, -math.inf, -math.inf])
    relaxed = LogRelaxedCategorical(0.5, torch.zeros(3), validate_args=False)
    assert relaxed.log_prob(hard_symbol) == -math.inf
    with pytest.raises(ValueError, match="support"):
        LogRelaxedCategorical(0.5, torch.zeros(3), validate_args=True).log_prob(hard_symbol)


def test_pitfall_6_a_relaxed_sample_has_discrete_probability_zero():
    soft_bit, soft_symbol = torch.tensor([0.3, 0.7]), torch.tensor([[0.1, 0.1, 0.8], [1.0, 1.0, 0.0]])
    assert (Bernoulli(torch.zeros(2), validate_args=False).log_prob(soft_bit) == -math.inf).all()
    assert (OneHotCategorical(torch.zeros(2, 3), validate_args=False).log_prob(soft_symbol) == -math.inf).all()
    model = small_vae(rp.Bernoulli(3))
    relaxed = rp.relax(model, 0.5)
    samples = rp.draw(relaxed, torch.rand(4, 6), 2, reparameterized=True)
    assert isinstance(samples.prior.base_dist, LogitRelaxedBernoulli)
    assert isinstance(samples.posterior.base_dist, LogitRelaxedBernoulli)


def test_pitfall_8_temperature_may_be_a_number_and_never_enlarges_the_batch():
    for temperature in (0.5, 1, torch.tensor(0.5), torch.full((4, 1), 0.5)):
        relaxed = LogitRelaxedBernoulli(temperature, torch.zeros(4, 3))
        assert relaxed.log_prob(relaxed.rsample()).shape == (4, 3)
    relaxed = LogRelaxedCategorical(torch.full((4,), 0.5), torch.zeros(4, 3))
    assert relaxed.log_prob(relaxed.rsample()).shape == (4,)
    with pytest.raises(ValueError, match=r"temperature has shape \(4, 1\); it must broadcast .* \(4,\) without"):
        LogRelaxedCategorical(torch.full((4, 1), 0.5), torch.zeros(4, 3))


@pytest.mark.parametrize("logit", [20.0, 100.0, 1e4, -1e4])
def test_pitfall_10_kl_of_bernoullis_has_finite_gradients_when_saturated(logit):
    p, q = (torch.tensor(logit, requires_grad=True) for _ in range(2))
    kl = kl_divergence(Bernoulli(p), Bernoulli(q)) + kl_divergence(Bernoulli(p), Bernoulli(-q))
    grads = torch.autograd.grad(kl, (p, q))
    assert kl.isfinite()
    assert all(grad.isfinite() for grad in grads)
    torch.testing.assert_close(kl, torch.tensor(abs(logit)))


def test_pitfall_11_independent_latents_are_enumerated_and_compile_and_vmap():
    independent = Independent(torch.distributions.Bernoulli(logits=torch.zeros(3)), 1)
    with pytest.raises(NotImplementedError):
        independent.enumerate_support()
    assert rp.distributions.joint_support(independent).shape == (8, 3)
    # vmap through our distributions, validation off (torch.compile: test_compile.py)
    family = rp.Categorical(3, 4)
    log_probs = torch.vmap(lambda params: family(params).log_prob(family(params).mode))(torch.randn(5, 12))
    assert log_probs.shape == (5,)


MOVED = {
    "standard": lambda latent, encoder: None,
    "learned": lambda latent, encoder: rp.LearnedPrior(latent),
    "mixture": lambda latent, encoder: rp.MixturePrior(latent, 3),
    "vamp": lambda latent, encoder: rp.VampPrior(latent, encoder, torch.rand(4, 6)),
}


@pytest.mark.parametrize("prior", MOVED)
def test_pitfall_12_every_distribution_follows_the_model(prior):
    """A distribution has no `.to`: it is made of the model's parameters and buffers in each forward pass."""
    latent = rp.Gaussian(3)
    encoder = rp.mlp(6, [5], latent.num_params)
    made = MOVED[prior](latent, encoder)
    model = rp.VAE(latent, rp.Bernoulli(6), encoder, rp.mlp(3, [5], 6), prior=made)
    model.prior().sample()  # whatever may be kept between calls
    model.double()
    assert model.prior().sample().dtype == torch.float64
    assert model.posterior(torch.rand(2, 6).double()).sample().dtype == torch.float64
    model.to("meta")
    z = model.posterior(torch.rand(2, 6, device="meta", dtype=torch.float64)).rsample((5,))
    for log_prob in (model.prior().log_prob(z), model.posterior(torch.rand(2, 6, device="meta").double()).log_prob(z)):
        assert log_prob.device.type == "meta"
        assert log_prob.shape == (5, 2)


def test_pitfall_12_every_layer_follows_the_model():
    model = belief_network()
    model.prior().sample()
    model.double().to("meta")
    x = torch.rand(2, 6, device="meta", dtype=torch.float64)
    z = model.posterior(x).sample((5,))
    for log_prob in (model.prior().log_prob(z), model.posterior(x).log_prob(z), model.likelihood(z).log_prob(x)):
        assert (log_prob.device.type, log_prob.dtype, log_prob.shape) == ("meta", torch.float64, (5, 2))
    assert joint_support(model.prior()).device.type == "meta"


def test_pitfall_13_the_relaxed_objective_is_named_and_not_called_a_bound():
    model, x = small_vae(rp.Bernoulli(4)), torch.rand(6, 6)
    assert rp.Relaxed(0.5, kl="exact")(model, x).name == "surrogate"
    assert rp.Relaxed(0.5, kl="relaxed")(model, x).name == "relaxed_elbo"
    assert rp.Relaxed(0.5, kl="exact", straight_through=True)(model, x).name == "elbo"


def test_pitfall_13_the_surrogate_exceeds_log_p_which_no_bound_can():
    # A model whose likelihood rewards z = 1/2, a value that no bit ever takes: the surrogate claims what cannot be.
    class Middle:
        def prior(self):
            return Independent(Bernoulli(torch.zeros(1)), 1)

        def posterior(self, x):
            return Independent(Bernoulli(torch.zeros(len(x), 1)), 1)

        def likelihood(self, z):
            closeness = 10 - 80 * (z - 0.5) ** 2
            return Independent(Bernoulli(closeness, means=True), 1)

    model, x = Middle(), torch.ones(2000, 1)
    log_p = exact_log_likelihood(model, x).mean()
    surrogate = rp.Relaxed(1.0, kl="exact")(model, x).bound.mean()
    exact = rp.evaluate(model, x, num_samples=4).elbo
    assert surrogate > log_p + 1
    assert exact.value <= log_p + 1e-5


def test_pitfall_13_hard_latents_are_zeros_and_ones_in_the_right_share():
    model = small_vae(rp.Bernoulli(3))
    y = rp.relax(model, 0.3).prior().sample((20_000,))
    hard = squash(y, binary=True, hard=True)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert_mean(hard, 0.5)


def test_pitfall_13_annealing_follows_the_formula_and_does_not_compound():
    schedule = rp.exponential(1.0, 0.1, rate=3e-5, every=1000)
    estimator = rp.Relaxed(schedule)
    for step in range(4691):
        current = estimator.at(step)
    assert current.temperature == pytest.approx(math.exp(-3e-5 * 4000))
    assert rp.exponential(1.0, 0.1, rate=3e-5)(4690) == pytest.approx(0.8687, abs=1e-4)
    assert estimator.temperature is schedule


def test_pitfall_13_logits_never_meet_a_loss_for_probabilities():
    logits, x = torch.randn(5, 6) * 4, torch.rand(5, 6)
    expected = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(-1)
    torch.testing.assert_close(-rp.Bernoulli(6).likelihood(logits).log_prob(x), expected, rtol=1e-4, atol=1e-4)


def test_pitfall_13_a_short_batch_makes_a_picture(tmp_path):
    model, x = small_vae(rp.Bernoulli(2), num_pixels=4), torch.rand(3, 4)
    path = rp.save_image_grid(tmp_path / "grid.png", torch.cat([x, rp.reconstruct(model, x)]), columns=8)
    assert path.stat().st_size > 0


def test_pitfall_20_bounds_are_sums_over_pixels_and_means_over_the_batch(float64):
    # twice the pixels, twice the likelihood term; twice the batch, the same loss and gradient
    observation = rp.Bernoulli(6)
    params, x = torch.randn(3, 6), torch.rand(3, 6)
    one = observation.likelihood(params).log_prob(x)
    two = rp.Bernoulli(12).likelihood(torch.cat([params, params], -1)).log_prob(torch.cat([x, x], -1))
    torch.testing.assert_close(two, 2 * one)
    model = small_vae(rp.Bernoulli(3))
    single, double = (rp.Enumerate()(model, torch.cat([x] * n)) for n in (1, 2))
    torch.testing.assert_close(single.loss, double.loss)
    torch.testing.assert_close(gradient(single.loss, model), gradient(double.loss, model))


def test_pitfall_20_the_test_loss_draws_z_and_does_not_take_its_mean():
    model = small_vae(rp.Gaussian(3))
    data = torch.rand(500, 6)
    losses = torch.tensor([rp.mean_loss(model, rp.Pathwise(), data) for _ in range(40)], dtype=torch.float64)
    assert losses.std() > 0
    elbo = rp.evaluate(model, data, num_samples=200).elbo
    assert abs(losses.mean() + elbo.value) < 4 * (losses.std() / math.sqrt(40) + elbo.monte_carlo_error)


def test_pitfall_20_a_grey_bound_lies_below_the_mean_log_likelihood_of_its_bits(float64):
    model, x = small_vae(rp.Bernoulli(3), num_pixels=4), torch.rand(5, 4)
    bits = rp.distributions.joint_support(Independent(Bernoulli(torch.zeros(4)), 1))
    weights = torch.where(bits[:, None] == 1, x, 1 - x).prod(-1)  # [16, 5]
    log_p = torch.stack([exact_log_likelihood(model, b.expand(5, 4)) for b in bits])
    grey = rp.Enumerate()(model, x).bound
    assert (grey <= (weights * log_p).sum(0)).all()
