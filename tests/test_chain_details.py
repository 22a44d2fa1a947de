"""Chains in the cases that the laws leave open: what is remembered, refused, expanded, relaxed and made in words."""

import pytest
import torch
from helpers import small_vae
from hierarchies import belief_network, gaussian_hierarchy, ladder
from torch import nn
from torch.distributions import Binomial, Independent, kl_divergence

import reparam as rp
from reparam.catalogue import ENTRIES
from reparam.distributions import joint_support
from reparam.relaxation import exact_distribution, is_relaxed, relax_distribution

G, BITS = rp.Gaussian(2), rp.Bernoulli(2)


def test_a_chain_scores_another_value_than_its_last_draw(float64):
    """Another tensor of the same version, and the very draw changed in place."""
    for make in (belief_network, gaussian_hierarchy):
        model, x = make(), torch.rand(4, 6).round()
        posterior, fresh = model.posterior(x), model.posterior(x)
        z, other = posterior.sample((3,)), fresh.sample((3,))
        expected = model.posterior(x).log_prob(other)
        torch.testing.assert_close(posterior.log_prob(other), expected)
        z.copy_(other)
        torch.testing.assert_close(posterior.log_prob(z), expected)


def test_a_draw_without_gradients_is_scored_with_them_and_the_other_way_round(float64):
    model, x = belief_network(), torch.rand(4, 6).round()
    posterior = model.posterior(x)
    with torch.no_grad():
        z = posterior.sample((3,))
        expected = posterior.log_prob(z)
    score = posterior.log_prob_by_part(z)["z2"]  # its parameters come from a network that ran without gradients
    (found,) = torch.autograd.grad(score.sum(), model.encoders[1].bias)
    probs = model.encoders[1](posterior.split(z)["z1"]).sigmoid()
    torch.testing.assert_close(found, (posterior.split(z)["z2"] - probs).sum((0, 1)))
    torch.testing.assert_close(posterior.log_prob(z), expected)


def test_a_remembered_draw_runs_no_network_again(float64):
    runs = []
    model, x = belief_network(), torch.rand(4, 6).round()
    model.encoders[1].register_forward_hook(lambda *_: runs.append(1))
    posterior = model.posterior(x)
    z = posterior.sample((3,))
    posterior.log_prob(z)
    assert len(runs) == 1
    posterior.log_prob(z.clone())
    assert len(runs) == 2


def test_a_product_has_no_closed_kl_to_a_chain_whose_parts_depend(float64):
    product = rp.Chain({"a": G, "b": G}, {"a": G(torch.randn(4)), "b": G(torch.randn(4))})
    chain = rp.Chain({"a": G, "b": G}, {"a": G(torch.zeros(4)), "b": lambda f: G(torch.cat([f["a"], f["a"]], -1))})
    for pair in ((product, chain), (chain, product)):
        with pytest.raises(NotImplementedError, match="depend on one another"):
            kl_divergence(*pair)
    with pytest.raises(NotImplementedError, match="the mean of a chain has no closed form"):
        _ = chain.mean


def test_states_are_in_the_precision_of_the_first_part():
    model = belief_network()
    for dtype in (torch.float16, torch.float64):
        assert model.to(dtype).prior().enumerate_support().dtype == dtype


def test_as_many_states_as_the_limit_are_listed():
    sixteen = rp.Joint(a=rp.Bernoulli(8), b=rp.Bernoulli(8))
    assert len(joint_support(sixteen(torch.zeros(16)))) == 2**16
    with pytest.raises(ValueError, match="131072 joint states"):
        rp.Joint(a=rp.Bernoulli(8), b=rp.Bernoulli(9))(torch.zeros(17)).enumerate_support()


def test_parts_are_of_the_first_ones_batch_or_of_none(float64):
    a, b = G(torch.randn(5, 4)), G(torch.randn(4))
    chain = rp.Chain({"a": G, "b": G}, {"a": a, "b": b})
    z = chain.sample((3,))
    assert z.shape == (3, 5, 4)
    torch.testing.assert_close(chain.log_prob(z.clone()), a.log_prob(z[..., :2]) + b.log_prob(z[..., 2:]))
    with pytest.raises(ValueError, match=r"part b has .* batch shape \(3,\).* first part's batch shape \(5,\)"):
        rp.Chain({"a": G, "b": G}, {"a": a, "b": b.expand((3,))})


def test_layouts_differ_in_names_and_in_shapes(float64):
    """Parts of one name and other shapes are not compared with each other."""
    p = rp.Joint(a=G, b=rp.Gaussian(3))(torch.zeros(10))
    for other in (rp.Joint(a=rp.Gaussian(3), b=G), rp.Joint(b=G, a=rp.Gaussian(3)), rp.Joint(c=G, d=rp.Gaussian(3))):
        q = other(torch.randn(10))
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p)
        found = rp.kl(q, p)
        assert found.method == "samples"
        assert not found.by_part


class TwoNames(nn.Module):
    """A posterior whose parts have other names than the prior's."""

    def prior(self):
        return rp.Joint(a=G, b=G)(torch.zeros(8))

    def posterior(self, x):
        return rp.Joint(c=G, d=G)(torch.ones(len(x), 8))

    def likelihood(self, z):
        return rp.Gaussian(6)(torch.zeros(*z.shape[:-1], 12))


def test_layers_of_other_names_have_one_kl_together(float64):
    samples = rp.draw(TwoNames(), torch.zeros(3, 6), 4)
    assert samples.kl_by_layer.shape == (3, 1)
    torch.testing.assert_close(samples.kl_by_layer[:, 0], (samples.log_posterior - samples.log_prior).mean(0))


def test_layers_are_in_the_order_of_the_latents_whatever_the_order_of_drawing(float64):
    model, x = ladder([rp.Gaussian(3), rp.Gaussian(2)], scale=0.3), torch.rand(4, 6).round()
    samples = rp.draw(model, x, 5)
    top = samples.posterior.member("z2").log_prob(samples.z[..., 3:]) - rp.Gaussian(2)(torch.zeros(4)).log_prob(
        samples.z[..., 3:]
    )
    torch.testing.assert_close(samples.kl_by_layer[:, 1], top.mean(0))


def test_the_wrong_number_of_parameters_names_the_joint():
    seen = rp.Joint(grey=rp.Bernoulli(4), count=rp.Poisson(2))
    for act in (seen, seen.likelihood):
        with pytest.raises(ValueError, match=r"Joint.* takes 6 parameters"):
            act(torch.zeros(5, 7))


def layered(kind, encoder, **options):
    networks = {"encoders": [encoder], "decoders": [nn.Linear(2, 6)]}
    if kind is rp.Ladder:
        networks["corrections"] = [nn.Linear(4, 4)]
    return kind([G], rp.Bernoulli(6), **(networks | options))


@pytest.mark.parametrize("kind", [rp.Hierarchy, rp.Ladder])
def test_models_of_layers_take_x_of_their_observations_shape_alone(kind):
    model = layered(kind, nn.Sequential(nn.Flatten(), nn.Linear(6, 4)))
    with pytest.raises(ValueError, match=r"x has shape \(3, 2, 3\); the model's observations are \(6,\)"):
        model.posterior(torch.rand(3, 2, 3))


@pytest.mark.parametrize("kind", [rp.Hierarchy, rp.Ladder])
def test_the_standard_prior_is_in_the_precision_of_the_networks_given(kind):
    networks = {"decoders": [nn.Linear(2, 6).double()]}
    networks |= {"corrections": [nn.Linear(4, 4).double()]} if kind is rp.Ladder else {}
    assert layered(kind, nn.Linear(6, 4).double(), **networks).prior().sample().dtype == torch.float64


def test_parameters_may_come_as_images():
    model = layered(rp.Hierarchy, nn.Sequential(nn.Linear(6, 4), nn.Unflatten(1, (4, 1, 1))))
    assert model.posterior(torch.rand(3, 6)).sample((2,)).shape == (2, 3, 2)


def test_a_ladder_has_one_correction_for_each_latent():
    with pytest.raises(ValueError, match="2 corrections for 1 latents"):
        layered(rp.Ladder, nn.Linear(6, 4), corrections=[nn.Linear(4, 4)] * 2)


def test_a_latent_of_several_axes_is_read_by_the_decoder():
    symbols = rp.Categorical(2, 3)
    model = rp.Hierarchy([symbols, G], BITS, [nn.Linear(2, 6), nn.Linear(6, 4)], [nn.Linear(6, 2), nn.Linear(2, 6)])
    z = model.prior().sample((5,))
    torch.testing.assert_close(model.likelihood(z).mean, model.decoders[0](z[:, :6]).sigmoid())


# relaxed chains


def test_straight_through_reaches_the_joint_within_a_joint(float64):
    latent = rp.Joint(inner=rp.Joint(a=G, b=BITS), rest=rp.Joint(c=G), symbol=rp.Categorical(1, 3))
    model, x = small_vae(latent), torch.rand(4, 6).round()
    relaxed = rp.relax(model, 0.7, straight_through=True)
    for chain in (relaxed.posterior(x), relaxed.posterior(x).expand((4,))):
        z = latent.split(chain.squash(chain.rsample((50,))))
        bits = latent.families["inner"].split(z["inner"])["b"]
        assert set(bits.detach().unique().tolist()) == {0.0, 1.0}
        assert set(z["symbol"].detach().unique().tolist()) == {0.0, 1.0}


def test_a_chain_with_one_relaxed_part_is_relaxed():
    relaxed = Independent(rp.distributions.LogitRelaxedBernoulli(0.5, torch.zeros(2)), 1)
    assert is_relaxed(rp.Chain({"a": G, "b": G}, {"a": G(torch.zeros(4)), "b": relaxed}))
    assert not is_relaxed(rp.Joint(a=G, b=BITS)(torch.zeros(6)))


def test_the_exact_chain_comes_back(float64):
    chain = belief_network().prior()
    assert exact_distribution(relax_distribution(chain, 0.5)) is chain


def test_a_relaxed_chain_with_a_part_that_has_no_rsample_has_none():
    assert not relax_distribution(rp.Joint(a=BITS, b=rp.Poisson(2))(torch.zeros(4)), 0.5).has_rsample
    assert relax_distribution(rp.Joint(a=BITS, b=G)(torch.zeros(6)), 0.5).has_rsample


def test_every_temperature_is_above_zero():
    with pytest.raises(ValueError, match="must be above 0"):
        rp.relax(small_vae(BITS), torch.tensor([0.5, 0.0]))


# a prior of the top layer


class Made(nn.Module):
    """A prior out of a function, with a part in it."""

    def __init__(self, make):
        super().__init__()
        self.make, self.part = make, nn.BatchNorm1d(2)

    def forward(self):
        return self.make()


def test_looking_at_a_prior_leaves_each_part_in_its_own_mode():
    prior = Made(lambda: G(torch.zeros(4)))
    prior.part.eval()
    layered(rp.Hierarchy, nn.Linear(6, 4), prior=prior)
    assert prior.training
    assert not prior.part.training


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_prior_that_cannot_be_made_says_why(error):
    def fail():
        raise error("the reason")

    with pytest.raises(ValueError, match=r"the prior cannot be made: the reason\. Its parts must fit"):
        layered(rp.Hierarchy, nn.Linear(6, 4), prior=Made(fail))


# the estimators for a model


def test_what_is_wrong_with_a_model_is_said_and_not_that_no_estimator_takes_it():
    model = small_vae(BITS)
    with pytest.raises(ValueError, match="observations are"):
        rp.estimators_for(model, torch.rand(5, 7))


def test_looking_for_estimators_trains_nothing_and_draws_only_the_networks_returned():
    model, x, modes = small_vae(BITS), torch.rand(5, 6), []
    model.encoder.register_forward_hook(lambda module, *_: modes.append(module.training))
    torch.manual_seed(7)
    found = rp.estimators_for(model, x)
    after = torch.rand(3)
    torch.manual_seed(7)
    for entry in ENTRIES:
        if entry.name in found:
            entry.make(2, (6,))
    assert torch.equal(torch.rand(3), after)
    assert not any(modes)
    assert model.training


class UnevenCounts(nn.Module):
    """Binomials of different counts, of which torch lists no states."""

    def prior(self):
        return Independent(Binomial(torch.tensor([2.0, 3.0]), torch.full((2,), 0.5)), 1)

    def posterior(self, x):
        return self.prior().expand((len(x),))

    def likelihood(self, z):
        return rp.Bernoulli(6).likelihood(z.repeat_interleave(3, -1))


def test_a_latent_whose_states_torch_does_not_list_is_not_enumerated():
    found = rp.estimators_for(UnevenCounts(), torch.rand(5, 6))
    assert "RLOO(num_samples=4)" in found
    assert "Enumerate()" not in found


def test_an_inference_tensor_is_scored_afresh(float64):
    """Nobody counts its changes in place, so a memory of it could be of other values."""
    with torch.inference_mode():
        for posterior in (
            belief_network().posterior(torch.rand(4, 6).round()),
            rp.Flow(rp.Gaussian(2), "maf", hidden=[8]).double()(torch.randn(4, 4)),
        ):
            z = posterior.sample((3,))
            z.mul_(0)
            torch.testing.assert_close(posterior.log_prob(z), posterior.log_prob(z.clone()))
