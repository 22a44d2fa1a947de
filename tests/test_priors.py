"""Priors beyond the standard one: densities, gradients, sharing, and what VAE makes of them."""

import copy
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import exact_log_likelihood, gradient, gradients, largest_z, small_vae
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LAWS, Member, line
from scipy.special import expit, log_expit, log_softmax, logsumexp
from torch import nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

import reparam as rp
from reparam.distributions import Autoregressive, Bernoulli, Mixture, OneHotCategorical, joint_support
from reparam.families.flow import Flow, import_zuko
from reparam.networks import masked_mlp
from reparam.priors import AutoregressivePrior, LearnedPrior, MixturePrior, VampPrior

zuko = import_zuko()


def bits(num_variables):
    """All states of coins, for each of three members, with weights of one."""

    def nodes(_):
        states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * num_variables)
        return states[:, None].expand(-1, 3, -1), torch.zeros(len(states), dtype=torch.float64)

    return nodes


def symbols(num_variables, num_categories):
    def nodes(_):
        one_hot = torch.eye(num_categories, dtype=torch.float64)
        index = torch.cartesian_prod(*[torch.arange(num_categories)] * num_variables)
        states = one_hot[index]
        return states[:, None].expand(-1, 3, -1, -1), torch.zeros(len(states), dtype=torch.float64)

    return nodes


def mixture_of_normals(logits, loc, scale):
    return Mixture(logits, Normal(loc, scale, validate_args=False), validate_args=False)


def mixture_of_coins(logits, coins):
    return Mixture(logits, Independent(Bernoulli(coins, validate_args=False), 1), validate_args=False)


def chain_of_coins(logits, weight):
    def conditionals(z):
        given = (weight.tril(-1) @ z.unsqueeze(-1)).squeeze(-1)
        return Independent(Bernoulli(logits + given, validate_args=False), 1)

    return Autoregressive(conditionals, torch.zeros_like(logits), event_dim=1, validate_args=False)


def chain_of_symbols(logits, weight):
    """Two symbols of three; `weight` `[..., 3, 3]` is what the first adds to the logits of the second."""

    def conditionals(z):
        second = logits[..., 1, :] + (z[..., :1, :] @ weight).squeeze(-2)
        both = torch.stack([logits[..., 0, :].expand_as(second), second], -2)
        return Independent(OneHotCategorical(both, validate_args=False), 1)

    return Autoregressive(conditionals, torch.zeros_like(logits), event_dim=2, validate_args=False)


def _coin_chain_reference(z, logits, weight):
    given = logits + np.einsum("bij,nbj->nbi", np.tril(weight, -1), z)
    return (log_expit(given) * z + log_expit(-given) * (1 - z)).sum(-1)


def _symbol_chain_reference(z, logits, weight):
    second = logits[:, 1] + np.einsum("nbi,bij->nbj", z[:, :, 0], weight)
    return (log_softmax(logits[:, 0], -1) * z[:, :, 0] + log_softmax(second, -1) * z[:, :, 1]).sum(-1)


generator = torch.Generator().manual_seed(3)


def normal(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


MEMBERS = [
    Member(
        "Mixture of normals",
        mixture_of_normals,
        (normal(3, 4), 2 * normal(3, 4), (0.5 * normal(3, 4)).exp()),
        lambda z, a, m, s: logsumexp(log_softmax(a, -1) + scipy.stats.norm(m, s).logpdf(z[..., None]), -1),
        line(-40, 40),
        extremes=[
            [[1e4, -1e4], [0.0, 1.0], [1.0, 1.0]],
            [[0.0, 0.0], [-1e4, 1e4], [1e-4, 1e-4]],
            [[0.0, 0.0], [0.0, 0.0], [1e-6, 1e6]],
        ],
    ),
    Member(
        "Mixture of coins",
        mixture_of_coins,
        (normal(3, 4), 2 * normal(3, 4, 3)),
        lambda z, a, c: logsumexp(
            log_softmax(a, -1) + (log_expit(c) * z[..., None, :] + log_expit(-c) * (1 - z[..., None, :])).sum(-1),
            -1,
        ),
        bits(3),
        extremes=[[[1e4, -1e4], [[0.0, 1.0], [-1.0, 1e4]]], [[0.0, 0.0], [[1e4, -1e4], [-1e4, 1e4]]]],
        discrete=True,
    ),
    Member(
        "Autoregressive coins",
        chain_of_coins,
        (normal(3, 4), 2 * normal(3, 4, 4)),
        _coin_chain_reference,
        bits(4),
        extremes=[[[1e4, -1e4], [[0.0, 0.0], [1e4, 0.0]]], [[0.0, 0.0], [[0.0, 0.0], [-1e4, 0.0]]]],
        discrete=True,
        moments=False,
    ),
    Member(
        "Autoregressive symbols",
        chain_of_symbols,
        (normal(3, 2, 3), 2 * normal(3, 3, 3)),
        _symbol_chain_reference,
        symbols(2, 3),
        extremes=[[[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], [[1e4, 0.0, 0.0], [0.0, -1e4, 0.0], [0.0, 0.0, 0.0]]]],
        discrete=True,
        moments=False,
    ),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_law(member, law):
    law(member)


def randomize(module, scale=0.9):
    """Parameters large enough that no prior is near the standard one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale)
    return module


DISCRETE = {
    "learned bits": (rp.Bernoulli(4), lambda z, _: LearnedPrior(z)),
    "learned symbols": (rp.Categorical(2, 3), lambda z, _: LearnedPrior(z)),
    "mixture of bits": (rp.Bernoulli(4), lambda z, _: MixturePrior(z, 3)),
    "mixture of symbols": (rp.Categorical((2, 1), 3), lambda z, _: MixturePrior(z, 3)),
    "vamp of bits": (rp.Bernoulli(4), lambda z, encoder: VampPrior(z, encoder, torch.rand(5, 6))),
    "autoregressive bits": (rp.Bernoulli(4), lambda z, _: AutoregressivePrior(z, [8])),
    "autoregressive grid": (rp.Bernoulli((2, 2)), lambda z, _: AutoregressivePrior(z, [])),
    "autoregressive symbols": (rp.Categorical(2, 3), lambda z, _: AutoregressivePrior(z, [8, 8])),
}
CONTINUOUS = {
    "learned": (rp.Gaussian(2), lambda z, _: LearnedPrior(z)),
    "mixture": (rp.Gaussian(2), lambda z, _: MixturePrior(z, 3)),
    "vamp": (rp.Gaussian(2), lambda z, encoder: VampPrior(z, encoder, torch.rand(5, 6))),
    "nsf": (rp.Gaussian(2), lambda z, _: zuko.flows.NSF(features=2, transforms=2, hidden_features=[8])),
    "maf": (rp.Gaussian(2), lambda z, _: zuko.flows.MAF(features=2, transforms=2, hidden_features=[8])),
}


def model_with(name):
    """A small VAE with this prior, all parameters random."""
    latent, make = {**DISCRETE, **CONTINUOUS}[name]
    plain = small_vae(latent)
    prior = randomize(make(latent, plain.encoder), 0.4 if name in ("maf", "nsf") else 0.9)
    return rp.VAE(latent, plain.observation, plain.encoder, plain.decoder, prior=prior)


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
    network = randomize(masked_mlp(num_variables, width, hidden, nn.Tanh)).double()
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


def test_a_value_that_is_impossible_under_each_component_leaves_no_nan_in_a_gradient():
    logits = torch.zeros(2, requires_grad=True)
    mixture = Mixture(logits, Independent(Bernoulli(torch.zeros(2, 3), validate_args=False), 1), validate_args=False)
    log_prob = mixture.log_prob(torch.tensor([[0.3, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    torch.testing.assert_close(log_prob, torch.tensor([-math.inf, -3 * math.log(2)]))
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    assert gradient.isfinite().all()


# gradients and bounds


@pytest.mark.parametrize("name", DISCRETE)
def test_gradients_reach_the_prior_and_agree_with_enumeration(name, float64):
    model, x = model_with(name), torch.rand(3, 6)
    exact = gradient(rp.Enumerate()(model, x).loss, model)
    own = gradient(rp.Enumerate()(model, x).loss, model.prior_module)
    assert own.abs().max() > 1e-3
    estimated = gradients(rp.RLOO(3), model, x.repeat(64, 1), 60)
    z, limit = largest_z(estimated, exact)
    assert z < limit


@pytest.mark.parametrize("name", DISCRETE)
def test_the_enumerated_bound_is_that_of_the_prior_and_evaluation_finds_the_likelihood(name, float64):
    model, x = model_with(name), torch.rand(4, 6).round()
    states = joint_support(model.prior())
    log_p = exact_log_likelihood(model, x)
    log_q = model.posterior(x).log_prob(states[:, None].expand(-1, 4, *states.shape[1:]))
    log_joint = model.likelihood(states[:, None].expand(-1, 4, *states.shape[1:])).log_prob(x)
    log_joint = log_joint + model.prior().log_prob(states)[:, None]
    torch.testing.assert_close(rp.Enumerate()(model, x).bound, (log_q.exp() * (log_joint - log_q)).sum(0).detach())
    found = rp.evaluate(model, x, num_samples=4000).log_likelihood
    assert abs(found.value - log_p.mean().item()) < 5 * found.monte_carlo_error + 1e-3


@pytest.mark.parametrize("kind", [LearnedPrior, lambda latent: MixturePrior(latent, 1)], ids=["learned", "mixture"])
def test_a_sampled_kl_has_the_gradient_of_the_closed_form(kind, float64):
    """A mixture of one component is a learned member, whose KL is known."""
    plain = small_vae(rp.Gaussian(2))
    parts = (plain.latent, plain.observation, plain.encoder, plain.decoder)
    closed, sampled = (rp.VAE(*parts, prior=make(plain.latent)) for make in (LearnedPrior, kind))
    params = 0.5 * torch.randn(4)
    with torch.no_grad():
        for prior in (closed.prior_module, sampled.prior_module):
            prior.params.copy_(params)
    x = torch.rand(3, 6)
    exact = gradient(kl_divergence(closed.posterior(x), closed.prior()).mean(), closed.prior_module)
    assert (exact.abs() > 1e-3).all()

    def minus_kl(model, x):
        samples = rp.draw(model, x, 8, reparameterized=True)
        return rp.Estimate.of((samples.log_prior - samples.log_posterior).mean(0), "kl")

    estimated = gradients(minus_kl, sampled, x.repeat(40, 1), 100)
    z, limit = largest_z(estimated[:, -4:], exact)
    assert z < limit


def test_pathwise_takes_the_closed_form_where_there_is_one_and_samples_elsewhere():
    x = torch.rand(3, 6)
    for name in CONTINUOUS:
        estimate = rp.Pathwise()(model_with(name), x)
        assert estimate.name == "elbo"
        assert estimate.bound.isfinite().all()
    rp.Pathwise(kl="analytic")(model_with("learned"), x)
    with pytest.raises(
        ValueError, match=r'kl="analytic", but No KL\(p \|\| q\) is implemented .*Mixture.* Use kl="sampled"'
    ):
        rp.Pathwise(kl="analytic")(model_with("mixture"), x)


def test_a_posterior_that_is_in_the_prior_has_the_divergence_of_its_share():
    """KL(q || sum of w_m p_m) for a q far from all components but its own is -log of that one's weight."""
    prior = MixturePrior(rp.Gaussian(1), 3)
    with torch.no_grad():
        prior.params.copy_(torch.tensor([[-100.0, 0.0], [0.0, 0.0], [100.0, 0.0]]))
        prior.logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    q = rp.Gaussian(1)(torch.tensor([100.0, 0.0]))
    z = q.sample((10,))
    torch.testing.assert_close(q.log_prob(z) - prior().log_prob(z), torch.full((10,), -math.log(0.5)))


def test_the_catalogue_goes_by_what_takes_the_model():
    names = rp.estimators_for(model_with("mixture"), torch.rand(3, 6))
    assert "Pathwise()" in names
    names = rp.estimators_for(model_with("autoregressive bits"), torch.rand(3, 6))
    assert "DisARM()" in names  # asks for independent bits of the posterior alone
    assert "MuProp(num_samples=2)" not in names  # asks for a KL in closed form
    assert "Relaxed(temperature=0.5)" in rp.estimators_for(model_with("learned bits"), torch.rand(3, 6))


@pytest.mark.parametrize("name", ["mixture of bits", "autoregressive bits", "autoregressive symbols"])
def test_every_estimator_of_the_catalogue_for_such_a_prior_runs(name):
    model, x = model_with(name), torch.rand(3, 6)
    estimators = rp.estimators_for(model, x)
    assert len(estimators) > 5
    for estimator in estimators.values():
        assert estimator(model, x).bound.isfinite().all()
    assert rp.Enumerate()(model, x).bound.isfinite().all()


# VampPrior


@pytest.mark.parametrize("latent", [rp.Gaussian(2), rp.Bernoulli(3)], ids=str)
def test_a_vamp_prior_is_the_even_mixture_of_the_posteriors_at_its_pseudo_inputs(latent, float64):
    plain = small_vae(latent)
    u = torch.rand(5, 6)
    model = rp.VAE(latent, plain.observation, plain.encoder, plain.decoder, VampPrior(latent, plain.encoder, u))
    z = model.prior().sample((20,))
    each = torch.stack([model.posterior(row[None]).log_prob(z) for row in u])
    torch.testing.assert_close(model.prior().log_prob(z), each.logsumexp(0) - math.log(5))


def vamp_model():
    latent, encoder = rp.Gaussian(2), rp.mlp(6, [5], 4)
    prior = VampPrior(latent, encoder, torch.rand(4, 6))
    return rp.VAE(latent, rp.Bernoulli(6), encoder, rp.mlp(2, [5], 6), prior=prior)


def test_a_vamp_prior_shares_the_encoder_in_parameters_checkpoints_and_copies():
    model = vamp_model()
    encoder_and_decoder = sum(p.numel() for m in (model.encoder, model.decoder) for p in m.parameters())
    assert sum(p.numel() for p in model.parameters()) == encoder_and_decoder + 4 * 6
    other = vamp_model()
    other.load_state_dict(model.state_dict())
    z = torch.randn(7, 2)
    assert torch.equal(other.prior().log_prob(z), model.prior().log_prob(z))
    for twin in (copy.deepcopy(model), other.double()):
        assert twin.prior_module.encoder is twin.encoder
    before = copy.deepcopy(model)
    rp.fit(model, rp.Pathwise(), torch.rand(20, 6), epochs=1, batch_size=5, lr=0.05)
    assert model.prior_module.encoder[0].weight is model.encoder[0].weight
    assert not torch.equal(model.encoder[0].weight, before.encoder[0].weight)
    assert not torch.equal(model.prior_module.pseudo_inputs, before.prior_module.pseudo_inputs)


def test_pseudo_inputs_stay_in_range_and_can_come_back():
    prior = VampPrior(rp.Gaussian(2), nn.Linear(3, 4), torch.tensor([[0.0, 0.5, 1.0]]))
    optimizer = torch.optim.SGD([prior.pseudo_inputs], lr=1.0)
    for slope, expected in (([0.3, 0.1, -0.3], [0.0, 0.4, 1.0]), ([-0.5, 0.1, 0.5], [0.2, 0.3, 0.8])):
        optimizer.zero_grad()
        (prior.within() * torch.tensor([slope])).sum().backward()
        optimizer.step()
        torch.testing.assert_close(prior.within(), torch.tensor([expected]))
    with torch.no_grad():
        prior.pseudo_inputs.copy_(torch.tensor([[-0.5, 0.5, 1.5]]))
    (prior.within() * torch.tensor([[1.0, 1.0, -1.0]])).sum().backward()
    optimizer.zero_grad()
    (prior.within() * torch.tensor([[1.0, 1.0, -1.0]])).sum().backward()
    assert prior.pseudo_inputs.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_a_vamp_prior_keeps_its_own_copy_of_the_examples_in_the_encoders_precision():
    examples = torch.rand(4, 6)
    prior = VampPrior(rp.Gaussian(2), nn.Linear(6, 4).double(), examples)
    assert prior.pseudo_inputs.dtype == torch.float64
    with torch.no_grad():
        prior.pseudo_inputs.zero_()
    assert examples.sum() > 0


def test_looking_at_a_prior_does_not_train_the_batch_norm_of_its_encoder():
    encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    prior = VampPrior(rp.Gaussian(2), encoder, torch.rand(4, 6))
    rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), encoder, rp.mlp(2, [], 6), prior=prior)
    assert encoder[1].num_batches_tracked == 0
    assert encoder[1].training


# VAE


OWN = [*DISCRETE, "learned", "mixture", "vamp"]


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


def test_a_flow_prior_trains_and_is_evaluated():
    torch.manual_seed(0)
    z = torch.randn(256, 1)
    x = torch.cat([z, z.square() / 2 - 1, -z], 1) + 0.1 * torch.randn(256, 3)
    latent = rp.Gaussian(2)
    prior = zuko.flows.NSF(features=2, transforms=1, hidden_features=[16])
    model = rp.VAE(latent, rp.Gaussian(3), rp.mlp(3, [16], 4), rp.mlp(2, [16], 6), prior=prior)
    before = rp.evaluate(model, x, num_samples=20)
    weight = prior.transform.transforms[0].hyper[0].weight.detach().clone()
    epochs = rp.fit(model, rp.Pathwise(), x, epochs=5, lr=3e-3)
    after = rp.evaluate(model, x, num_samples=20)
    assert epochs[-1].name == "elbo"
    assert after.elbo.value > before.elbo.value + 0.3
    assert after.elbo.value <= after.iwae.value
    assert not torch.equal(prior.transform.transforms[0].hyper[0].weight, weight)
    assert rp.sample(model, 3).shape == (3, 3)


@pytest.fixture(scope="module")
def standard_model():
    """A model of 1000 images with the standard prior, trained a little."""

    def train(latent, estimator):
        torch.manual_seed(0)
        images = rp.mnist("dynamic").train
        x = torch.bernoulli(images.values[:1000].float() / 255).reshape(1000, -1)
        decoder = rp.mlp(latent.num_features, [64], 784, output_bias=images.mean_logits())
        model = rp.VAE(latent, rp.Bernoulli(784), rp.mlp(784, [64], latent.num_params), decoder)
        rp.fit(model, estimator, x, epochs=12, batch_size=50, lr=3e-3)
        return model, x

    return {"reals": train(rp.Gaussian(5), rp.Pathwise()), "bits": train(rp.Bernoulli(16), rp.RLOO(4))}


@pytest.mark.parametrize(
    ("kind", "make", "gain"),
    [
        ("reals", lambda z, encoder, x: LearnedPrior(z), 0.02),
        ("reals", lambda z, encoder, x: MixturePrior(z, 10), 0.1),
        ("reals", lambda z, encoder, x: VampPrior(z, encoder, x[:100]), 0.1),
        ("reals", lambda z, encoder, x: zuko.flows.NSF(5, transforms=2, hidden_features=[32]), 0.1),
        ("bits", lambda z, encoder, x: LearnedPrior(z), 0.02),
        ("bits", lambda z, encoder, x: MixturePrior(z, 10), 0.1),
        ("bits", lambda z, encoder, x: AutoregressivePrior(z, [64]), 0.5),
    ],
    ids=["learned", "mixture", "vamp", "nsf", "learned bits", "mixture of bits", "autoregressive bits"],
)
def test_fitting_the_prior_alone_improves_the_bound_over_the_standard_one(kind, make, gain, standard_model):
    """Encoder and decoder stay: then all that the bound gains is the distance of the standard prior."""
    plain, x = standard_model[kind]
    plain = copy.deepcopy(plain)
    prior = make(plain.latent, plain.encoder, x)
    model = rp.VAE(plain.latent, plain.observation, plain.encoder, plain.decoder, prior=prior)
    own = [p for name, p in prior.named_parameters() if not name.startswith("encoder")]
    optimizer = torch.optim.Adam(own, lr=0.02)
    rp.fit(model, rp.Pathwise() if kind == "reals" else rp.RLOO(2), x, epochs=4, batch_size=50, optimizer=optimizer)
    before, after = (rp.evaluate(m, x, num_samples=10) for m in (plain, model))
    noise = math.hypot(before.elbo.monte_carlo_error, after.elbo.monte_carlo_error)
    assert after.elbo.value > before.elbo.value + gain + 3 * noise
    torch.testing.assert_close(after.distortion.value, before.distortion.value)


# refusals


class Makes(nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self):
        return self.made


def vae(prior, latent=None):
    latent = latent or rp.Gaussian(2)
    return rp.VAE(latent, rp.Bernoulli(4), rp.mlp(4, [], latent.num_params), rp.mlp(2, [], 4), prior=prior)


REFUSED = [
    (lambda: vae(Independent(Normal(torch.zeros(2), 1.0), 1)), TypeError, r"prior is a Independent, a distribution, .*not follow model.to\(device\).*rp.LearnedPrior\(latent\)"),
    (lambda: vae(zuko.flows.NSF), TypeError, r"prior is <class .*; it must be None or an nn.Module. Pass a module"),
    (lambda: vae(lambda: Normal(0.0, 1.0)), TypeError, "must be None or an nn.Module"),
    (lambda: vae(nn.Linear(2, 2)), TypeError, r"whose forward\(\) cannot be called without arguments: .* Pass a module"),
    (lambda: vae(Makes(torch.zeros(2))), TypeError, "a module that makes a Tensor; it must make a Distribution"),
    (lambda: vae(zuko.flows.NSF(features=3)), ValueError, r"the prior has event shape \(3,\) .* one draw of Gaussian\(shape=2\) has shape \(2,\)"),
    (lambda: vae(Makes(Normal(torch.zeros(2), 1.0))), ValueError, r"event shape \(\) and batch shape \(2,\).*Wrap per-element"),
    (lambda: vae(Makes(Independent(Normal(torch.zeros(5, 2), 1.0), 1))), ValueError, r"batch shape \(5,\); .* a prior has no batch axes"),
    (lambda: LearnedPrior(20), TypeError, r"latent is 20; it must be the model's latent family"),
    (lambda: LearnedPrior(Flow(rp.Gaussian(2), "maf")), TypeError, r"latent is Flow\(Gaussian\(shape=2\)\), and the map of Flow.* is the posterior's.*its base: Gaussian\(shape=2\)"),
    (lambda: MixturePrior(rp.Gaussian(2), 0), ValueError, "num_components is 0; it must be at least 1"),
    (lambda: MixturePrior(Flow(rp.Gaussian(2), "maf"), 3), TypeError, "is the posterior's"),
    (lambda: VampPrior(rp.Gaussian(2), torch.relu, torch.rand(3, 4)), TypeError, "encoder is .*; it must be the model's encoder"),
    (lambda: VampPrior(2, nn.Linear(4, 4), torch.rand(3, 4)), TypeError, "latent is 2; it must be"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), 500), TypeError, r"pseudo_inputs is a int; .* data.train\[:500\]"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.ones(3, 4).byte()), TypeError, "pseudo_inputs is torch.uint8; it must be a floating-point tensor"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.rand(4)), ValueError, r"shape \(4,\); they must be \[M, \*x\]"),
    (lambda: VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.full((3, 4), math.nan)), ValueError, "pseudo_inputs hold NaN or Inf"),
    (lambda: vae(VampPrior(rp.Gaussian(2), nn.Linear(4, 4), torch.rand(3, 5))), ValueError, "the prior cannot be made: mat1 and mat2 shapes"),
    (lambda: AutoregressivePrior(rp.Gaussian(2), [8]), TypeError, r"over rp.Bernoulli or rp.Categorical.*zuko.flows.NSF"),
    (lambda: AutoregressivePrior(rp.Bernoulli(2), 8), TypeError, r"hidden is 8; it must be a list of widths"),
    (lambda: AutoregressivePrior(rp.Bernoulli(2), [0]), ValueError, "a hidden width is 0; it must be at least 1"),
    (lambda: Mixture(torch.zeros(3), Normal(torch.zeros(3, 2), 1.0)), ValueError, r"logits have shape \(3,\) .* batch shape \(3, 2\)"),
    (lambda: rp.Relaxed()(model_with("autoregressive bits"), torch.rand(2, 6)), TypeError, r"Autoregressive has no relaxation.*RLOO .*LearnedPrior"),
    (lambda: rp.Relaxed(kl="relaxed")(model_with("mixture of bits"), torch.rand(2, 6)), TypeError, r"Mixture.* has no relaxation.*LearnedPrior"),
    (lambda: rp.MuProp()(model_with("autoregressive bits"), torch.rand(2, 6)), ValueError, "needs the KL in closed form.*RLOO"),
    (lambda: rp.Enumerate()(vae(AutoregressivePrior(rp.Bernoulli(17), [4]), rp.Bernoulli(17)), torch.rand(2, 4)), ValueError, r"2\*\*17 joint states"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:40] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


def test_a_learned_prior_of_bits_can_be_relaxed():
    model, x = model_with("learned bits"), torch.rand(3, 6)
    assert rp.Relaxed()(model, x).name == "surrogate"
    assert rp.Relaxed(kl="relaxed")(model, x).name == "relaxed_elbo"
