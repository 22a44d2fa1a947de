"""Models of several layers: evidence and gradients against enumeration, and what they learn, warm up by and refuse."""

import copy

import pytest
import torch
from helpers import exact_log_likelihood, gradient, gradients, largest_z, small_vae
from hierarchies import MODELS, belief_network, gaussian_hierarchy, ladder, symbols_over_bits
from torch import nn
from torch.distributions import Independent

import reparam as rp


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


class RelaxedByHand:
    """A chain whose part is relaxed, posing as an exact model."""

    def prior(self):
        relaxed = Independent(rp.distributions.LogitRelaxedBernoulli(0.5, torch.zeros(3)), 1)
        return rp.Chain({"a": rp.Gaussian(3)}, {"a": relaxed})

    def posterior(self, x):
        return self.prior().expand((len(x),))

    def likelihood(self, z):
        return rp.Bernoulli(6)(torch.zeros(*z.shape[:-1], 6))


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
