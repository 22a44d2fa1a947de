"""Traversals and interpolations stay in the latent space, move what they say, and end where they say."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import constraints

import reparam as rp
from reparam.walks import between, moved, support_of

LATENTS = {
    "Gaussian": rp.Gaussian(3),
    "Gamma": rp.Gamma(3),
    "Beta": rp.Beta(3),
    "Bernoulli": rp.Bernoulli(4),
    "Categorical": rp.Categorical(3, 5),
    "Dirichlet": rp.Dirichlet(2, 4),
    "PowerSpherical": rp.PowerSpherical(4),
    "VonMises": rp.VonMises(3),
    "Poisson": rp.Poisson(3),
    "Ordinal": rp.Ordinal(3, 6),
    "QuantizedCategorical": rp.QuantizedCategorical(3),
    "Joint": rp.Joint(style=rp.Gaussian(2), kind=rp.Categorical(1, 4), on=rp.Bernoulli(2)),
}


class Shown(nn.Module):
    """A model whose observation is its latent: what is decoded is the latent itself."""

    def __init__(self, latent):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Linear(3, latent.num_params)

    def prior(self):
        return self.latent(torch.zeros(self.latent.num_params))

    def posterior(self, x):
        return self.latent(self.encoder(x))

    def likelihood(self, z):
        return torch.distributions.Independent(torch.distributions.Normal(z, 1.0), len(self.latent.event_shape))


def inside(latent, z):
    """Whether draws are in the support, to a float's last digits."""
    support = latent(torch.zeros(latent.num_params)).support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return bool(support.check(z).all())


@pytest.mark.parametrize("name", LATENTS)
def test_every_latent_of_a_traversal_is_one_of_the_model(name):
    model = Shown(LATENTS[name])
    x = torch.randn(2, 3)
    grid = rp.traverse(model, x, columns=7)
    assert inside(model.latent, grid)
    assert torch.equal(grid, rp.traverse(model, x[:1], columns=7))  # the first example, and the same each time


@pytest.mark.parametrize("name", LATENTS)
def test_an_interpolation_goes_from_one_latent_to_the_other_inside_the_latent_space(name):
    model = Shown(LATENTS[name])
    with torch.no_grad():
        z0, z1 = (model.posterior(torch.randn(5, 3)).sample() for _ in range(2))
    z = between(model.prior(), z0, z1, 9)
    assert z.shape == (5, 9, *model.latent.event_shape)
    assert inside(model.latent, z)
    if name == "VonMises":  # an angle of pi may come back as -pi
        ends = torch.stack([z[:, 0] - z0, z[:, -1] - z1]).sin().abs()
        assert (ends < 1e-5).all()
    else:
        torch.testing.assert_close(z[:, 0], z0, rtol=0, atol=1e-6)
        torch.testing.assert_close(z[:, -1], z1, rtol=0, atol=1e-6)


def test_numbers_are_moved_over_quantiles_of_the_prior_one_at_a_time():
    prior, z = rp.Gaussian(3)(torch.zeros(6)), torch.tensor([0.1, 0.2, 0.3])
    rows = moved(prior, z, 5)
    assert len(rows) == 3
    for index, row in enumerate(rows):
        others = [each for each in range(3) if each != index]
        assert torch.equal(row[:, others], z[others].expand(5, 2))
        expected = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.05, 0.95, 5))
        # a quantile's standard error from 4096 draws is at most 0.033 here
        assert (row[:, index] - expected).abs().max() < 5 * 0.033


def test_bits_are_off_then_on_and_symbols_take_every_value():
    z = torch.tensor([1.0, 0.0, 1.0])
    rows = torch.stack(moved(rp.Bernoulli(3)(torch.zeros(3)), z, 10))
    assert rows.shape == (3, 2, 3)
    for index in range(3):
        assert rows[index, :, index].tolist() == [0, 1]
        assert (
            rows[index, :, [each for each in range(3) if each != index]] == z[z.new_tensor([0, 1, 2]) != index]
        ).all()
    symbols = torch.eye(4)[[2, 0]]
    rows = torch.stack(moved(rp.Categorical(2, 4)(torch.zeros(8)), symbols, 10))
    assert rows.shape == (2, 4, 2, 4)
    assert torch.equal(rows[1, :, 1], torch.eye(4))
    assert torch.equal(rows[1, :, 0], symbols[0].expand(4, 4))


def test_shorter_rows_of_a_joint_latent_repeat_their_last():
    grid = rp.traverse(Shown(LATENTS["Joint"]), torch.randn(1, 3), columns=6)
    assert grid.shape == (5, 6, 8)  # two numbers, a symbol, two bits
    assert torch.equal(grid[2, :4, 2:6], torch.eye(4))
    assert torch.equal(grid[2, 3:], grid[2, 3].expand(3, 8))
    assert grid[4, :, 7].tolist() == [0, 1, 1, 1, 1, 1]
    assert torch.equal(grid[4, :, :7], grid[4, 0, :7].expand(6, 7))


def test_a_moved_coordinate_takes_the_others_along_in_proportion():
    z = torch.tensor([0.1, 0.3, 0.6])
    for row in moved(rp.Dirichlet(1, 3)(torch.zeros(3)), z[None], 4)[0].squeeze(1):
        assert row[1] / row[2] == pytest.approx(0.5, rel=1e-5)
    z = torch.tensor([0.6, 0.8, 0.0])
    rows = moved(rp.PowerSpherical(3)(torch.zeros(rp.PowerSpherical(3).num_params)), z, 4)[2]
    assert all(row[0] / row[1] == pytest.approx(0.75, rel=1e-5) for row in rows)


def test_differing_bits_are_switched_one_after_another_in_their_order():
    prior = rp.Bernoulli(5)(torch.zeros(5))
    start, end = torch.tensor([[0.0, 1, 0, 0, 1]]), torch.tensor([[1.0, 1, 1, 1, 0]])
    z = between(prior, start, end, 5)[0]
    assert z.tolist() == [[0, 1, 0, 0, 1], [1, 1, 0, 0, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    prior = rp.Categorical(3, 3)(torch.zeros(9))
    z = between(prior, torch.eye(3)[[0, 1, 2]][None], torch.eye(3)[[1, 1, 0]][None], 3)[0]
    assert z.argmax(-1).tolist() == [[0, 1, 2], [1, 1, 2], [1, 1, 0]]


def test_angles_turn_the_shorter_way_and_numbers_go_straight():
    angles = between(
        rp.VonMises(1)(torch.zeros(rp.VonMises(1).num_params)), torch.tensor([[3.0]]), torch.tensor([[-3.0]]), 3
    )
    assert abs(abs(float(angles[0, 1])) - math.pi) < 1e-5
    z = between(rp.Gaussian(2)(torch.zeros(4)), torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, -2.0]]), 5)
    assert z[0].tolist() == [[0, 2], [0.25, 1], [0.5, 0], [0.75, -1], [1, -2]]
    counts = between(rp.Poisson(1)(torch.zeros(1)), torch.tensor([[0.0]]), torch.tensor([[3.0]]), 3)
    assert counts.flatten().tolist() == [0, 2, 3]


def test_of_layers_that_depend_on_one_another_only_interpolations_are_drawn():
    layer = rp.Gaussian(2)
    networks = [rp.mlp(n, [4], layer.num_params) for n in (9, 2)], [rp.mlp(2, [4], 9), rp.mlp(2, [4], layer.num_params)]
    model = rp.Hierarchy([layer, layer], rp.Bernoulli(9), *networks)
    x = torch.rand(2, 9).round()
    with pytest.raises(ValueError, match="layers depend on one another"):
        rp.traverse(model, x)
    assert rp.interpolate(model, x[:1], x[1:], 4).shape == (1, 4, 9)
    assert rp.traverse(Shown(rp.Gaussian(2))).shape == (2, 10, 2)


def test_walks_that_cannot_be_walked_are_refused():
    model = Shown(rp.Gaussian(2))
    with pytest.raises(ValueError, match="steps is 1; it must be at least 2"):
        rp.interpolate(model, torch.zeros(1, 3), torch.zeros(1, 3), 1)
    with pytest.raises(ValueError, match="columns is 1"):
        rp.traverse(model, columns=1)
    with pytest.raises(ValueError, match=r"x0 has shape \(1, 3\) and x1 \(2, 3\)"):
        rp.interpolate(model, torch.zeros(1, 3), torch.zeros(2, 3))


def test_the_support_is_seen_through_mixtures():
    latent = rp.Bernoulli(3)
    assert support_of(rp.MixturePrior(latent, 4)()) is constraints.boolean
    assert support_of(rp.LearnedPrior(rp.Categorical(2, 3))()) is constraints.one_hot
