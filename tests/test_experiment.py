"""Experiments: plain values, kept as JSON that somebody may have edited, and what is built of them."""

import copy
import dataclasses
import json

import pytest
import torch
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reparam as rp
from reparam.adam import FusedAdam
from reparam.experiment import Experiment, ModelOptions, TrainingOptions
from reparam.experiment.build import build_estimator, build_lr, build_model, build_optimizer
from reparam.expressions import describe

SECTIONS = ("model", "dataset", "training", "evaluation", "machine")
FLAT = rp.Data(torch.rand(20, 64))
IMAGES = rp.Data(torch.rand(20, 1, 8, 8))


def options():
    experiment = Experiment()
    return [each for name in SECTIONS for each in dataclasses.fields(getattr(experiment, name))]


def test_no_two_options_have_one_name():
    names = [each.name for each in [*options(), *dataclasses.fields(Experiment)]]
    assert len(names) == len(set(names))


def test_every_option_is_explained_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(tyro.conf.OmitArgPrefixes[Experiment], args=["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for each in options():
        name = each.name.replace("_", "-")
        assert f"--{name}" in printed
        explained = printed.split(f"--{name} ")[1] if f"--{name} " in printed else printed.split(f"--{name},")[1]
        assert "default:" in explained
    for name in SECTIONS:
        documented = type(getattr(Experiment(), name)).__doc__
        for each in dataclasses.fields(getattr(Experiment(), name)):
            assert f"        {each.name}: " in documented


def test_the_command_line_makes_an_experiment_of_flat_options():
    args = ["--latent", "Bernoulli(20)", "--hidden", "200", "100", "--epochs", "3", "--resize", "28", "28", "--compile"]
    made = tyro.cli(tyro.conf.OmitArgPrefixes[Experiment], args=args)
    assert made == Experiment().replace(
        latent="Bernoulli(20)", hidden=(200, 100), epochs=3, resize=(28, 28), compile=True
    )


def test_options_are_replaced_by_their_names_wherever_they_stand():
    experiment = Experiment().replace(epochs=3, latent="Bernoulli(20)", description="x", patience=2)
    assert (experiment.training.epochs, experiment.model.latent, experiment.evaluation.patience) == (
        3,
        "Bernoulli(20)",
        2,
    )
    assert experiment.replace(patience=0, evaluate_every=0).evaluation.evaluate_every == 0
    assert experiment.replace(model=ModelOptions(hidden=())).model.hidden == ()
    with pytest.raises(ValueError, match=r"^there is no option epoch\. The nearest is epochs\.$"):
        experiment.replace(epoch=3)
    with pytest.raises(ValueError, match=r"^epochs is '3'; it must be a whole number, at least 1\.$"):
        experiment.replace(epochs="3")


WRONG = [
    ("epochs", 0, r"epochs is 0; it must be a whole number, at least 1\."),
    ("epochs", 2.0, r"epochs is 2\.0; it must be a whole number, at least 1\."),
    ("epochs", True, "epochs is True; it must be a whole number"),
    ("epochs", None, "epochs is None; it must be a whole number"),
    ("seed", -1, "seed is -1; it must be a whole number, at least 0 and at most 9223372036854775807"),
    ("seed", 2**63, "seed is 9223372036854775808; it must be a whole number"),
    ("latent", 5, "latent is 5; it must be text"),
    ("latent", "", "latent is ''; it must be text"),
    ("lr", 0.001, r"lr is 0\.001; it must be text"),
    ("network", "convv", r"network is 'convv'; it must be one of mlp, gated_mlp, conv\. The nearest is conv\."),
    ("network", [], r"network is \(\); it must be one of"),
    ("precision", "bf16", r"precision is 'bf16'; it must be one of 32-true, bf16-mixed, 16-mixed, 64-true\."),
    ("hidden", 400, "hidden is 400; it must be a tuple of whole numbers, at least 1"),
    ("hidden", [400, 0], r"hidden is \(400, 0\); it must be a tuple of whole numbers, at least 1"),
    ("hidden", [4.5], r"hidden is \(4\.5,\); it must be a tuple of whole numbers"),
    ("resize", [28], r"resize is \(28,\); it must be 2 whole numbers or null, at least 1"),
    ("resize", [28, 0], r"resize is \(28, 0\); it must be"),
    ("output_bias", 1, "output_bias is 1; it must be true or false"),
    ("control_lr", 0, "control_lr is 0; it must be a finite number, above 0"),
    ("control_lr", "fast", "control_lr is 'fast'; it must be a finite number, above 0"),
    ("weight_decay", float("nan"), "weight_decay is nan; it must be a finite number, at least 0"),
    ("clip", float("inf"), "clip is inf; it must be a finite number"),
    ("clip", {"norm": 1}, r"clip is \{'norm': 1\}; it must be a finite number"),
    ("clip", True, "clip is True; it must be a finite number"),
    ("description", None, "description is None; it must be text"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG, ids=str)
def test_a_value_that_an_option_cannot_have_is_refused(name, value, message):
    values = Experiment().to_values()
    where = values if name in values else next(values[section] for section in SECTIONS if name in values[section])
    where[name] = value
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        Experiment.from_json(json.dumps(values))
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=f"^{name} is "):
        Experiment().replace(**{name: tuple(value) if isinstance(value, list) else value})


def edited(**changes):
    values = Experiment().to_values()
    for path, value in changes.items():
        *sections, name = path.split("__")
        where = values
        for section in sections:
            where = where[section]
        if value is ...:
            del where[name]
        else:
            where[name] = value
    return json.dumps(values)


SPOILT = {
    "unknown option": (edited(model__latnt="x"), r"^model has no option 'latnt'\. The nearest is latent\.$"),
    "unknown section": (edited(trainin={}), r"^the experiment has no option 'trainin'\. The nearest is training\.$"),
    "missing option": (
        edited(training__epochs=...),
        r'^training lacks the option epochs; add it, such as "epochs": 10\.$',
    ),
    "missing section": (edited(machine=...), r'^the experiment lacks the option machine; .* "machine": \{\.\.\.\}\.$'),
    "section of another kind": (
        edited(dataset=[1, 2]),
        r"^dataset is \(1, 2\); it must be an object with data, protocol",
    ),
    "two that contradict": (edited(evaluation__patience=3, evaluation__evaluate_every=0), "^patience is 3 and"),
    "list": ("[]", r"^the experiment is \[\]; it must be an object with description, model, dataset"),
    "null": ("null", "^the experiment is None; it must be an object"),
    "text": ('"gaussian"', "^the experiment is 'gaussian'; it must be an object"),
    "empty": ("", "^this is no JSON: Expecting value in line 1, column 1"),
    "cut short": (Experiment().to_json()[:300], "^this is no JSON: .* in line 1[0-9], column"),
    "trailing comma": ('{"model": {},}', "^this is no JSON: "),
    "twice": ('{"epochs": 1, "epochs": 2}', r"^the option 'epochs' is given twice\."),
    "deep": ("[" * 100_000, "^this is no experiment: the JSON is nested too deep"),
    "digits": ("9" * 5000, "limit"),
    "long": (json.dumps({"x" * 5000: 1}), "^the experiment has no option 'xx"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_is_refused_in_one_line(name):
    text, message = SPOILT[name]
    with pytest.raises(ValueError, match=message) as refused:
        Experiment.from_json(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["mlp", "Gaussian(2)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(choice=st.integers(0, 35), value=JSONS)
def test_any_value_of_any_option_is_kept_or_refused(choice, value):
    values = Experiment().to_values()
    places = [(values, name) for name in values] + [(values[part], name) for part in SECTIONS for name in values[part]]
    where, name = places[choice % len(places)]
    where[name] = value
    message = ""
    try:
        made = Experiment.from_values(values)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    if not message:
        assert Experiment.from_json(made.to_json()) == made
        assert made.to_values() == values


def test_an_experiment_comes_back_from_json():
    experiment = Experiment().replace(
        **{"hidden": (), "resize": (28, 28), "lr": "cosine(5e-3, steps)", "clip": 1, "description": 'a "b" \n ü'}
    )
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert json.loads(experiment.to_json())["dataset"]["resize"] == [28, 28]


def build(data=FLAT, **changes):
    torch.manual_seed(1)
    return build_model(Experiment().replace(**{"latent": "Gaussian(2)", "hidden": (8,), **changes}), data)


BUILT = {
    "mlp": (FLAT, {}, "VAE(Gaussian(2), Bernoulli(64), mlp(64, [8], 4), mlp(2, [8], 64))"),
    "widths": (
        *(FLAT, {"hidden": (8, 5), "activation": "silu"}),
        "VAE(Gaussian(2), Bernoulli(64), mlp(64, [8, 5], 4, activation=SiLU), mlp(2, [5, 8], 64, activation=SiLU))",
    ),
    "linear": (FLAT, {"hidden": ()}, "VAE(Gaussian(2), Bernoulli(64), mlp(64, [], 4), mlp(2, [], 64))"),
    "images": (
        *(IMAGES, {"activation": "tanh"}),
        "VAE(Gaussian(2), Bernoulli((1, 8, 8)), mlp((1, 8, 8), [8], 4, activation=Tanh), mlp(2, [8], 64, activation=Tanh))",
    ),
    "gated": (
        *(FLAT, {"network": "gated_mlp", "prior": "learned"}),
        "VAE(Gaussian(2), Bernoulli(64), gated_mlp(64, [8], 4), gated_mlp(2, [8], 64), prior=LearnedPrior(Gaussian(2)))",
    ),
    "conv": (
        *(IMAGES, {"network": "conv", "hidden": (4, 8), "activation": "elu", "output_bias": True}),
        "VAE(Gaussian(2), Bernoulli((1, 8, 8)), conv_encoder((1, 8, 8), 4, channels=[4, 8], activation=ELU), "
        "conv_decoder(2, (1, 8, 8), 64, channels=[8, 4], activation=ELU, output_bias=zeros(64)))",
    ),
    "mixture": (
        *(FLAT, {"prior": "mixture", "prior_components": 5, "observation": "Gaussian(scale=0.1)"}),
        "VAE(Gaussian(2), Gaussian(64, scale=0.1), mlp(64, [8], 4), mlp(2, [8], 64), prior=MixturePrior(Gaussian(2), 5))",
    ),
    "vamp": (
        *(FLAT, {"prior": "vamp", "prior_components": 5}),
        "VAE(Gaussian(2), Bernoulli(64), (encoder := mlp(64, [8], 4)), mlp(2, [8], 64), "
        "prior=VampPrior(Gaussian(2), encoder, zeros(5, 64)))",
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_a_model_is_built_as_its_options_say(name):
    data, changes, text = BUILT[name]
    model = build(data, **changes)
    assert describe(model) == text
    assert rp.draw(model, data[:3]).log_weight.shape == (1, 3)


def test_weights_are_drawn_for_the_encoder_then_the_decoder_then_the_prior():
    model = build(prior="mixture", prior_components=5)
    torch.manual_seed(1)
    parts = [rp.mlp(64, [8], 4), rp.mlp(2, [8], 64), rp.MixturePrior(rp.Gaussian(2), 5)]
    for found, expected in zip((model.encoder, model.decoder, model.prior_module), parts, strict=True):
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_the_decoder_begins_at_the_mean_of_the_data_if_asked_to():
    torch.testing.assert_close(build(output_bias=True).decoder[-1].bias.detach(), FLAT.mean_logits())
    assert not torch.allclose(build().decoder[-1].bias.detach(), FLAT.mean_logits())


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("Bernoulli", rp.Bernoulli(64)),
        ("Bernoulli()", rp.Bernoulli(64)),
        (" Bernoulli ", rp.Bernoulli(64)),
        ("Bernoulli(64)", rp.Bernoulli(64)),
        ("Bernoulli(shape)", rp.Bernoulli(64)),
        ("Ordinal(4)", rp.Ordinal(64, 4)),
        (
            "DiscretizedLogistic(num_levels=9, num_components=2)",
            rp.DiscretizedLogistic(64, num_levels=9, num_components=2),
        ),
        ("TorchFamily(Laplace, shape)", rp.TorchFamily(torch.distributions.Laplace, 64)),
        ("Joint(a=Bernoulli(60), b=Gaussian(4))", rp.Joint(a=rp.Bernoulli(60), b=rp.Gaussian(4))),
    ],
)
def test_the_shape_of_an_observation_is_that_of_the_data(text, family):
    assert str(build(observation=text).observation) == str(family)


REFUSED = {
    "no family": ({"latent": "RLOO(4)"}, r"^latent is 'RLOO\(4\)'; it must be a family such as"),
    "misspelt": ({"latent": "Bernouli(4)"}, "there is no Bernouli. The nearest is Bernoulli"),
    "misspelt observation": ({"observation": "Bernouli"}, "there is no Bernouli. The nearest is Bernoulli"),
    "misspelt argument": (
        {"observation": "Gaussian(scal=1)"},
        r"^observation is 'Gaussian\(scal=1\)'; Gaussian has an unexpected keyword argument 'scal'; it takes shape, ",
    ),
    "other shape": (
        {"observation": "Bernoulli(63)"},
        r"^cannot read 'Bernoulli\(shape, 63\)'|of shape \(63,\), and an example",
    ),
    "flat images": ({"network": "conv"}, r"^network is conv, and an example has the shape 64; it must be an image"),
    "bias": (
        {"output_bias": True, "observation": "Gaussian"},
        "^output_bias begins the decoder at log-odds, and the obs",
    ),
    "pseudo-inputs": ({"prior": "vamp"}, "^prior_components is 100, and there are 20 training examples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_do_not_fit_the_data_are_refused(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as refused:
        build(**changes)
    assert "\n" not in str(refused.value)


def test_estimators_and_learning_rates_see_the_number_of_steps():
    experiment = Experiment().replace(estimator="Relaxed(geometric(1.0, 0.1, steps))", lr="cosine(1e-2, steps)")
    assert build_estimator(experiment, 50).at(50).temperature == pytest.approx(0.1)
    assert build_lr(experiment, 50) == rp.cosine(1e-2, 50)
    assert build_lr(Experiment(), 50) == 0.001
    assert build_lr(Experiment().replace(lr="1e-4 * 3"), 50) == pytest.approx(3e-4)


@pytest.mark.parametrize("text", ["Gaussian(20)", "0.5", "iwae", "Tanh", "'RLOO'"])
def test_what_is_no_estimator_is_refused(text):
    with pytest.raises(ValueError, match=r"^estimator is .*; it must be an estimator such as RLOO"):
        build_estimator(Experiment().replace(estimator=text), 10)


@pytest.mark.parametrize("text", ["iwae", "RLOO(4)", "'0.1'", "True", "mlp(1, [], 1)", "(0.1,)", "1 / steps", "None"])
def test_what_is_no_learning_rate_is_refused(text):
    with pytest.raises(ValueError, match=r"^lr is .*; it must be a number or a schedule such as cosine"):
        build_lr(Experiment().replace(lr=text), 10)
    with pytest.raises(ValueError, match=r"^lr is -0\.1; it must be finite and above 0\. Such a number is 0\.001\.$"):
        build_lr(Experiment().replace(lr="-0.1"), 10)


def test_the_optimiser_is_the_one_that_was_asked_for():
    model = build()
    asked = {"weight_decay": 0.5, "lr": "0.25"}
    adam = build_optimizer(Experiment().replace(adam_eps=1e-4, **asked), model)
    assert type(adam) is FusedAdam
    values = {"lr": 0.25, "eps": 1e-4, "weight_decay": 0.5, "betas": (0.9, 0.999)}
    assert values.items() <= adam.param_groups[0].items()
    elsewhere = copy.deepcopy(model).to("meta")
    among = build_optimizer(Experiment().replace(adam_eps=1e-4, **asked), elsewhere)
    assert type(among) is torch.optim.Adam
    assert {**values, "fused": False, "amsgrad": False}.items() <= among.param_groups[0].items()
    adamw = build_optimizer(Experiment().replace(optimizer="adamw", **asked), model)
    assert adamw.kernel is torch._fused_adamw_
    assert type(build_optimizer(Experiment().replace(optimizer="adamw"), elsewhere)) is torch.optim.AdamW
    sgd = build_optimizer(Experiment().replace(optimizer="sgd", **asked), model)
    assert {"lr": 0.25, "weight_decay": 0.5, "momentum": 0.9}.items() <= sgd.param_groups[0].items()
    assert len(adam.param_groups[0]["params"]) == len(list(model.parameters()))


def test_the_optimiser_leaves_out_what_is_frozen():
    model = build()
    model.encoder.requires_grad_(False)
    assert len(build_optimizer(Experiment(), model).param_groups[0]["params"]) == len(list(model.decoder.parameters()))
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        build_optimizer(Experiment(), nn.Flatten())
    schedule = Experiment().replace(lr="cosine(1e-2, steps)")
    assert build_optimizer(schedule, model).param_groups[0]["lr"] == 1e-3


def test_options_are_checked_when_they_are_made():
    with pytest.raises(ValueError, match=r"^batch_size is 0"):
        TrainingOptions(batch_size=0)
    with pytest.raises(ValueError, match=r"^model is None; it must be ModelOptions\(\.\.\.\)"):
        Experiment(model=None)
