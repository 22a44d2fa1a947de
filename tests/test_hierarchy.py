"""Chains of latents: the joint is the sum of its parts, whatever the order of drawing; models of several layers."""

import copy
import math

import pytest
import torch
from helpers import assert_mean, exact_log_likelihood, gradient, gradients, largest_z, small_vae
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

import reparam as rp
from reparam.distributions import joint_support


def randomise(model, scale=0.9):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
    return model


def belief_network(num_pixels=6, sizes=(4, 4), scale=0.9):
    """The 4-4 sigmoid belief network, with random weights."""
    first, second = sizes
    return randomise(
        rp.Hierarchy(
            [rp.Bernoulli(first), rp.Bernoulli(second)],
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, first), nn.Linear(first, second)],
            decoders=[nn.Linear(first, num_pixels), nn.Linear(second, first)],
        ),
        scale,
    )


def symbols_over_bits(num_pixels=6):
    """Two symbols of three under three bits: layers of different families."""
    return randomise(
        rp.Hierarchy(
            [rp.Categorical(2, 3), rp.Bernoulli(3)],
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, 6), nn.Linear(6, 3)],
            decoders=[nn.Linear(6, num_pixels), nn.Linear(3, 6)],
        )
    )


def ladder(latents, num_pixels=6, scale=0.5):
    sizes = [family.num_features for family in latents]
    return randomise(
        rp.Ladder(
            latents,
            rp.Bernoulli(num_pixels),
            encoders=[rp.mlp(num_pixels, [], 5), *(rp.mlp(5, [], 5) for _ in latents[1:])],
            corrections=[nn.Linear(5, family.num_params) for family in latents],
            decoders=[
                nn.Linear(size, below)
                for size, below in zip(sizes, [num_pixels, *(f.num_params for f in latents)], strict=False)
            ],
        ),
        scale,
    )


def gaussian_hierarchy(num_pixels=6):
    latents = [rp.Gaussian(3), rp.Gaussian(2)]
    return randomise(
        rp.Hierarchy(
            latents,
            rp.Bernoulli(num_pixels),
            encoders=[nn.Linear(num_pixels, 6), nn.Linear(3, 4)],
            decoders=[nn.Linear(3, num_pixels), nn.Linear(2, 6)],
        ),
        0.5,
    )


MODELS = [
    belief_network,
    symbols_over_bits,
    gaussian_hierarchy,
    lambda: ladder([rp.Gaussian(3), rp.Gaussian(2), rp.Gaussian(2)]),
    lambda: ladder([rp.Bernoulli(3), rp.Categorical(1, 3)]),
]
IDS = ["belief network", "symbols over bits", "gaussian", "gaussian ladder", "discrete ladder"]


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
    z, limit = largest_z(gradients(estimator, model, x, 800), expected)
    assert z < limit


@pytest.mark.parametrize("make", [gaussian_hierarchy, MODELS[3]], ids=["bottom-up", "top-down"])
@pytest.mark.parametrize("options", [{}, {"gradient": "stl"}, {"num_samples": 4, "bound": rp.iwae, "gradient": "dreg"}])
def test_path_gradients_of_a_hierarchy_agree_with_score_functions(make, options, float64):
    model, x = make(), torch.rand(3, 6).round()
    reference = rp.VIMCO(4) if "bound" in options else rp.RLOO(4)
    path = gradients(rp.Pathwise(**options), model, x, 800)
    score = gradients(reference, model, x, 1500)
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


def test_the_kl_of_layers_sums_to_the_total(float64):
    x = torch.rand(4, 6).round()
    calm_ladder = ladder([rp.Gaussian(3), rp.Gaussian(2), rp.Gaussian(2)], scale=0.2)
    for model in (gaussian_hierarchy(), calm_ladder, belief_network()):
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
    sampled = rp.kl(q, Independent(torch.distributions.StudentT(4.0, torch.zeros(3), 1.0), 1), num_samples=4000)
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
    p = Independent(torch.distributions.StudentT(4.0, torch.zeros(2), 1.0), 1)
    found = [rp.kl(q, p, num_samples=400) for _ in range(400)]
    spread = torch.stack([f.value for f in found]).std()
    claimed = torch.stack([f.standard_error for f in found]).mean()
    assert 0.85 < claimed / spread < 1.15  # the spread of 400 runs is known to 3.5 %


JOINT = rp.Joint(style=rp.Gaussian(2), kind=rp.Categorical(2, 3), bits=rp.Bernoulli(3))


def test_a_joint_family_is_its_parts_side_by_side(float64):
    params = torch.randn(5, JOINT.num_params)
    member = JOINT(params)
    z = member.sample((4,))
    parts = JOINT.split(z)
    expected = (
        rp.Gaussian(2)(params[:, :4]).log_prob(parts["style"])
        + rp.Categorical(2, 3)(params[:, 4:10]).log_prob(parts["kind"])
        + rp.Bernoulli(3)(params[:, 10:]).log_prob(parts["bits"])
    )
    torch.testing.assert_close(member.log_prob(z), expected)
    assert z.shape == (4, 5, 11)
    assert JOINT.features(z).shape == (4, 5, JOINT.num_features)
    assert member.mean.shape == (5, 11)
    z = member.sample((40_000,))
    assert_mean(z, member.mean.expand(5, 11))
    assert_mean(member.log_prob(z) - JOINT(torch.zeros(13)).log_prob(z), kl_divergence(member, JOINT(torch.zeros(13))))


def test_a_joint_of_bits_and_symbols_is_enumerated(float64):
    latent = rp.Joint(kind=rp.Categorical(1, 3), bits=rp.Bernoulli(2))
    model, x = small_vae(latent), torch.rand(4, 6).round()
    assert len(joint_support(model.prior())) == 12
    expected = gradient(rp.Enumerate()(model, x).loss, model)
    z, limit = largest_z(gradients(rp.RLOO(4), model, x, 800), expected)
    assert z < limit
    found = rp.evaluate(model, x, num_samples=5000)
    error = found.log_likelihood.monte_carlo_error
    assert abs(found.log_likelihood.value - exact_log_likelihood(model, x).mean()) < 4 * error < 0.3


def test_the_penalties_of_a_joint_are_by_variable(float64):
    model, x = small_vae(JOINT), torch.rand(4, 6)
    samples = rp.draw(model, x)
    assert samples.kl_by_variable.shape == (4, 2 + 2 + 3)
    torch.testing.assert_close(samples.kl_by_variable.sum(1), samples.kl)
    assert rp.RLOO(4, bound=rp.free_bits(0.1))(model, x).name == "free_bits_0.1"


def test_relaxing_a_joint_keeps_its_continuous_part(float64):
    model, x = small_vae(JOINT), torch.rand(4, 6)
    relaxed = rp.relax(model, 0.5)
    y = relaxed.posterior(x).rsample((3,))
    z = JOINT.split(relaxed.squash(y))
    torch.testing.assert_close(z["style"], JOINT.split(y)["style"])
    torch.testing.assert_close(z["kind"].sum(-1), torch.ones(3, 4, 2))
    assert ((z["bits"] > 0) & (z["bits"] < 1)).all()
    surrogate = rp.Relaxed(0.5)(model, x)
    assert surrogate.name == "surrogate"
    assert gradient(surrogate.loss, model).isfinite().all()


def test_active_units_of_a_joint_count_variables(float64):
    model, x = small_vae(JOINT), torch.rand(200, 6).round()
    assert rp.evaluate(model, x, num_samples=2).active_units == 7
    assert rp.evaluate(belief_network(), x, num_samples=2).active_units is None


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
    (lambda: JOINT(torch.zeros(13)).log_prob(torch.zeros(10)), ValueError, "last axis must be 11: style 2"),
    (lambda: rp.Enumerate()(belief_network(sizes=(9, 9)), torch.zeros(2, 6)), ValueError, "262144 joint states"),
    (lambda: rp.Relaxed(0.5)(belief_network(), torch.zeros(2, 6)), ValueError, "depend on one another"),
    (lambda: rp.relax(gaussian_hierarchy(), 0.5), TypeError, "cannot be relaxed.*Use Pathwise"),
    (
        lambda: rp.relax(small_vae(rp.Joint(a=BITS, b=rp.TorchFamily(torch.distributions.Poisson, 2))), 0.5),
        TypeError,
        r"parts \['b'\] have neither",
    ),
]


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[m[:25] for _, _, m in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()
