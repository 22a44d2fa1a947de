"""What somebody who knows PyTorch tries first, and what is said of it."""

import math

import numpy as np
import pytest
import torch
from helpers import small_vae
from torch import nn

import reparam as rp


class TwoHeads(nn.Module):
    """The encoder of most VAE scripts: it returns mu and logvar."""

    def __init__(self, join=False):
        super().__init__()
        self.mu, self.logvar, self.join = nn.Linear(6, 2), nn.Linear(6, 2), join

    def forward(self, x):
        parts = self.mu(x), self.logvar(x)
        return torch.cat(parts, 1) if self.join else parts


class Returns(nn.Module):
    """A network that returns what it was told to."""

    def __init__(self, output):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.output = output

    def forward(self, x):
        return self.output(x)


class Sigmoid(nn.Module):
    """A decoder with a sigmoid in its forward pass, where no look at its layers finds it."""

    def __init__(self, num_pixels):
        super().__init__()
        self.layer = nn.Linear(2, num_pixels)

    def forward(self, z):
        return self.layer(z).sigmoid()


def test_an_encoder_may_return_mu_and_logvar():
    heads = TwoHeads()
    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), heads, rp.mlp(2, [4], 6))
    x = torch.rand(5, 6)
    posterior = model.posterior(x).base_dist
    torch.testing.assert_close(posterior.loc, heads.mu(x))
    torch.testing.assert_close(posterior.scale, (heads.logvar(x) / 2).exp())
    joined = TwoHeads(join=True)
    joined.load_state_dict(heads.state_dict())
    torch.testing.assert_close(
        rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), joined, model.decoder).posterior(x).base_dist.scale, posterior.scale
    )


def test_a_network_of_one_output_may_drop_its_axis():
    model = rp.VAE(rp.Bernoulli(1), rp.Bernoulli(6), Returns(lambda x: x.sum(1)), rp.mlp(1, [4], 6))
    assert model.posterior(torch.rand(5, 6)).batch_shape == (5,)


@pytest.mark.parametrize(
    ("output", "error", "said"),
    [
        (lambda x: {"mu": x}, TypeError, "returned a dict"),
        (lambda x: torch.distributions.Normal(x, 1.0), TypeError, "returned a Normal"),
        (lambda x: (x, None), TypeError, "returned a NoneType"),
        (lambda x: None, TypeError, "returned a NoneType"),
        (lambda x: x.sum(), ValueError, r"returned shape \(\)"),
        (lambda x: x.T, ValueError, r"returned shape \(6, 5\)"),
        (lambda x: (), TypeError, "returned a tuple"),
    ],
)
def test_another_output_is_refused_with_what_to_return(output, error, said):
    model = rp.VAE(rp.Gaussian(3), rp.Bernoulli(6), Returns(output), rp.mlp(3, [4], 6))
    with pytest.raises(error, match=f"{said}.*one row for each of its 5 inputs, or a tuple such as"):
        model.posterior(torch.rand(5, 6))


@pytest.mark.parametrize(
    "last", [nn.Sigmoid(), nn.Softmax(-1), nn.ReLU(), nn.Softplus()], ids=lambda m: type(m).__name__
)
def test_a_network_that_ends_in_an_activation_is_warned_of(last):
    name = type(last).__name__
    latent, pixels = rp.Bernoulli(4), rp.Bernoulli((1, 3, 3))
    encoder, decoder = rp.mlp((1, 3, 3), [5], 4), rp.mlp(4, [5], 9)
    with pytest.warns(UserWarning, match=f"decoder ends in {name}.*end in a linear layer"):
        rp.VAE(latent, pixels, encoder, nn.Sequential(decoder, last, nn.Unflatten(1, (1, 3, 3))))
    with pytest.warns(UserWarning, match=f"encoder ends in {name}"):
        rp.VAE(latent, pixels, nn.Sequential(encoder, last), decoder)
    bits = [latent, latent]
    with pytest.warns(UserWarning, match=f"encoder 1 ends in {name}"):
        rp.Hierarchy(
            bits,
            rp.Bernoulli(9),
            [nn.Linear(9, 4), nn.Sequential(nn.Linear(4, 4), last)],
            [nn.Linear(4, 9), nn.Linear(4, 4)],
        )
    with pytest.warns(UserWarning, match=f"decoder 0 ends in {name}"):
        rp.Hierarchy(
            bits,
            rp.Bernoulli(9),
            [nn.Linear(9, 4), nn.Linear(4, 4)],
            [nn.Sequential(nn.Linear(4, 9), last), nn.Linear(4, 4)],
        )


def test_means_may_be_limited_by_a_sigmoid():
    decoder = nn.Sequential(rp.mlp(2, [5], 40), nn.Sigmoid())
    for pixels in (rp.Gaussian(40, scale=0.1), rp.SharedScaleGaussian(40)):
        model = rp.VAE(rp.Gaussian(2), pixels, rp.mlp(40, [5], 4), decoder)
        rp.fit(model, rp.Pathwise(), torch.rand(8, 40), epochs=1)


@pytest.mark.parametrize("pixels", [rp.Bernoulli(40), rp.ContinuousBernoulli(40), rp.Categorical(8, 5)], ids=repr)
def test_a_hidden_sigmoid_is_warned_of_when_data_are_seen(pixels):
    model = rp.VAE(rp.Gaussian(2), pixels, rp.mlp(tuple(pixels.event_shape), [5], 4), Sigmoid(40))
    x = pixels(torch.zeros(9, 40)).sample()
    for use in (lambda: rp.fit(model, rp.Pathwise(), x, epochs=1), lambda: rp.evaluate(model, x, num_samples=2)):
        with pytest.warns(UserWarning, match="all 40 log-odds .* as probabilities do"):
            use()


def test_log_odds_of_a_linear_decoder_are_not_warned_of():
    """Also where they begin at zero, or are all positive, as those of data that are mostly white."""
    x = (torch.rand(20, 40) < 0.9).float()
    for bias in (torch.zeros(40), torch.full((40,), math.log(9.0))):
        decoder = rp.mlp(2, [5], 40, output_bias=bias)
        nn.init.zeros_(decoder[-1].weight)
        rp.fit(rp.VAE(rp.Gaussian(2), rp.Bernoulli(40), rp.mlp(40, [5], 4), decoder), rp.Pathwise(), x, epochs=1)


ESTIMATORS = [rp.Pathwise(), rp.RLOO(2), rp.Enumerate(), rp.DisARM(), rp.REBAR(), rp.StraightThrough(), rp.WakeSleep(),
              rp.LocalExpectation(), rp.UnorderedSet(2), rp.VIMCO(2), rp.Relaxed(0.5)]  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_a_labelled_batch_is_refused_by_every_estimator(estimator):
    model = small_vae(rp.Gaussian(2) if isinstance(estimator, rp.Pathwise) else rp.Bernoulli(3))
    x, y = torch.zeros(5, 6), torch.zeros(5)
    with pytest.raises(TypeError, match=r"x is a tuple; a model takes one tensor .* Pass its first element"):
        estimator(model, (x, y))


def test_an_array_as_batch_is_refused():
    with pytest.raises(TypeError, match=r"x is a ndarray; .* torch\.as_tensor"):
        rp.draw(small_vae(rp.Bernoulli(3)), np.zeros((5, 6)))


@pytest.mark.parametrize("array", [torch.as_tensor, np.asarray], ids=["tensors", "arrays"])
@pytest.mark.parametrize("pair", [tuple, list])
def test_x_and_y_as_data_are_refused(pair, array):
    model, data = small_vae(rp.Bernoulli(3)), pair([array(torch.zeros(5, 6)), array(torch.zeros(5))])
    said = rf"data is a {pair.__name__} \(x, y\), of shapes \(5, 6\) and \(5,\).*rp\.Data\(x, labels=y\)"
    for use in (lambda: rp.fit(model, rp.RLOO(2), data, epochs=1), lambda: rp.evaluate(model, data)):
        with pytest.raises(TypeError, match=said):
            use()


@pytest.mark.parametrize(
    "slip",
    [
        lambda x: rp.Data(x, torch.arange(500)),
        lambda x: rp.draw(small_vae(rp.Bernoulli(3)), x, x),
        rp.Gaussian,
        lambda x: rp.fit(small_vae(rp.Bernoulli(3)), rp.RLOO(2), x, epochs=1, lr=x),
        lambda x: rp.RLOO(x.numpy()),
        lambda x: rp.Relaxed("a" * 500),
    ],
)
def test_a_message_stays_one_short_line_whatever_was_passed(slip):
    with pytest.raises((TypeError, ValueError)) as raised:
        slip(torch.zeros(500, 6))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_tuple_of_batches_is_data():
    found = rp.evaluate(small_vae(rp.Bernoulli(3)), (torch.zeros(5, 6), torch.zeros(5, 6), torch.ones(2, 6)))
    assert found.num_examples == 12


@pytest.mark.parametrize("kind", ["VAE", "Hierarchy", "Ladder"])
def test_a_model_is_not_called(kind):
    bits = rp.Bernoulli(4)
    down, up = [nn.Linear(4, 9), nn.Linear(4, 4)], [nn.Linear(9, 4), nn.Linear(4, 4)]
    model = {
        "VAE": lambda: rp.VAE(bits, rp.Bernoulli(9), up[0], down[0]),
        "Hierarchy": lambda: rp.Hierarchy([bits, bits], rp.Bernoulli(9), up, down),
        "Ladder": lambda: rp.Ladder([bits, bits], rp.Bernoulli(9), up, [nn.Linear(4, 4), nn.Linear(4, 4)], down),
    }[kind]()
    with pytest.raises(TypeError, match=rf"{kind} is called as model\(x\).*model\.posterior\(x\) is q\(z\|x\)"):
        model(torch.zeros(5, 9))


def test_data_are_checked_before_the_model_sees_them():
    """An encoder that cannot take what lies outside the support would hide the reason."""

    def refuse(x):
        assert x.min() >= 0, "the model saw x"
        return torch.zeros(len(x), 4)

    model = rp.VAE(rp.Gaussian(2), rp.Poisson(6), Returns(refuse), rp.mlp(2, [4], 6))
    with pytest.raises(ValueError, match="whole numbers from 0"):
        rp.fit(model, rp.Pathwise(), torch.full((8, 6), -1.0), epochs=1)
