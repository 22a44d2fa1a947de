"""What is said of importance weights: the estimate of log p(x), its errors, and the tail of the weights."""

import json
import math
import warnings

import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Independent, Normal

import reparam as rp
from reparam.evaluation import evaluate
from reparam.importance import FEWEST, jackknife, pareto_k, reliable_below
from reparam.training.keeper import named


class Narrow(nn.Module):
    """z ~ N(0, 1), x|z ~ N(z, 1), and a posterior N(x / 2, scale^2) too narrow: its weights' tail has k = 1 - 2 scale^2."""

    def __init__(self, scale):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))
        self.scale = scale

    def prior(self):
        return Independent(Normal(torch.zeros(1), 1.0), 1)

    def posterior(self, x):
        return Independent(Normal(x / 2, self.scale), 1)

    def likelihood(self, z):
        return Independent(Normal(z + self.shift, 1.0), 1)


def log_weights(k, num_samples, columns):
    """Those of `Narrow` at x = 0, less log p(x)."""
    u = torch.randn(num_samples, columns)
    return k / 2 * u.square() + math.log(1 - k) / 2


def debiased(log_weight):
    """The estimate as Nowozin writes it, one bound after another."""
    n = len(log_weight)
    bounds = [rp.iwae(torch.cat([log_weight[:k], log_weight[k + 1 :]])) for k in range(n)]
    value = n * rp.iwae(log_weight) - (n - 1) * torch.stack(bounds).mean(0)
    return value.minimum(log_weight.amax(0)), torch.stack(bounds)


@pytest.mark.parametrize("num_samples", [3, 4, 8, 9, 40])
@pytest.mark.parametrize("scale", [0.1, 1.0, 40.0])
def test_the_estimate_and_both_errors_are_those_of_weights_left_out_one_by_one(scale, num_samples, float64):
    log_weight = scale * torch.randn(num_samples, 20) - 1000
    found, error, bound_error = jackknife(log_weight)
    value, bounds = debiased(log_weight)
    left_out = torch.stack([debiased(torch.cat([log_weight[:k], log_weight[k + 1 :]]))[0] for k in range(num_samples)])
    torch.testing.assert_close(found, value)
    torch.testing.assert_close(bound_error, (bounds - bounds.mean(0)).square().sum(0))
    torch.testing.assert_close(error, (left_out - left_out.mean(0)).square().sum(0))


# 0.16: an infinite fourth moment; 0.82 and 0.98: an infinite variance; -0.6: bounded weights
@pytest.mark.parametrize("k", [-0.6, 0.16, 0.5, 0.82, 0.98])
@pytest.mark.parametrize("num_samples", [3, 4, 16, 100])
def test_the_claimed_errors_are_the_spread_however_heavy_the_tail(num_samples, k, float64):
    """Before, the error of the estimate was that of the bound: 0.70 to 0.76 of the spread for k above 0.8."""
    log_weight = log_weights(k, num_samples, 200_000 // num_samples)
    found, error, bound_error = jackknife(log_weight)
    most = 1.1 * math.sqrt(num_samples / (num_samples - 1))  # of light tails the claim is that of one sample fewer
    for values, errors in ((found, error), (rp.iwae(log_weight), bound_error)):
        ratio = (errors.mean().sqrt() / values.std()).item()
        assert 0.93 < ratio < most, ratio


def test_errors_that_do_not_exist_are_nan_and_evaluations_are_equal_all_the_same():
    model, x = Narrow(0.3), torch.zeros(20, 1)
    for num_samples, names in ((1, ("elbo", "iwae", "log_likelihood", "rate")), (2, ("log_likelihood",))):
        found = rp.evaluate(model, x, num_samples=num_samples)
        measured = {name: getattr(found, name) for name in ("elbo", "iwae", "log_likelihood", "rate", "distortion")}
        nan = {name for name, each in measured.items() if math.isnan(each.monte_carlo_error)}
        assert nan >= set(names)
        assert num_samples == 1 or nan == set(names)
        assert found == rp.evaluate(model, x, num_samples=num_samples)
        assert hash(found.elbo) == hash(rp.evaluate(model, x, num_samples=num_samples).elbo)
        assert named(found)[f"log_likelihood_{num_samples}"]["monte_carlo_error"] is None
    assert found.elbo != found.iwae


def test_weights_that_are_all_zero_give_minus_infinity_and_no_error():
    log_weight = torch.tensor([[-math.inf, 0.0], [-math.inf, -math.inf], [-math.inf, -math.inf]], dtype=torch.float64)
    found, *errors = jackknife(log_weight)
    assert found[0] == -math.inf
    assert found[1].isfinite()
    for error in errors:
        assert error.isnan().tolist() == [True, False]
    assert pareto_k(torch.full((200, 1), -math.inf)) == math.inf


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.5, 0.9, 1.5])
def test_k_of_simulated_tails_is_found(k, float64):
    """Generalized Pareto weights above 1; the mean over 400 fits, without the prior's pull to 0.5, is k."""
    draws = stats.genpareto.rvs(k, size=(4000, 400), random_state=1)
    size = int(3 * math.sqrt(4000))
    found = (pareto_k(torch.tensor(1 + draws).log()) * (size + 10) - 5) / size
    assert abs(found.mean() - k) < 4 * found.std() / 20 + 0.02  # the fit has a bias of order 1 / size


def test_k_agrees_with_the_likelihoods_maximum(float64):
    """scipy climbs the likelihood; Zhang and Stephens average over it, and differ by less than the fit's own error."""
    log_weight = log_weights(0.7, 2000, 8)
    size = int(3 * math.sqrt(2000))
    weights = log_weight.exp().sort(0, descending=True).values
    excess = (weights[:size] - weights[size]) / weights[size]
    climbed = torch.tensor([stats.genpareto.fit(column.numpy(), floc=0)[0] for column in excess.T])
    found = (pareto_k(log_weight) * (size + 10) - 5) / size
    assert (found - climbed).abs().max() < 1.7 / math.sqrt(size)


def test_k_is_that_of_the_weights_whatever_their_scale_and_order(float64):
    log_weight = log_weights(0.7, 1000, 5)
    expected = pareto_k(log_weight)
    torch.testing.assert_close(pareto_k(log_weight.flip(0) - 5000.0), expected)


def test_a_largest_weight_that_is_drawn_often_ends_the_tail():
    """Bits and symbols have few weights: large ones say nothing of larger ones if all were drawn again and again."""
    values = torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64)
    often = values.repeat_interleave(torch.tensor([400, 80, 20])).unsqueeze(1)
    once = values.repeat_interleave(torch.tensor([494, 5, 1])).unsqueeze(1)
    equal = torch.zeros(500, 1, dtype=torch.float64) + 1e-6 * torch.rand(500, 1)
    for log_weight, reliable in ((often, True), (once, False), (equal, True)):
        k = pareto_k(log_weight[torch.randperm(500)])
        assert (k.item() < reliable_below(500)) == reliable, k
    assert pareto_k(equal) == pytest.approx(-1, abs=0.3)


def test_log_p_that_is_out_of_reach_is_warned_of_in_words(float64):
    """At scale 0.1 the estimate is 0.7 nats too low, 30 of its errors, and as near to iwae as for a good posterior."""
    x = torch.zeros(200, 1)
    truth = Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(0.0)).item()
    with pytest.warns(rp.UnreliableWeights, match=r"too heavy a tail for 1000 samples .*above 0.67.*Report iwae"):
        found = evaluate(Narrow(0.1), x, num_samples=1000)
    assert truth - found.log_likelihood.value > 5 * found.log_likelihood.monte_carlo_error
    assert found.unreliable > 0.75
    assert found.pareto_k == pytest.approx(0.85, abs=0.1)  # 0.98 with the prior's pull to 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = evaluate(Narrow(0.6), x, num_samples=1000)
        assert evaluate(Narrow(0.1), x, num_samples=FEWEST - 1).unreliable is None
    assert good.unreliable < 0.05
    assert abs(good.log_likelihood.value - truth) < 4 * good.log_likelihood.monte_carlo_error


def test_a_finite_latent_whose_states_were_all_drawn_is_reliable(float64):
    latent = rp.Bernoulli(2)
    model = rp.VAE(latent, rp.Bernoulli(6), rp.mlp(6, [4], 2), rp.mlp(2, [4], 6))
    found = rp.evaluate(model, torch.rand(50, 6).round(), num_samples=500)
    assert found.unreliable == 0
    assert found.pareto_k < 0.5


def test_the_diagnostic_is_in_the_values_of_a_run():
    found = named(rp.evaluate(Narrow(0.5), torch.zeros(20, 1), num_samples=200))
    assert 0 <= found["unreliable"] <= 1
    assert found["pareto_k"] < 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found
