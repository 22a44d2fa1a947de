"""Networks: what goes in and comes out, and that nothing of one example reaches another."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reparam as rp
from reparam.networks import conv_decoder, conv_encoder, gated_mlp, mlp

NORMS = ("group", "weight", None)
STYLES = [{"norm": norm, "residual": residual} for norm in NORMS for residual in (True, False)]
SHAPES = [(1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32), (1, 4, 8)]
SMALL = (4, 8)


def nets(shape=(1, 8, 8), **style):
    """Each network with the shape of its input and the width of its output."""
    pixels = math.prod(shape)
    image = {"channels": style.pop("channels", SMALL), **style}
    return {
        "mlp": (mlp(shape, [7], 5), shape, 5),
        "gated_mlp": (gated_mlp(shape, [7, 6], 5), shape, 5),
        "conv_encoder": (conv_encoder(shape, 5, **image), shape, 5),
        "conv_decoder": (conv_decoder(3, shape, 2 * pixels, **image), (3,), 2 * pixels),
        "conv_decoder with a bias": (
            conv_decoder(3, shape, pixels, **image, output_bias=torch.randn(pixels)),
            (3,),
            pixels,
        ),
    }


NAMES = list(nets())


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolutions_take_and_give_images_of_this_shape(shape, style):
    encoder = conv_encoder(shape, 10, **style)
    assert encoder(torch.rand(2, *shape)).shape == (2, 10)
    for family in (rp.Bernoulli(shape), rp.Gaussian(shape)):
        decoder = conv_decoder(5, shape, family.num_params, **style)
        assert family(decoder(torch.randn(2, 5))).sample().shape == (2, *shape)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=10)
@given(leading=st.lists(st.integers(0, 3), max_size=3))
def test_any_leading_axes_are_folded(name, leading):
    network, in_shape, width = nets()[name]
    x = torch.randn(*leading, *in_shape)
    y = network(x)
    assert y.shape == (*leading, width)
    looped = [network(row) for row in x.reshape(math.prod(leading), *in_shape)]
    if looped:
        torch.testing.assert_close(y, torch.stack(looped).reshape(y.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_not_depend_on_the_others_of_its_batch(name, style, float64):
    network, in_shape, _ = nets(**style)[name]
    assert network.training
    x = torch.randn(6, *in_shape, requires_grad=True)
    (reached,) = torch.autograd.grad(network(x)[2].square().sum(), x)
    assert (reached.flatten(1).abs().sum(1) > 0).tolist() == [False, False, True, False, False, False]
    torch.testing.assert_close(network(x)[2], network(torch.cat([x[2:3], 100 * x[:1]]))[0])


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name, style):
    network, in_shape, width = nets(**style)[name]
    (network(torch.randn(16, *in_shape)) * torch.randn(width)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_networks_are_plain_modules(name, style):
    network, in_shape, width = nets(**style)[name]
    x = torch.randn(4, *in_shape)
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x))
    other = nets(**style)[name][0]
    assert not torch.equal(other(x), network(x))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))
    for dtype in (torch.float64, torch.bfloat16):
        assert copy.deepcopy(network).to(dtype)(x.to(dtype)).dtype == dtype
    assert network.to("meta")(x.to("meta")).shape == (4, width)
    with torch.device("meta"):
        empty = conv_encoder((1, 8, 8), 5, channels=SMALL, **style)
    assert {p.device.type for p in empty.parameters()} == {"meta"}


def test_a_gated_layer_is_a_linear_map_times_the_sigmoid_of_another(float64):
    network, x = gated_mlp(4, [3], 2), torch.randn(5, 4)
    inner, last = network[0], network[-1]
    h = x @ inner.weight[:3].T + inner.bias[:3]
    g = x @ inner.weight[3:].T + inner.bias[3:]
    torch.testing.assert_close(network(x), (h * g.sigmoid()) @ last.weight.T + last.bias)
    assert count(network) == 2 * (4 * 3 + 3) + 3 * 2 + 2
    assert [type(layer) for layer in gated_mlp(4, [], 2)] == [nn.Linear]


def test_the_defaults_are_as_large_as_documented():
    assert count(conv_encoder((1, 28, 28), 40)) == 251_784
    assert f"{251_784:,} parameters" in conv_encoder.__doc__
    assert count(conv_decoder(20, (1, 28, 28), 784)) == 177_409
    assert f"{177_409:,} parameters" in conv_decoder.__doc__
    plain = count(conv_decoder(20, (1, 28, 28), 784, norm=None, residual=False))
    assert plain == 20 * 3136 + 3136 + (64 * 32 * 9 + 32) + (32 * 9 + 1)
    bias = torch.zeros(784)
    assert count(conv_decoder(20, (1, 28, 28), 784, norm=None, residual=False, output_bias=bias)) == plain - 1 + 784


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_the_output_bias_is_where_each_output_starts(style):
    bias = torch.randn(2 * 64)
    for network in (
        conv_decoder(3, (1, 8, 8), 128, **style, output_bias=bias),
        gated_mlp(3, [4], 128, output_bias=bias),
        mlp(3, [4], 128, output_bias=bias),
    ):
        parameters = [p for p in network.parameters() if p.shape == bias.shape and torch.equal(p, bias)]
        assert len(parameters) == 1
        z = torch.randn(9, 3)
        moved = network(z)
        with torch.no_grad():
            parameters[0].zero_()
        torch.testing.assert_close(moved, network(z) + bias)
    assert bias.abs().sum() > 0  # it was copied


@pytest.mark.parametrize("norm", NORMS)
def test_networks_start_at_a_sensible_scale(norm):
    """Neither dead nor wild: the first posteriors are near the prior, the first pixels near even odds."""
    x, z = torch.rand(64, 1, 28, 28), torch.randn(64, 20)
    for network, value in (
        (conv_encoder((1, 28, 28), 40, norm=norm), x),
        (conv_decoder(20, (1, 28, 28), 784, norm=norm), z),
    ):
        y = network(value)
        assert y.abs().max() < 4
        assert y.std(0).mean() > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_residual_blocks_start_near_the_identity(norm):
    network = conv_decoder(20, (1, 28, 28), 784, norm=norm)
    blocks = [module for module in network.modules() if type(module).__name__ == "Residual"]
    assert len(blocks) == 2
    for block in blocks:
        x = torch.randn(8, block.branch[-1].in_channels, 7, 7)
        change = (block(x) - x).std() / x.std()
        assert 0 < change < 0.15


def test_weight_norm_leaves_the_length_of_a_direction_without_effect():
    for name, (network, in_shape, _) in nets(norm="weight").items():
        x = torch.randn(3, *in_shape)
        before = network(x)
        directions = [p for key, p in network.named_parameters() if key.endswith("weight.original1")]
        layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        assert len(directions) == (len(layers) if name.startswith("conv") else 0)
        with torch.no_grad():
            for direction in directions:
                direction.mul_(3)
        torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [(4, 8), (3, 5)])
def test_group_norm_leaves_something_of_an_image_of_one_pixel(channels):
    """A group of one channel and one pixel would be normalised to nothing."""
    x = torch.randn(8, 1, 4, 4)
    y = conv_encoder((1, 4, 4), 5, channels=channels)(x)
    assert (y.std(0) > 1e-3).all()


def test_repeating_before_convolving_leaves_no_checkerboard(float64):
    """Constant features: inside of the image every pixel is the same, as it is not with a transposed convolution."""
    layers = conv_decoder(2, (1, 16, 16), 256, norm=None, residual=False, channels=(3,)).layers[-3:]
    image = layers(torch.randn(3)[:, None, None].expand(1, 3, 8, 8)).reshape(16, 16)[1:-1, 1:-1]
    torch.testing.assert_close(image, image[:1, :1].expand_as(image))


def test_decoded_channels_come_one_after_the_other():
    """The order that Gaussian wants: all of loc first. Only the bias of a channel is left, so each is constant."""
    network = conv_decoder(3, (3, 8, 8), 6 * 64, norm=None, residual=False)
    last = next(m for m in reversed(list(network.modules())) if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(6.0))
    member = rp.Gaussian((3, 8, 8))(network(torch.randn(2, 3))).base_dist
    assert member.loc[0, :, 4, 4].tolist() == [0, 1, 2]
    torch.testing.assert_close(member.scale[0, :, 4, 4], (torch.tensor([3.0, 4, 5]) / 2).exp())


ENCODER, DECODER = (1, 28, 28), (20, (1, 28, 28), 784)
REFUSED = [
    (lambda: conv_encoder((1, 30, 30), 4), ValueError, r"shape is \(1, 30, 30\).*multiples of 4. Pad the images"),
    (lambda: conv_encoder((1, 28, 28), 4, channels=(8, 8, 8)), ValueError, "halve an image 3 times.*multiples of 8"),
    (lambda: conv_decoder(4, (1, 28, 30), 840), ValueError, "multiples of 4"),
    (lambda: conv_encoder((28, 28), 4), TypeError, r"shape is \(28, 28\); it must be \(channels, height, width\)"),
    (lambda: conv_encoder(784, 4), TypeError, "shape is 784; it must be"),
    (lambda: conv_encoder((1, 28.0, 28), 4), TypeError, "shape, .*, is 28.0; it must be a whole number"),
    (lambda: conv_encoder(ENCODER, 0), ValueError, "out_features is 0; it must be at least 1"),
    (lambda: conv_encoder(ENCODER, 4, channels=32), TypeError, "channels is 32; it must be a list of widths"),
    (lambda: conv_encoder(ENCODER, 4, channels=()), TypeError, r"channels is \(\)"),
    (lambda: conv_encoder(ENCODER, 4, channels=(32, 0)), ValueError, "a width in channels is 0"),
    (
        lambda: conv_encoder(ENCODER, 4, norm="batch"),
        ValueError,
        "norm is 'batch'; it must be one of 'group', 'weight'",
    ),
    (lambda: conv_encoder(ENCODER, 4, activation=nn.ReLU()), TypeError, r"activation is ReLU\(\); it must make a"),
    (lambda: conv_decoder(20, (1, 28, 28), 785), ValueError, r"785; .*multiple of 784.*rp.Bernoulli\(\(1, 28, 28\)\)"),
    (lambda: conv_decoder(0, (1, 28, 28), 784), ValueError, "in_features is 0"),
    (lambda: conv_decoder(*DECODER, output_bias=torch.zeros(1)), ValueError, r"shape \(1,\); it must be \(784,\)"),
    (lambda: gated_mlp(6, 400, 3), TypeError, r"hidden is 400; it must be a list of widths"),
    (lambda: gated_mlp(6, [0], 3), ValueError, "a hidden width is 0"),
    (lambda: gated_mlp(6, [4], 3, output_bias=torch.zeros(4)), ValueError, r"shape \(4,\); it must be \(3,\)"),
    (lambda: conv_encoder(ENCODER, 4)(torch.rand(1, 784)), ValueError, r"shape \(1, 784\).*last axes must be \(1, 28"),
    (lambda: conv_decoder(*DECODER)(torch.rand(5, 19)), ValueError, r"shape \(5, 19\); its last axes must be \(20,\)"),
    (lambda: conv_decoder(*DECODER)(torch.tensor(1.0)), ValueError, r"shape \(\); its last axes must be"),
]


@pytest.mark.parametrize(("act", "kind", "message"), REFUSED, ids=[message[:40] for *_, message in REFUSED])
def test_refusals(act, kind, message):
    with pytest.raises(kind, match=message):
        act()


@pytest.mark.parametrize(
    ("latent", "estimator"),
    [(rp.Gaussian(6), rp.Pathwise(num_samples=5, bound=rp.iwae)), (rp.Bernoulli(6), rp.RLOO(4))],
    ids=str,
)
@pytest.mark.parametrize("style", [{}, {"norm": "weight"}, {"norm": None, "residual": False}], ids=str)
def test_a_convolutional_vae_learns(latent, estimator, style):
    data = rp.mnist("dynamic", shape=(1, 28, 28)).train
    pixels = rp.Bernoulli((1, 28, 28))
    style = {"channels": SMALL, **style}
    model = rp.VAE(
        latent,
        pixels,
        conv_encoder((1, 28, 28), latent.num_params, **style),
        conv_decoder(latent.num_features, (1, 28, 28), pixels.num_params, **style),
    )
    first = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(40):
        estimate = estimator(model, data[step % 8 * 64 : step % 8 * 64 + 64])
        optimizer.zero_grad()
        estimate.loss.backward()
        optimizer.step()
        losses.append(estimate.loss.item())
    assert all(not torch.equal(first[name], parameter) for name, parameter in model.named_parameters())
    assert sum(losses[-8:]) < 0.6 * sum(losses[:2]) * 4
    assert sum(losses[-8:]) / 8 < 300  # even odds cost 543
