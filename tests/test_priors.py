"""Priors beyond the standard one: they sum or integrate to one, draw what they score, and begin where they should."""

import copy
import itertools
import math

import pytest
import torch
from hierarchies import randomise
from hypothesis import given, settings
from hypothesis import strategies as st
from priors import CONTINUOUS, DISCRETE, OWN, model_with
from scipy.special import expit
from torch import nn
from torch.distributions import Distribution

import reparam as rp
from reparam.distributions import joint_support
from reparam.networks import masked_mlp
from reparam.priors import AutoregressivePrior, LearnedPrior, MixturePrior


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_all_states_add_up_to_one_and_are_the_frequencies_of_draws(name, float64):
    prior = model_with(name).prior()
    states = joint_support(prior)
    probs = prior.log_prob(states).exp()
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0))
    assert probs.max() > 1.3 / len(states)  # not the uniform distribution, of which any order would do
    z = prior.sample((40_000,))
    same = (z.flatten(1)[:, None] == states.flatten(1)).all(-1)
    assert same.any(1).all()
    error = (probs * (1 - probs) / len(z)).sqrt()  # by the claimed probability: a rare state may not occur at all
    assert ((same.double().mean(0) - probs).abs() < 4.5 * error + 5 / len(z)).all()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_integrate_to_one_and_are_those_of_the_draws(name, float64):
    prior = model_with(name).prior()
    side = torch.linspace(-16, 16, 481)
    z = torch.cartesian_prod(side, side)
    with torch.no_grad():
        density = prior.log_prob(z).exp() * (side[1] - side[0]) ** 2
        draws = prior.sample((40_000,))
    assert density.sum().item() == pytest.approx(1, abs=5e-3)  # the network's kinks are not on the grid
    for f in (lambda z: z, lambda z: z[:, 0] * z[:, 1], lambda z: (z > 0.3).double(), lambda z: z.square().tanh()):
        expected = (f(z) * density.reshape(-1, *[1] * (f(z).dim() - 1))).sum(0)
        samples = f(draws)
        error = samples.std(0) / math.sqrt(len(samples))
        assert ((samples.mean(0) - expected).abs() < 4.5 * error + 5e-3).all()


@pytest.mark.parametrize("latent", [rp.Gaussian(3), rp.Bernoulli((2, 2)), rp.Categorical(2, 3)], ids=str)
def test_learned_and_autoregressive_priors_begin_as_the_standard_member(latent):
    standard = latent.standard(torch.zeros(latent.num_params))
    z = standard.sample((20,))
    priors = [LearnedPrior(latent)]
    if not isinstance(latent, rp.Gaussian):
        priors.append(AutoregressivePrior(latent, [7]))
    for prior in priors:
        torch.testing.assert_close(prior().log_prob(z), standard.log_prob(z))


def test_components_of_a_mixture_begin_apart_and_follow_the_seed():
    torch.manual_seed(5)
    first = MixturePrior(rp.Gaussian(3), 4)
    torch.manual_seed(5)
    again = MixturePrior(rp.Gaussian(3), 4)
    assert torch.equal(first.params, again.params)
    assert torch.pdist(first().components.mean).min() > 0.05
    assert first.logits.tolist() == [0.0] * 4


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 3), st.lists(st.integers(1, 12), max_size=3))
def test_outputs_of_a_masked_network_see_the_variables_before_them_and_no_other(num_variables, width, hidden):
    network = randomise(masked_mlp(num_variables, width, hidden, nn.Tanh)).double()
    size = num_variables * width
    jacobian = torch.autograd.functional.jacobian(network, torch.randn(size, dtype=torch.float64))
    jacobian = jacobian.reshape(num_variables, width, num_variables, width)
    for seen, of in itertools.product(range(num_variables), repeat=2):
        block = jacobian[of, :, seen]
        if seen >= of:
            assert (block == 0).all()
        elif min(hidden, default=num_variables) >= num_variables - 1:
            assert (block != 0).all()


def test_a_single_variable_has_learned_log_odds():
    prior = AutoregressivePrior(rp.Bernoulli(1), [4])
    (weight, bias) = (prior.network[-1].weight, prior.network[-1].bias)
    with torch.no_grad():
        weight.fill_(3.0)
        bias.fill_(1.5)
    assert prior().log_prob(torch.ones(1)).item() == pytest.approx(math.log(expit(1.5)))


@pytest.mark.parametrize("name", OWN)
def test_a_prior_follows_the_model_and_is_in_its_checkpoint(name):
    model = model_with(name)
    z = model.prior().sample((3,))
    with torch.device("meta"):
        empty = model_with(name)
    empty.to_empty(device="cpu").load_state_dict(model.state_dict())
    torch.testing.assert_close(empty.prior().log_prob(z), model.prior().log_prob(z))
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin.prior().log_prob(z), model.prior().log_prob(z))
    assert model.double().prior().sample().dtype == torch.float64
    torch.testing.assert_close(model.prior().log_prob(z.double()).float(), twin.prior().log_prob(z))


@pytest.mark.parametrize("name", [*OWN, "nsf"])
def test_nothing_of_a_prior_is_made_on_the_cpu_by_mistake(name, monkeypatch):
    monkeypatch.setattr(Distribution, "_validate_args", False)  # as a user's import of zuko leaves it
    model = model_with(name).to("meta")
    x = torch.rand(5, 6, device="meta")
    for estimator in (rp.Pathwise(),) if name in CONTINUOUS else (rp.RLOO(3), rp.Enumerate()):
        estimate = estimator(model, x)
        assert estimate.bound.device.type == "meta"
        estimate.loss.backward()
    assert model.prior().sample((2,)).device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", OWN)
def test_a_prior_works_in_half_precision(name, dtype):
    model = model_with(name).to(dtype)
    x = torch.rand(5, 6).to(dtype)
    estimate = (rp.Pathwise() if name in CONTINUOUS else rp.RLOO(3))(model, x)
    estimate.loss.backward()
    assert estimate.bound.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
