"""Evaluation recovers known log-likelihoods, with errors that are true."""

import math

import pytest
import torch
from helpers import LinearGaussian, exact_log_likelihood, small_vae
from torch import nn

import reparam as rp
from reparam.importance import jackknife


def test_evaluate_recovers_log_p_of_a_linear_gaussian_model(float64):
    model = LinearGaussian()
    x = model.marginal().sample((300,))
    exact = model.marginal().log_prob(x).mean().item()
    found = rp.evaluate(model, x, num_samples=500)
    for estimate in (found.log_likelihood, found.iwae):
        assert abs(estimate.value - exact) < 4 * estimate.monte_carlo_error + 1e-4
    q = model.posterior(x)
    kl = torch.distributions.kl_divergence(q, model.prior()).mean().item()
    assert abs(found.rate.value - kl) < 4 * found.rate.monte_carlo_error
    assert found.elbo.value == pytest.approx(-found.rate.value - found.distortion.value)
    assert found.elbo.value < exact
    assert found.active_units == 2
    assert found.log_likelihood.standard_error == pytest.approx(
        model.marginal().log_prob(x).std().item() / math.sqrt(300), rel=0.01
    )


@pytest.mark.parametrize("latent", [rp.Bernoulli(5), rp.Categorical(2, 4)], ids=["Bernoulli", "Categorical"])
def test_evaluate_recovers_log_p_of_an_enumerable_model(latent, float64):
    model, x = small_vae(latent), torch.rand(200, 6).round()
    exact = exact_log_likelihood(model, x).mean().item()
    found = rp.evaluate(model, x, num_samples=1000)
    assert abs(found.log_likelihood.value - exact) < 4 * found.log_likelihood.monte_carlo_error + 1e-4
    elbo = rp.Enumerate()(model, x).bound.mean().item()
    assert abs(found.elbo.value - elbo) < 4 * found.elbo.monte_carlo_error


def test_bounds_rise_with_k_and_never_exceed_log_p_by_more_than_their_error(float64):
    model, x = small_vae(rp.Bernoulli(5)), torch.rand(200, 6).round()
    exact = exact_log_likelihood(model, x).mean().item()
    found = [rp.evaluate(model, x, num_samples=k, seed=k) for k in (2, 20, 200)]
    values = [f.iwae.value for f in found]
    assert values[0] < values[1] < values[2]
    for f in found:
        assert f.elbo.value < exact + 4 * f.elbo.monte_carlo_error
        assert f.iwae.value < exact + 4 * f.iwae.monte_carlo_error


def test_the_monte_carlo_error_is_the_spread_over_seeds(float64):
    model, x = small_vae(rp.Bernoulli(5)), torch.rand(50, 6)
    runs = [rp.evaluate(model, x, num_samples=40, seed=seed) for seed in range(60)]
    for name in ("elbo", "iwae", "log_likelihood", "rate", "distortion"):
        values = torch.tensor([getattr(run, name).value for run in runs])
        claimed = sum(getattr(run, name).monte_carlo_error for run in runs) / len(runs)
        # the sample deviation of 60 runs has a relative error of 1 / sqrt(2 * 59) = 9%
        assert values.std().item() == pytest.approx(claimed, rel=0.4)


def test_chunks_change_neither_numbers_nor_peak_shape():
    model, x = small_vae(rp.Gaussian(2)), torch.rand(10, 6)
    widest = 0

    class Watching(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, z):
            nonlocal widest
            widest = max(widest, z.shape[:-1].numel())
            return self.inner(z)

    whole = rp.evaluate(model, x, num_samples=50, max_rows=10_000)
    model.decoder = Watching(model.decoder)
    pieces = rp.evaluate(model, x, num_samples=50, max_rows=40)
    assert widest <= 40
    assert abs(whole.iwae.value - pieces.iwae.value) < 5 * whole.iwae.monte_carlo_error


def test_evaluate_repeats_itself_and_leaves_the_random_numbers_and_the_mode_alone():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(10, 6)
    model.encoder.append(nn.Dropout(0.5))
    model.decoder[0].eval()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = rp.evaluate(model, x, num_samples=10)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(7)
    assert rp.evaluate(model, rp.Data(x, "dynamic"), num_samples=2) == rp.evaluate(
        model, rp.Data(x, "dynamic"), num_samples=2
    )
    assert torch.equal(torch.rand(3), expected)
    assert rp.evaluate(model, x, num_samples=10) == first
    assert model.training
    assert model.encoder[-1].training
    assert not model.decoder[0].training


def test_single_samples_and_single_examples_have_no_error_to_report():
    found = rp.evaluate(small_vae(rp.Bernoulli(3)), torch.rand(1, 6), num_samples=1)
    assert math.isnan(found.elbo.standard_error)
    assert math.isnan(found.elbo.monte_carlo_error)
    assert found.elbo.value == pytest.approx(found.iwae.value)


def test_active_units_counts_variables_that_follow_the_data():
    for latent in (rp.Gaussian(4), rp.Categorical(4, 3)):
        model = small_vae(latent)
        with torch.no_grad():
            model.encoder[-1].weight.zero_()
            x = torch.rand(400, 6)
            assert rp.evaluate(model, x, num_samples=2).active_units == 0
            width = latent.num_params // 4 if isinstance(latent, rp.Categorical) else 1
            model.encoder[-1].weight[:width] = torch.randn(width, 5) * 10
        assert rp.evaluate(model, x, num_samples=2).active_units == 1


def test_a_relaxed_model_is_refused():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(4, 6)
    with pytest.raises(TypeError, match=r"exact model and received a relaxed one.*relaxed_model.exact"):
        rp.evaluate(rp.relax(model, 0.1), x)

    class OwnRelaxation(type(model)):
        def posterior(self, x):
            logits = super().posterior(x).base_dist.logits
            relaxed = torch.distributions.RelaxedBernoulli(torch.tensor(0.5), logits=logits)
            return torch.distributions.Independent(relaxed, 1)

    model.__class__ = OwnRelaxation
    with pytest.raises(TypeError, match=r"posterior is a RelaxedBernoulli, a relaxed distribution"):
        rp.evaluate(model, x)


def test_data_outside_the_support_are_refused_with_the_first_offender():
    x = torch.rand(5000, 6)
    x[4321, 2] = 1.5
    with pytest.raises(ValueError, match=r"example 4321 has values from .* to 1.5, .*outside the support .*Bernoulli"):
        rp.evaluate(small_vae(rp.Bernoulli(3)), x)


def test_event_shapes_need_not_be_flat():
    observation = rp.Bernoulli((1, 4, 4))
    latent = rp.Categorical((2, 2), 3)
    model = small_vae(latent, observation=observation)
    x = torch.rand(9, 1, 4, 4)
    found = rp.evaluate(model, x, num_samples=200)
    exact = exact_log_likelihood(model, x).mean().item()
    assert abs(found.log_likelihood.value - exact) < 4 * found.log_likelihood.monte_carlo_error + 1e-2
    assert rp.sample(model, 5).shape == rp.reconstruct(model, x[:5]).shape == (5, 1, 4, 4)


def test_vector_valued_latents_are_evaluated():
    for kind in (torch.distributions.Dirichlet, torch.distributions.MultivariateNormal):
        found = rp.evaluate(small_vae(rp.TorchFamily(kind, 3)), torch.rand(20, 6), num_samples=5)
        assert math.isfinite(found.elbo.value)
        assert 0 <= found.active_units <= 3
    found = rp.evaluate(small_vae(rp.TorchFamily(torch.distributions.Cauchy, 2)), torch.rand(20, 6), num_samples=5)
    assert found.active_units is None


def test_a_dominating_weight_does_not_extrapolate_beyond_itself():
    log_weight = torch.tensor([[0.0, -1.0], [-math.inf, -1000.0], [-1000.0, -2000.0]], dtype=torch.float64)
    estimate, squared_error, bound_error = jackknife(log_weight)
    assert (estimate <= log_weight.amax(0)).all()
    assert (estimate >= log_weight.logsumexp(0) - math.log(3)).all()
    assert (squared_error > 1).all()
    assert (bound_error > 1).all()


def test_a_broken_model_is_named_instead_of_giving_nan():
    model = small_vae(rp.Gaussian(2))
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"parameter decoder.0.weight of the model holds NaN"):
        rp.evaluate(model, torch.rand(4, 6))


def test_a_plain_object_is_evaluated_in_eval_mode_and_in_its_own_precision():
    class Plain:
        def __init__(self, inner):
            self.inner = inner
            self.prior, self.posterior, self.likelihood = inner.prior, inner.posterior, inner.likelihood

    model = small_vae(rp.Gaussian(2)).double()
    model.encoder.insert(1, nn.Dropout(0.9))
    x = torch.rand(30, 6)
    found = rp.evaluate(Plain(model), x)
    assert model.training
    assert found == rp.evaluate(model.eval(), x)


def test_any_iterable_of_batches_is_evaluated():
    model, x = small_vae(rp.Gaussian(2)), torch.rand(50, 6)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.arange(50)), batch_size=20)
    assert rp.evaluate(model, list(x.split(20))) == rp.evaluate(model, x, batch_size=20)
    assert rp.evaluate(model, [(b.numpy(), None) for b in x.split(20)]) == rp.evaluate(model, x, batch_size=20)
    assert rp.evaluate(model, loader).num_examples == 50  # a loader draws a seed for its workers, so digits differ
    with pytest.raises(ValueError, match="no batch"):
        rp.evaluate(model, [])


def test_mean_loss_refuses_data_outside_the_support():
    with pytest.raises(ValueError, match="outside the support"):
        rp.mean_loss(small_vae(rp.Gaussian(2)), rp.Pathwise(), torch.full((3, 6), 50.0))


def test_a_free_angle_is_not_an_active_unit(float64):
    """The mean angle of a nearly uniform posterior varies, and says nothing."""
    model = small_vae(rp.VonMises(3))
    x = torch.rand(200, 6)
    with torch.no_grad():
        model.encoder[-1].weight.mul_(4)
    assert rp.evaluate(model, x, num_samples=2).active_units >= 2
    with torch.no_grad():
        model.encoder[-1].weight.mul_(1e-3)
        model.encoder[-1].bias.mul_(1e-3)
    found = rp.evaluate(model, x, num_samples=2)
    assert found.active_units == 0
    assert abs(found.rate.value) < 4 * found.rate.monte_carlo_error + 1e-4
