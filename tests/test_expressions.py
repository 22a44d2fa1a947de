"""Objects as text and back: everything public goes there and comes back the same, and a text runs nothing."""

import builtins
import copy
import functools

import hierarchies
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from priors import CONTINUOUS, DISCRETE, OWN, model_with
from test_families import FAMILIES
from torch import distributions, nn

import reparam as rp
from reparam.catalogue import ENTRIES
from reparam.expressions import describe, parse
from reparam.expressions.names import CALLED, DISTRIBUTIONS, GIVEN
from reparam.networks import masked_mlp


def round_trip(thing):
    """The object that the text of `thing` builds; the text of that is the same again."""
    text = describe(thing)
    built = parse(text)
    assert type(built) is type(thing)
    assert describe(built) == text
    return built


def same_layout(one, other):
    shapes = [{name: value.shape for name, value in module.state_dict().items()} for module in (one, other)]
    assert shapes[0] == shapes[1]


OTHER_FAMILIES = [
    rp.VonMises((2, 3)),
    rp.PowerSpherical(4),
    rp.SharedScaleGaussian(5, "optimal", momentum=0.2),
    rp.TorchFamily(distributions.Binomial, 3, total_count=torch.tensor([2, 5, 9])),
    rp.Joint(style=rp.Gaussian(10), kind=rp.Categorical(1, 10), size=rp.SharedScaleGaussian(2)),
    rp.Flow(rp.Gaussian(3), "maf", num_transforms=1, hidden=[5]),
    rp.Flow(rp.Gaussian(3)),
    rp.StudentT(5, df=4),
    rp.Gaussian(torch.Size([2, 3])),
    rp.Gaussian(np.int64(3), scale=np.float64(0.5)),
]
EVERY_FAMILY = [family for family, _ in FAMILIES] + OTHER_FAMILIES


def test_every_public_family_is_among_those_tried():
    public = {
        name for name in dir(rp) if isinstance(getattr(rp, name), type) and issubclass(getattr(rp, name), rp.Family)
    }
    assert public - {"Family"} == {type(family).__name__ for family in EVERY_FAMILY}


@pytest.mark.parametrize("family", EVERY_FAMILY, ids=str)
def test_a_family_comes_back(family):
    built = round_trip(family)
    assert (built.event_shape, built.num_params) == (family.event_shape, family.num_params)
    if not isinstance(family, nn.Module):
        params = torch.randn(family.num_params)
        z = family(params).sample()
        torch.testing.assert_close(built(params).log_prob(z), family(params).log_prob(z), rtol=0, atol=0)


STAGES = rp.Stages((0, rp.Relaxed(rp.geometric(1.0, 0.2, 90))), (60, rp.RLOO(8)), (80, rp.NVIL(nn.Linear(6, 1))))
OTHER_ESTIMATORS = [
    STAGES,
    rp.Relaxed(rp.exponential(1.0, 0.1, 3e-5, every=10), 3, kl="relaxed", bound=rp.iwae),
    rp.Pathwise(5, rp.renyi(0.5)),
    rp.Pathwise(bound=rp.beta_elbo(rp.linear(0.0, 1.0, 100))),
    rp.Pathwise(4, bound=rp.tvo((0.0, 0.5))),
    rp.DisARM(2, rp.free_bits(0.25)),
    rp.NVIL(rp.mlp((1, 4, 4), [7], 1, nn.Tanh), decay=0.5),
    rp.REINFORCE(2, decay=0.75),
    rp.REBAR(3, 0.7, 0.5),
    rp.Enumerate(max_states=64),
    rp.RLOO(rp.linear(2, 8, 100)),
]
EVERY_ESTIMATOR = [entry.make(20, (784,)) for entry in ENTRIES] + OTHER_ESTIMATORS


def test_every_public_estimator_is_among_those_tried():
    public = {name for name in dir(rp) if isinstance(getattr(rp, name), type) and hasattr(getattr(rp, name), "at")}
    assert public - {"Estimator", "PenalisedBound"} == {type(each).__name__ for each in EVERY_ESTIMATOR} | {
        "beta_elbo",
        "free_bits",
    }


@pytest.mark.parametrize("estimator", EVERY_ESTIMATOR, ids=str)
def test_an_estimator_comes_back(estimator):
    built = round_trip(estimator)
    assert str(built) == str(estimator)
    for step in (0, 7, 60, 85):
        assert str(built.at(step)) == str(estimator.at(step))
    if isinstance(estimator, nn.Module):
        same_layout(built, estimator)
        built.load_state_dict(estimator.state_dict())


def test_an_argument_where_a_weight_begins_is_left_to_the_checkpoint():
    built = parse(describe(rp.REBAR(strength=0.25)))
    assert built.strength == 1
    built.load_state_dict(rp.REBAR(strength=0.25).state_dict())
    assert built.strength == 0.25


SCHEDULES = [
    rp.exponential(1.0, 0.1, 3e-5),
    rp.linear(0.0, 1.0, 10),
    rp.geometric(1.0, 0.1, 10),
    rp.cosine(5e-3, 100, warmup=20, end=1e-5),
]


@pytest.mark.parametrize(
    "value",
    [*SCHEDULES, 0.001, 3, "text", None, True, (1,), [2, 0.5], rp.elbo, nn.Tanh],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_schedules_and_plain_values_come_back(value):
    assert parse(describe(value)) == value


def leaky():
    return nn.LeakyReLU(0.2)


NETWORKS = {
    "mlp": rp.mlp((1, 4, 4), [7, 5], 3, nn.Tanh),
    "mlp with a bias": rp.mlp(4, [], 3, output_bias=torch.ones(3)),
    "mlp with a function": rp.mlp(4, [5], 3, leaky),
    "mlp with a partial": rp.mlp(4, [5], 3, functools.partial(nn.ELU, 0.5)),
    "gated_mlp": rp.gated_mlp(4, [7], 3),
    "masked_mlp": masked_mlp(3, 2, [8], nn.ELU),
    "conv_encoder": rp.conv_encoder((1, 8, 8), 5, channels=(4, 8), norm="weight", activation=nn.ReLU),
    "conv_encoder without a norm": rp.conv_encoder((3, 8, 8), 5, channels=[4], norm=None, residual=False),
    "conv_decoder": rp.conv_decoder(3, (1, 8, 8), 128, channels=(8, 4)),
    "conv_decoder with a bias": rp.conv_decoder(3, (1, 8, 8), 64, channels=(8, 4), output_bias=torch.ones(64)),
    "ordinary layers": nn.Sequential(
        *(nn.Unflatten(-1, (1, 8, 8)), nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4)),
        *(nn.ELU(0.5), nn.MaxPool2d(2), nn.Dropout(0.3), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 4, bias=False)),
        *(nn.Softplus(), nn.Sequential(nn.Linear(4, 6), nn.GLU(-1))),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back(name):
    network = NETWORKS[name].eval()
    built = round_trip(network).eval()
    built.load_state_dict(network.state_dict())
    x = torch.randn(5, *{"mlp": (1, 4, 4), "masked_mlp": (6,), "ordinary layers": (64,)}.get(name, (4,)))
    if name.startswith("conv"):
        x = torch.randn(5, *network.in_shape)
    torch.testing.assert_close(built(x), network(x), rtol=0, atol=0)


def test_networks_are_written_as_they_were_called():
    assert describe(rp.mlp(784, [400], 40)) == "mlp(784, [400], 40)"
    assert describe(copy.deepcopy(rp.mlp(784, [400], 40).double())) == "mlp(784, [400], 40)"
    assert describe(rp.conv_encoder((1, 28, 28), 40, norm="weight")) == "conv_encoder((1, 28, 28), 40, norm='weight')"
    bias = torch.zeros(784)
    assert describe(rp.mlp(20, [400], 784, nn.Tanh, output_bias=bias)) == (
        "mlp(20, [400], 784, activation=Tanh, output_bias=zeros(784))"
    )


def test_a_network_that_was_changed_after_its_call_is_written_layer_by_layer():
    network = rp.mlp(4, [5], 3)
    network[1] = nn.Tanh()
    assert describe(network) == "Sequential(Linear(4, 5), Tanh(), Linear(5, 3))"
    network.append(nn.Softplus())
    assert describe(network) == "Sequential(Linear(4, 5), Tanh(), Linear(5, 3), Softplus())"
    network = rp.mlp(4, [5], 1)
    network[1] = nn.Tanh()
    assert (
        describe(rp.NVIL(network)) == "NVIL(Sequential(Linear(4, 5), Tanh(), Linear(5, 1)))"
    )  # which prints no network


def test_torchs_layers_are_written_as_one_would():
    layers = (nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(4, 4, 3, stride=2, padding=(1, 0)), nn.Linear(2, 3))
    assert describe(nn.Sequential(*layers)) == (
        "Sequential(Conv2d(1, 4, (3, 3), bias=False), Conv2d(4, 4, (3, 3), stride=(2, 2), padding=(1, 0)), Linear(2, 3))"
    )


def test_two_modules_in_two_places_each_have_two_names():
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    text = describe(nn.Sequential(one, two, one, two))
    assert text == "Sequential((args := Linear(3, 3)), (args_ := Linear(3, 3)), args, args_)"


def test_a_list_that_its_owner_changes_later_is_written_as_it_was():
    hidden = [5]
    network = rp.mlp(4, hidden, 3)
    hidden.append(9)
    assert describe(network) == "mlp(4, [5], 3)"


def shared_scale_ladder():
    latent = rp.SharedScaleGaussian(2)
    encoder = rp.mlp(4, [], 4)
    nets = {"encoders": [encoder, encoder], "decoders": [rp.mlp(2, [], 4), rp.mlp(2, [], 2)]}
    return rp.Ladder([latent, latent], rp.Bernoulli(4), corrections=[nn.Linear(4, 2), nn.Linear(4, 2)], **nets)


LAYERED = {
    **dict(zip(hierarchies.IDS, hierarchies.MODELS, strict=True)),
    "ladder of a family and a network in two places": shared_scale_ladder,
    "learned top": lambda: rp.Hierarchy(
        *([rp.Gaussian(2)], rp.SharedScaleGaussian(4), [rp.mlp(4, [3], 4)], [rp.mlp(2, [3], 4)]),
        prior=rp.MixturePrior(rp.Gaussian(2), 5),
    ),
}
MODELS = {**{name: functools.partial(model_with, name) for name in OWN}, **LAYERED}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_weights(name):
    model = MODELS[name]().eval()
    built = round_trip(model).eval()
    same_layout(built, model)
    assert len(list(built.parameters())) == len(list(model.parameters()))  # what is shared is shared again
    built.load_state_dict(model.state_dict())
    x = torch.bernoulli(torch.full((7, *model.observation.event_shape), 0.5))
    weights = []
    for each in (model, built):
        torch.manual_seed(3)
        weights.append(rp.draw(each, x, num_samples=2).log_weight)
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_module_in_two_places_is_named():
    latent, encoder = rp.Gaussian(2), rp.mlp(6, [8], 4)
    model = rp.VAE(latent, rp.Bernoulli(6), encoder, rp.mlp(2, [8], 6), rp.VampPrior(latent, encoder, torch.rand(5, 6)))
    text = describe(model)
    assert text == (
        "VAE(Gaussian(2), Bernoulli(6), (encoder := mlp(6, [8], 4)), mlp(2, [8], 6), "
        "prior=VampPrior(Gaussian(2), encoder, zeros(5, 6)))"
    )
    built = parse(text)
    assert built.encoder is built.prior_module.encoder


def test_writing_and_comparing_leave_the_random_numbers_alone():
    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), rp.mlp(6, [8], 4), rp.mlp(2, [8], 6))
    before = torch.get_rng_state()
    describe(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_reading_draws_weights_in_the_order_of_the_text():
    torch.manual_seed(1)
    model = rp.VAE(rp.Gaussian(2), rp.Bernoulli(6), encoder=rp.mlp(6, [8], 4), decoder=rp.mlp(2, [8], 6))
    torch.manual_seed(1)
    built = parse("VAE(Gaussian(2), Bernoulli(6), encoder=mlp(6, [8], 4), decoder=mlp(2, [8], 6))")
    torch.testing.assert_close(built.state_dict(), model.state_dict(), rtol=0, atol=0)


class MyNet(nn.Linear):
    pass


class MyVAE(rp.VAE):
    pass


def vae(encoder=None, decoder=None, kind=rp.VAE):
    return kind(rp.Gaussian(2), rp.Bernoulli(6), encoder or rp.mlp(6, [8], 4), decoder or rp.mlp(2, [8], 6))


def tied():
    network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4), nn.Linear(6, 4))
    network[2].weight = network[1].weight
    return vae(network)


def with_a_weight_more():
    network = rp.mlp(6, [8], 4)
    network.extra = nn.Parameter(torch.zeros(3))
    return network


MODEL_REMEDY = r"; rp\.load\(run, model=your_model\) loads the weights into a model that you built\.$"
UNWRITABLE = {
    "network": (
        lambda: vae(MyNet(6, 4)),
        "^the VAE's encoder is a MyNet, which reparam cannot build" + ".*" + MODEL_REMEDY,
    ),
    "layer": (lambda: vae(nn.Sequential(MyNet(6, 4))), "^number 1 of the Sequential's args is a MyNet"),
    "model": (lambda: vae(kind=MyVAE), "^the model is a MyVAE, which" + ".*" + MODEL_REMEDY),
    "tied weights": (tied, "^the model is not what its text builds" + ".*" + MODEL_REMEDY),
    "schedule": (lambda: rp.Relaxed(lambda step: 1.0), "^the Relaxed's temperature is <function .* from text.$"),
    "stage": (lambda: rp.Stages((0, rp.RLOO()), (5, rp.NVIL(MyNet(2, 1)))), "^the NVIL's network is a MyNet"),
    "bound": (lambda: rp.Pathwise(2, lambda w: w.mean(0)), "^the Pathwise's bound is <function"),
    "zuko": (lambda: model_with("nsf"), "^the VAE's prior is a NSF"),
    "weight": (with_a_weight_more, "^it is not what its text builds: it has other weights"),
    "precision": (
        lambda: rp.TorchFamily(distributions.Binomial, 2, total_count=torch.tensor([2, 5], dtype=torch.float64)),
        "^it is not what its text builds: .* becomes",
    ),
    "number": (lambda: float("nan"), "^it is nan"),
    "tensor": (
        lambda: rp.TorchFamily(distributions.Binomial, 2000, total_count=torch.full((2000,), 3)),
        "total_count, is a tensor of 2000 numbers",
    ),
    "joint": (lambda: rp.Joint(**{"a b": rp.Gaussian(2)}), "^it is not what its text builds: cannot read"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_no_text_stands_for_is_refused_by_its_name(name):
    make, message = UNWRITABLE[name]
    with pytest.raises(ValueError, match=message) as refused:
        describe(make())
    assert "\n" not in str(refused.value)


def test_numbers_are_named_and_computed():
    assert parse("round(0.6 * steps)", steps=1001) == 601
    assert parse("min(500, steps // 4)", steps=1000) == 250
    assert parse("max(-steps + 2.5 - 1 / 2, -3)", steps=10) == -3
    cosine = parse("cosine(5e-3, steps, warmup=min(500, steps // 4))", steps=4690)
    assert cosine == rp.cosine(5e-3, 4690, warmup=500)
    stages = parse("Stages((0, Relaxed(geometric(1.0, 0.2, steps))), (round(0.6 * steps), RLOO(8)))", steps=100)
    assert str(stages) == str(rp.Stages((0, rp.Relaxed(rp.geometric(1.0, 0.2, 100))), (60, rp.RLOO(8))))


def test_a_torch_class_of_a_familys_name_is_torchs_only_in_a_torch_family():
    assert parse("TorchFamily(Gamma, 5)").distribution is distributions.Gamma
    assert parse("TorchFamily(shape=5, distribution=Beta)").distribution is distributions.Beta
    assert parse("Gamma(5)") == rp.Gamma(5)


REFUSED = {
    "Gausian(20)": r"cannot read 'Gausian\(20\)' at character 1: there is no Gausian\. The nearest is Gaussian\.",
    "VAE(Gaussian(2), bernouli(6))": r"'bernouli\(6\)' in 'VAE.*' at character 18: .* nearest is Bernoulli\.",
    "Gaussian(0)": r"shape is 0; it must be at least 1",
    "Gaussian(20, cov='full')": "unexpected keyword argument 'cov'",
    "Relaxed(0.5, kl='exct')": "kl is 'exct'; it must be one of",
    "Relaxed(RLOO)": r"RLOO takes arguments; write RLOO\(\.\.\.\)",
    "rp.Gaussian(20)": "write Gaussian without what stands before it",
    "TorchFamily(Gama, 5)": r"torch\.distributions has no Gama\. The nearest is Gamma\.",
    "TorchFamily(5, 5)": "is the name of a class of torch",
    "mlp(784, [400], 40, Than)": r"there is no Than\. The nearest is Tanh\.",
    "steps * 2": "there is no steps",
    "'a' * 3": "arithmetic is of numbers",
    "-True": "arithmetic is of numbers",
    "2 ** 9": "this is no number",
    "1 / 0": "division by zero",
    "round(5, -999999999)": "round is of one number",
    "min('a', 'b')": "min is of numbers",
    "Joint(*[1])": "this is no number",
    "Joint(**kinds)": r"\*\* is not read",
    "(Gaussian := 3)": "Gaussian is a name already",
    "": "cannot read ''",
    "Gaussian(20": r"cannot read 'Gaussian\(20' at character 9: '\(' was never closed",
    "a\0b": "null",
    "\ud800": "surrogates",
    "[" * 150 + "]" * 150: "nested more than 40 deep",
    "-" * 9000 + "1": "nested too deep",
    "1" * 20_001: "20001 characters; it must have at most 20000",
    "conv_encoder((1, 7, 7), 4)": "must be multiples of 4",
    "zeros(-1)": "imension",
    "TorchFamily(MultivariateNormal, 2, precision_matrix=tensor([[1, 2], [3, 4]]))": "to satisfy the constraint",
    "é + Gausian(3)": r"'é' in .* at character 1: there is no é",
    "('é', Gausian(3))": r"at character 7: there is no Gausian",
    "('\u2028', Gausian(3))": r"at character 7: there is no Gausian",
    "('é',\n Gausian(3))": r"at character 8: there is no Gausian",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:25].encode("unicode_escape").decode())
def test_a_text_that_cannot_be_read_says_where_and_why(text):
    with pytest.raises(ValueError, match=REFUSED[text]) as refused:
        parse(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def nested(names, uses):
    """A module in a module ..., each of which uses the one before so many times."""
    text = "(n0 := Sequential(Linear(2, 2)))"
    for number in range(1, names):
        text = f"(n{number} := Sequential({text}{f', n{number - 1}' * (uses - 1)}))"
    return text


def test_the_uses_of_a_name_count_as_what_it_stands_for():
    """30 uses of each of seven names were 30^7 layers, whose first forward pass would not have ended."""
    assert len(list(parse(nested(3, 30)).modules())) == 4
    assert parse(nested(8, 2))(torch.zeros(1, 2)).shape == (1, 2)
    for names in (4, 8):
        with pytest.raises(ValueError, match="with its names written out, the text has more than 20000 parts"):
            parse(nested(names, 30))


def test_arguments_of_other_types_are_refused():
    with pytest.raises(TypeError, match="text is 5; it must be a str"):
        parse(5)
    with pytest.raises(TypeError, match="steps is 'x'; it must be a number"):
        parse("1", steps="x")


def test_nothing_of_pythons_own_can_be_reached():
    reachable = {id(thing) for table in (CALLED, GIVEN, DISTRIBUTIONS) for thing in table.values()}
    assert not reachable & {id(thing) for thing in vars(builtins).values()}
    modules = {thing.__module__.split(".")[0] for table in (CALLED, GIVEN, DISTRIBUTIONS) for thing in table.values()}
    assert modules == {"reparam", "torch"}
    for name in vars(builtins):
        if name not in CALLED and name not in ("True", "False", "None"):
            for text in (name, f"{name}()", f"{name}('1')", f"Relaxed({name})"):
                with pytest.raises(ValueError, match="cannot read"):
                    parse(text)


NAMES = sorted({*CALLED, *GIVEN, *DISTRIBUTIONS, "steps", "eval", "exec", "open", "__import__", "Gausian", "x"})
# sizes stay small, so that what can be built is
LEAVES = st.one_of(
    st.sampled_from([*NAMES, "None", "True", "...", "b'x'", "1j", "1e999", "''", "'dreg'", "'full'", "f'{open}'"]),
    st.integers(-3, 9).map(str),
    st.sampled_from(["0.5", "-1.5", "1e-3", "nan"]),
)
JOINS = ["({0}, {1})", "[{0}, {1}]", "({0})({1})", "{0}.{1}", "{0}[{1}]", "{0} if {1} else 3", "[{0} for x in {1}]"]
JOINS += ["lambda: {0}", "(y := {0})", "{0} + {1}", "{0} // {1}", "{0} % {1}", "{0} * {1}", "{0} == {1}", "not {0}"]
CALLS = ["{2}({0}, {1})", "{2}({0})", "{2}()", "{2}({0}, a={1})", "{2}(*{0})", "{2}(**{0})", "{2}({0}, {1}, {0})"]
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda pattern, one, two, name: pattern.format(one, two, name),
        *(st.sampled_from(JOINS + CALLS * 3), inner, inner, st.sampled_from(NAMES)),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.one_of(TEXTS, TEXTS, st.text(max_size=60)))
@example("__import__('os').system('true')")
@example("(lambda: 0).__globals__")
@example("().__class__.__base__.__subclasses__()")
@example("'{0.__class__}'.format(1)")
@example("\x0cGausian(3)\x85")
@example("(1,\r'\u2028', Gausian)")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_read_or_refused(text):
    message = ""
    try:
        made = parse(text, steps=10)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    if not message:
        assert (
            not callable(made) or made in GIVEN.values() or type(made) in CALLED.values() or isinstance(made, nn.Module)
        )


def test_all_priors_are_among_those_tried():
    tried = {type(model_with(name).prior_module).__name__ for name in [*DISCRETE, *CONTINUOUS]}
    assert tried >= {name for name in CALLED if name.endswith("Prior")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10 * 1000000 * 1000000000", "whole numbers go up to 1e"),
        ("[(a := 9), (b := a * a)]", "names are for modules in two places"),
    ],
)
def test_a_text_cannot_grow_without_end(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)
