"""Chains of latents: the joint is the sum of its parts, whatever the order of drawing; models of several layers."""

import copy

import pytest
import torch
from helpers import assert_mean, exact_log_likelihood, gradient, gradients, largest_z, small_vae
from hierarchies import IDS, MODELS, belief_network, gaussian_hierarchy, ladder, symbols_over_bits
from torch import nn
from torch.distributions import Independent

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


def test_a_belief_network_has_the_evidence_that_enumeration_finds(float64):
    """The importance-weighted value of the 4-4 network against the sum over its 256 states."""
    model, x = belief_network(scale=0.4), torch.rand(8, 6).round()
    exact = exact_log_likelihood(model, x)
    found = rp.evaluate(model, x, num_samples=20_000)
    assert abs(found.log_likelihood.value - exact.mean().item()) < 4 * found.log_likelihood.monte_carlo_error
    assert found.log_likelihood.monte_carlo_error < 0.01
    elbo = rp.Enumerate()(model, x).bound.mean().item()
    assert abs(found.elbo.value - elbo) < 4 * found.elbo.monte_carlo_error
    assert elbo < exact.mean()


@pytest.mark.parametrize(
    ("make", "estimator", "bound"),
    [
        (belief_network, rp.RLOO(4), rp.elbo),
        (belief_network, rp.VIMCO(3), rp.iwae),
        (symbols_over_bits, rp.RLOO(3), rp.elbo),
        (lambda: ladder([rp.Bernoulli(3), rp.Categorical(1, 3)]), rp.RLOO(4), rp.elbo),
    ],
    ids=["rloo", "vimco", "mixed layers", "ladder"],
)
def test_score_functions_of_a_hierarchy_are_unbiased(make, estimator, bound, float64):
    model, x = make(), torch.rand(4, 6).round()
    if bound is rp.iwae:
        model = belief_network(sizes=(2, 2))
        exact = rp.Enumerate(num_samples=3, bound=rp.iwae)
    else:
        exact = rp.Enumerate()
    expected = gradient(exact(model, x).loss, model)
    z, limit = largest_z(gradients(estimator, model, x.repeat(20, 1), 100), expected)
    assert z < limit


@pytest.mark.parametrize("make", [gaussian_hierarchy, MODELS[3]], ids=["bottom-up", "top-down"])
@pytest.mark.parametrize("options", [{}, {"gradient": "stl"}, {"num_samples": 4, "bound": rp.iwae, "gradient": "dreg"}])
def test_path_gradients_of_a_hierarchy_agree_with_score_functions(make, options, float64):
    model, x = make(), torch.rand(3, 6).round()
    reference = rp.VIMCO(4) if "bound" in options else rp.RLOO(4)
    many = x.repeat(50, 1)  # a mean over copies of x is a mean over draws
    path = gradients(rp.Pathwise(**options), model, many, 60)
    score = gradients(reference, model, many, 100)
    error = (path.var(0) / len(path) + score.var(0) / len(score)).sqrt()
    seen = error > 0
    assert ((path.mean(0) - score.mean(0))[seen].abs() < 5 * error[seen]).all()


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


def test_a_hierarchy_trains_copies_and_saves(tmp_path):
    model = belief_network()
    x = torch.rand(300, 6).round()
    before = rp.evaluate(model, x, num_samples=50).elbo.value
    rp.fit(model, rp.RLOO(4), x, epochs=30, batch_size=50, lr=0.02)
    assert rp.evaluate(model, x, num_samples=50).elbo.value > before + 0.5
    twin = belief_network()
    twin.load_state_dict(model.state_dict())
    z = model.prior().sample((4,))
    torch.testing.assert_close(twin.prior().log_prob(z), model.prior().log_prob(z))
    torch.testing.assert_close(copy.deepcopy(model).prior().log_prob(z), model.prior().log_prob(z))
    assert rp.sample(model, 3).shape == (3, 6)
    assert model.double().prior().sample().dtype == torch.float64


def test_a_learned_prior_of_the_top_layer_is_a_module():
    class Top(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.randn(3))

        def forward(self):
            return rp.Bernoulli(3)(self.logits)

    model = rp.Hierarchy(
        [rp.Bernoulli(4), rp.Bernoulli(3)],
        rp.Bernoulli(6),
        [nn.Linear(6, 4), nn.Linear(4, 3)],
        [nn.Linear(4, 6), nn.Linear(3, 4)],
        prior=Top(),
    )
    z = model.prior().sample((9,))
    expected = model.top().log_prob(model.prior().split(z)["z2"])
    torch.testing.assert_close(model.prior().log_prob_by_part(z)["z2"], expected)
    rp.RLOO(4)(model, torch.rand(3, 6)).loss.backward()
    assert (model.top.logits.grad != 0).any()


class RelaxedByHand:
    """A chain whose part is relaxed, posing as an exact model."""

    def prior(self):
        relaxed = Independent(rp.distributions.LogitRelaxedBernoulli(0.5, torch.zeros(3)), 1)
        return rp.Chain({"a": rp.Gaussian(3)}, {"a": relaxed})

    def posterior(self, x):
        return self.prior().expand((len(x),))

    def likelihood(self, z):
        return rp.Bernoulli(6)(torch.zeros(*z.shape[:-1], 6))


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


def test_what_a_layer_learns_belongs_to_the_model():
    flow = rp.Flow(rp.Gaussian(2), "maf", hidden=[8])
    for model in (
        rp.Hierarchy([flow], rp.Bernoulli(6), [nn.Linear(6, 4)], [nn.Linear(2, 6)]),
        small_vae(rp.Joint(a=flow, b=rp.Gaussian(2))),
        small_vae(rp.Joint(a=rp.Joint(c=flow), b=rp.Gaussian(2))),
    ):
        learned = {id(p) for p in flow.parameters()}
        assert learned <= {id(p) for p in model.parameters()}
        assert len(list(model.parameters())) == len(dict(model.named_parameters()))
        before = [p.detach().clone() for p in flow.parameters()]
        rp.fit(model, rp.Pathwise(), torch.rand(20, 6).round(), epochs=2, batch_size=10, lr=0.01)
        assert any(not torch.equal(p, old) for p, old in zip(flow.parameters(), before, strict=True))
        assert not any("_standard" in name for name in model.state_dict())
        assert model.double().prior().sample().dtype == torch.float64
        model.float()


def test_corrections_may_come_as_images():
    model = ladder([rp.Gaussian(3), rp.Gaussian(2)])
    model.corrections[0] = nn.Sequential(model.corrections[0], nn.Unflatten(1, (6, 1, 1)))
    assert model.posterior(torch.rand(4, 6)).sample((2,)).shape == (2, 4, 5)


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


@pytest.mark.parametrize("bound", [rp.beta_elbo(3.0), rp.free_bits(0.05)], ids=str)
def test_a_ladder_warms_up_by_the_kl_of_its_samples(bound, float64):
    """Without a closed form the penalty is of log q - log p, layer by layer."""
    model, x = ladder([rp.Gaussian(3), rp.Gaussian(2)], scale=0.3), torch.rand(4, 6).round()
    torch.manual_seed(3)
    samples = rp.draw(model, x, 5, reparameterized=True)
    assert samples.kl_by_layer.shape == (4, 2)
    torch.testing.assert_close(samples.kl_by_layer.sum(1), (samples.log_posterior - samples.log_prior).mean(0))
    torch.manual_seed(3)
    estimate = rp.Pathwise(5, bound=bound)(model, x)
    expected = samples.log_likelihood.mean(0) - bound.penalty(samples.kl_by_layer)
    torch.testing.assert_close(estimate.bound, expected.detach())
    torch.testing.assert_close(gradient(estimate.loss, model), gradient(-expected.mean(), model))
    assert estimate.name == str(bound)


BITS = rp.Bernoulli(2)
REFUSED = [
    (rp.Joint, TypeError, "no part was given"),
    (lambda: rp.Joint(a=3), TypeError, "a is 3; name families"),
    (lambda: rp.Chain({"a": BITS}, {"b": BITS(torch.zeros(2))}), ValueError, "the names must agree"),
    (lambda: rp.Chain({"a": BITS}, {"a": lambda f: BITS(torch.zeros(2))}), ValueError, "give it as a distribution"),
    (lambda: rp.Hierarchy([BITS], BITS, [nn.Identity()] * 2, [nn.Identity()]), ValueError, "2 encoders for 1 latents"),
    (lambda: rp.Hierarchy([], BITS, [], []), ValueError, "latents is empty"),
    (lambda: rp.Hierarchy([20], BITS, [nn.Identity()], [nn.Identity()]), TypeError, "20 is no family"),
    (lambda: rp.Hierarchy([BITS], BITS, [len], [nn.Identity()]), TypeError, "in encoders must be an nn.Module"),
    (
        lambda: rp.Joint(style=rp.Gaussian(2), bits=rp.Bernoulli(3))(torch.zeros(7)).log_prob(torch.zeros(10)),
        ValueError,
        "last axis must be 5: style 2",
    ),
    (lambda: rp.Enumerate()(belief_network(sizes=(9, 9)), torch.zeros(2, 6)), ValueError, "262144 joint states"),
    (lambda: rp.Relaxed(0.5)(belief_network(), torch.zeros(2, 6)), ValueError, "depend on one another"),
    (
        lambda: rp.Hierarchy([BITS], BITS, [nn.Identity()], [nn.Identity()], prior=BITS(torch.zeros(2))),
        TypeError,
        "a distribution, which has no parameters to train",
    ),
    (lambda: rp.relax(gaussian_hierarchy(), 0.5), TypeError, "cannot be relaxed.*Use Pathwise"),
    (
        lambda: rp.Relaxed(0.5)(small_vae(rp.Joint(a=BITS, b=rp.Poisson(2))), torch.zeros(2, 6)),
        ValueError,
        r"of the parts a \(Bernoulli.*, b \(Poisson.*\) has no rsample.*Use RLOO",
    ),
    (
        lambda: rp.Chain({"a": BITS}, {"a": BITS(torch.zeros(5, 2)).base_dist}),
        ValueError,
        r"part a has event shape \(\) and batch shape \(5, 2\).*Independent",
    ),
    (lambda: rp.Hierarchy(BITS, BITS, [], []), TypeError, "give a list of families"),
    (lambda: rp.Joint(BITS), TypeError, "has no name; name families"),
    (
        lambda: rp.Ladder([BITS], BITS, [nn.Identity()], [nn.Linear(2, 1)], [nn.Identity()]).posterior(
            torch.ones(3, 2)
        ),
        ValueError,
        "correction 1 has 1 outputs; Bernoulli.* takes 2",
    ),
    (lambda: rp.evaluate(RelaxedByHand(), torch.zeros(2, 6)), TypeError, "a relaxed distribution"),
    (
        lambda: rp.Hierarchy([BITS], BITS, [nn.Identity()], [nn.Identity()], prior=rp.LearnedPrior(rp.Gaussian(2))),
        ValueError,
        "the prior has a density and the latent .* has probabilities of discrete values",
    ),
]


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:25] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()
