"""A chain of latents: the joint is the sum of its parts, whatever the order of drawing, relaxed or not."""

import pytest
import torch
from helpers import assert_mean, exact_log_likelihood, gradient
from hierarchies import IDS, MODELS, belief_network, gaussian_hierarchy, symbols_over_bits
from torch import nn

import reparam as rp
from reparam.distributions import joint_support


@pytest.mark.parametrize("make", MODELS, ids=IDS)
def test_the_joint_is_the_sum_of_its_parts(make, float64):
    """Of prior and posterior, written out by hand from the families and the networks."""
    model, x = make(), torch.rand(5, 6).round()
    z = model.posterior(x).sample((3,))
    parts = {
        name: family.features(part)
        for (name, family), part in zip(model.latents.items(), model.prior().split(z).values(), strict=True)
    }
    values = model.prior().split(z)
    names = list(model.latents)
    expected = model.latents[names[-1]](torch.zeros(model.latents[names[-1]].num_params)).log_prob(values[names[-1]])
    for name, above, network in zip(names, names[1:], model.decoders[1:], strict=False):
        expected = expected + model.latents[name](network(parts[above])).log_prob(values[name])
    torch.testing.assert_close(model.prior().log_prob(z), expected)

    if isinstance(model, rp.Hierarchy):
        expected = model.latents["z1"](model.encoders[0](x)).log_prob(values["z1"])
        for below, name, network in zip(names, names[1:], model.encoders[1:], strict=False):
            expected = expected + model.latents[name](network(parts[below])).log_prob(values[name])
    else:
        hidden, corrections = x, []
        for encoder, correction in zip(model.encoders, model.corrections, strict=True):
            hidden = encoder(hidden)
            corrections.append(correction(hidden))
        expected = model.latents[names[-1]](corrections[-1]).log_prob(values[names[-1]])
        for name, above, network, correction in zip(names, names[1:], model.decoders[1:], corrections, strict=False):
            expected = expected + model.latents[name](network(parts[above]) + correction).log_prob(values[name])
    posterior = model.posterior(x)
    torch.testing.assert_close(posterior.log_prob(z), expected)
    by_part = posterior.log_prob_by_part(z)
    assert set(by_part) == set(names)
    torch.testing.assert_close(torch.stack(list(by_part.values())).sum(0), posterior.log_prob(z))
    assert posterior.log_prob(z).shape == (3, 5)
    assert model.likelihood(z).log_prob(x).shape == (3, 5)


@pytest.mark.parametrize("make", [MODELS[0], MODELS[1], MODELS[4]], ids=[IDS[0], IDS[1], IDS[4]])
def test_a_finite_chain_sums_to_one_and_its_draws_have_its_probabilities(make, float64):
    model, x = make(), torch.rand(2, 6).round()
    for chain in (model.prior(), model.posterior(x).expand((2,))):
        states = joint_support(chain)
        assert len(states.unique(dim=0)) == len(states)
        z = states.reshape(-1, *(1,) * len(chain.batch_shape), states.shape[-1]).expand(-1, *chain.batch_shape, -1)
        probs = chain.log_prob(z).exp()
        torch.testing.assert_close(probs.sum(0), torch.ones(chain.batch_shape))
        draws = chain.sample((20_000,))
        first = draws if draws.ndim == 2 else draws[:, 0]
        assert chain.support.check(draws).all()
        hits = (first.unsqueeze(1) == states).all(-1).double()
        probs = probs if probs.ndim == 1 else probs[:, 0]
        frequent = probs > 1e-3
        assert_mean(hits[:, frequent], probs[frequent], num_errors=5)
    assert not model.prior().support.check(torch.full((1, states.shape[1]), 0.3)).any()


def test_the_relaxed_chain_is_relaxed_layer_by_layer(float64):
    model, x = symbols_over_bits(), torch.rand(5, 6).round()
    relaxed = rp.relax(model, 0.4)
    y = relaxed.posterior(x).rsample((3,))
    assert y.requires_grad
    values = relaxed.posterior(x).split(y)
    soft = values["z1"].exp()
    first = rp.distributions.LogRelaxedCategorical(0.4, model.encoders[0](x).unflatten(-1, (2, 3)))
    second = rp.distributions.LogitRelaxedBernoulli(0.4, model.encoders[1](soft.flatten(-2)))
    expected = first.log_prob(values["z1"]).sum(-1) + second.log_prob(values["z2"]).sum(-1)
    torch.testing.assert_close(relaxed.posterior(x).log_prob(y), expected)
    top = rp.distributions.LogitRelaxedBernoulli(0.4, torch.zeros(3))
    below = rp.distributions.LogRelaxedCategorical(0.4, model.decoders[1](values["z2"].sigmoid()).unflatten(-1, (2, 3)))
    expected = top.log_prob(values["z2"]).sum(-1) + below.log_prob(values["z1"]).sum(-1)
    torch.testing.assert_close(relaxed.prior().log_prob(y), expected)
    torch.testing.assert_close(relaxed.likelihood(y).mean, model.likelihood(relaxed.squash(y)).mean)
    with pytest.raises(TypeError, match="received a relaxed one"):
        rp.evaluate(relaxed, x)


def test_a_relaxed_chain_at_a_low_temperature_draws_what_the_chain_draws(float64):
    model, x = belief_network(), torch.rand(1, 6).round()
    y = rp.relax(model, 1e-3).posterior(x).rsample((20_000,))
    states = (y > 0).double().detach()
    probs = model.posterior(x).log_prob(joint_support(model.prior()).unsqueeze(1)).exp()[:, 0]
    hits = (states == joint_support(model.prior())).all(-1).double()
    frequent = probs > 1e-3
    assert_mean(hits[:, frequent], probs[frequent], num_errors=5)


def test_straight_through_layers_see_rounded_values(float64):
    model, x = belief_network(), torch.rand(5, 6).round()
    relaxed = rp.relax(model, 0.4, straight_through=True)
    y = relaxed.posterior(x).rsample((3,))
    hard = (relaxed.posterior(x).split(y)["z1"] > 0).double()
    second = rp.distributions.LogitRelaxedBernoulli(0.4, model.encoders[1](hard))
    found = relaxed.posterior(x).log_prob_by_part(y)["z2"]
    torch.testing.assert_close(found, second.log_prob(relaxed.posterior(x).split(y)["z2"]).sum(-1))
    estimate = rp.Relaxed(0.4, kl="relaxed", straight_through=True)(model, x)
    assert (gradient(estimate.loss, model) != 0).any()


def test_a_chain_scores_its_own_draw_with_the_networks_that_drew_it(float64):
    """With dropout in a layer, another run of the network would be another distribution, and no bound."""
    model = belief_network(sizes=(2, 2), scale=2.0)
    model.encoders[1] = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    x = torch.rand(1, 6).round()
    evidence = exact_log_likelihood(model, x).exp()
    weights = rp.draw(model, x.expand(400, 6), num_samples=100).log_weight.exp()
    assert_mean(weights.flatten(), evidence)


def test_a_chain_remembers_one_draw_and_nothing_else(float64):
    for make, method in ((belief_network, "sample"), (gaussian_hierarchy, "rsample")):
        model, x = make(), torch.rand(4, 6).round()
        posterior = model.posterior(x)
        z = getattr(posterior, method)((3,))
        fresh = model.posterior(x)
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z))
        torch.testing.assert_close(posterior.log_prob(z.clone()), fresh.log_prob(z))
        assert not posterior.sample().requires_grad
        with torch.no_grad():
            z = posterior.sample((3,))
        score = gradient(posterior.log_prob(z).sum(), model)  # drawn without gradients, scored with them
        torch.testing.assert_close(score, gradient(fresh.log_prob(z).sum(), model))
        assert (score != 0).any()
        z[0] = z[1]
        torch.testing.assert_close(posterior.log_prob(z), fresh.log_prob(z))


def test_both_chains_expand(float64):
    chains = (belief_network().prior(), rp.relax(belief_network(), 0.4, straight_through=True).prior())
    for chain in chains:
        wide = chain.expand((5, 3))
        z = wide.sample((2,))
        assert z.shape == (2, 5, 3, 8)
        torch.testing.assert_close(wide.log_prob(z), chain.log_prob(z))
    states = chains[0].expand((5,)).enumerate_support()
    assert states.shape == (256, 5, 8)
    assert states.dtype == torch.float64
    assert chains[0].enumerate_support(expand=False).shape == (256, 8)
