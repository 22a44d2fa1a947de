"""Texts as options: every public name is a training or one good sentence; layers of latents from the command line."""

import re

import pytest
import torch
from commands import SMALL, call, save_images

import reparam as rp
from reparam._spelling import spelled_as
from reparam.experiment import Experiment
from reparam.experiment.build import build_estimator, build_lr, build_model
from reparam.expressions import describe, parse
from reparam.expressions.names import CALLED
from reparam.runs.trying import try_out

DATA = rp.Data(torch.rand(20, 16), "grey")
OPTIONS = {name: f"--{name}" for name in ("latent", "observation", "estimator", "lr", "network", "hidden", "prior")}
PYTHONS = re.compile(
    r"positional|object is not|unsupported operand|__init__|has no attribute|not iterable|<class|\n|\brp\."
)
FORMS = ("{}", "{}()", "{}(3)", "{}(Gaussian(3))", "{}(3, 2)", "{}(a=3)")


def tried(option, text):
    """What an experiment with this text ends in before its training: None, or the error."""
    experiment = Experiment().replace(latent="Gaussian(3)", hidden=(8,)).replace(**{option: text})
    try:
        with spelled_as(OPTIONS):
            build_lr(experiment, 10)
            estimator = build_estimator(experiment, 10)
            try_out(experiment, build_model(experiment, DATA), estimator, DATA)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("option", ["latent", "observation", "estimator", "lr"])
def test_every_public_name_is_a_training_or_one_sentence_that_names_the_option(option):
    torch.manual_seed(1)
    trains = set()
    for name in rp.__all__:
        for form in FORMS if name in CALLED else FORMS[:1]:
            text = form.format(name)
            message = tried(option, text)
            if message is None:
                trains.add(name)
                continue
            assert re.match(r"--(latent|observation|estimator|lr) is '", message), (text, message)
            assert not PYTHONS.search(message), (text, message)
            assert len(message) < 450, (text, message)
            if name not in CALLED and name not in ("elbo", "iwae"):
                assert f"there is no {name}. " in message, (text, message)
    expected = {"latent": {"Gaussian", "Beta", "VonMises"}, "observation": {"Bernoulli", "Gaussian", "Laplace"}}
    expected |= {"estimator": {"Pathwise", "RLOO", "VIMCO", "TVO", "REINFORCE"}, "lr": set()}
    assert trains >= expected[option]


def test_what_a_call_lacks_is_told_with_what_it_takes():
    found = {
        "Categorical(20)": "Categorical lacks num_categories; it takes shape, num_categories",
        "Gaussian(2, 3, 4, 5)": "Gaussian has 4 values without a name and takes 1; it takes shape, covariance, scale",
        "Gaussian(2, shape=3)": "Gaussian has the argument 'shape' twice; it takes shape, covariance, scale",
        "WakeSleep(1)": "WakeSleep has 1 value without a name and takes none; it takes none",
        "TorchFamily(Gamma)": "lacks shape; it takes distribution, shape, values with names of your own",
        "tvo(3)": r"partition is 3; it must be a tuple of numbers, such as \(0.0, 0.1, 0.3\)",
        "elbo()": "elbo takes no arguments; write elbo",
        "mlp(2, [3], 100000000000000)": "there is not enough memory for mlp of this size; take a smaller one",
    }
    for text, message in found.items():
        with pytest.raises(ValueError, match=message):
            parse(text)


def test_a_name_without_parentheses_is_called_without_arguments():
    assert str(build_estimator(Experiment().replace(estimator="RLOO"), 10)) == str(rp.RLOO())
    assert tried("observation", "Bernoulli") is None


LAYERED = {
    "Hierarchy(Gaussian(3), Gaussian(2))": (
        {},
        "Hierarchy([Gaussian(3), Gaussian(2)], Bernoulli(16), [mlp(16, [8], 6), mlp(3, [8], 4)], "
        "[mlp(3, [8], 16), mlp(2, [8], 6)])",
    ),
    "Hierarchy([Bernoulli(4), Categorical(2, 3)])": (
        {"hidden": (), "prior": "learned"},
        "Hierarchy([Bernoulli(4), Categorical(2, 3)], Bernoulli(16), [mlp(16, [], 4), mlp(4, [], 6)], "
        "[mlp(4, [], 16), mlp(6, [], 4)], prior=LearnedPrior(Categorical(2, 3)))",
    ),
    "Hierarchy(latents=(Gaussian(3),))": (
        {"network": "gated_mlp", "prior": "mixture", "prior_components": 4},
        "Hierarchy([Gaussian(3)], Bernoulli(16), [gated_mlp(16, [8], 6)], [gated_mlp(3, [8], 16)], "
        "prior=MixturePrior(Gaussian(3), 4))",
    ),
    "Ladder(Gaussian(3), Gaussian(2))": (
        {"hidden": (8, 5)},
        "Ladder([Gaussian(3), Gaussian(2)], Bernoulli(16), [mlp(16, [8, 5], 5), mlp(5, [8, 5], 5)], "
        "[Linear(5, 6), Linear(5, 4)], [mlp(3, [5, 8], 16), mlp(2, [5, 8], 6)])",
    ),
    "Ladder(Gaussian(3))": (
        {"hidden": ()},
        "Ladder([Gaussian(3)], Bernoulli(16), [mlp(16, [], 6)], [Linear(6, 6)], [mlp(3, [], 16)])",
    ),
}


@pytest.mark.parametrize("text", LAYERED)
def test_layers_of_latents_have_the_networks_of_the_options(text):
    options, expected = LAYERED[text]
    model = build_model(Experiment().replace(**{"latent": text, "hidden": (8,), **options}), DATA)
    assert describe(model) == expected
    assert rp.draw(model, DATA[:3], num_samples=2).log_weight.shape == (2, 3)


@pytest.mark.parametrize(
    "given", ["latents=3", "3", "[3]", "[]", "Gaussian(3), [Gaussian(2)]", "Gaussian(3), encoders=[]"]
)
def test_layers_that_are_none_are_refused(given):
    message = tried("latent", f"Ladder({given})")
    assert message.startswith(
        f"--latent is 'Ladder({given})'; Ladder takes the families of its layers here and nothing"
    )
    assert "such as Ladder(Gaussian(50), Gaussian(20)); --network, --hidden and --prior say the rest." in message


def test_the_lowest_decoder_of_layers_begins_at_the_mean_of_the_data():
    experiment = Experiment().replace(latent="Hierarchy(Gaussian(3), Gaussian(2))", output_bias=True)
    torch.testing.assert_close(build_model(experiment, DATA).decoders[0][-1].bias.detach(), DATA.mean_logits())


@pytest.mark.parametrize(
    ("latent", "estimator"),
    [("Hierarchy(Bernoulli(4), Bernoulli(3))", "RLOO(4)"), ("Ladder(Gaussian(3), Gaussian(2))", "Pathwise()")],
)
def test_layers_are_trained_resumed_measured_and_drawn(latent, estimator, capsys, tmp_path):
    run, data = tmp_path / "run", save_images(tmp_path / "d.npy")
    options = (*SMALL, "--data", data, "--validation", 20, "--latent", latent, "--estimator", estimator)
    assert call(capsys, "train", "gaussian", *options, "--run", run)[0] == 0
    assert call(capsys, "resume", run, "--epochs", 2)[0] == 0
    for command in (("evaluate", "--num-samples", 2), ("sample",), ("reconstruct",), ("interpolate",)):
        assert call(capsys, command[0], run, *command[1:])[0] == 0
    code, out, err = call(capsys, "traverse", run)
    assert (code, out) == (2, "")
    assert "layers depend on one another. Draw from it with sample, or walk between two examples with interp" in err
    code, out, _ = call(capsys, "compare", run)
    assert code == 0
    assert latent in " ".join(out.split())
    assert describe(rp.load(run)).startswith(latent.partition("(")[0])


def test_trying_out_uses_up_no_random_number_and_changes_nothing():
    experiment = Experiment().replace(latent="Bernoulli(3)", estimator="REINFORCE()", hidden=(8,))
    model, estimator = build_model(experiment, DATA), build_estimator(experiment, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    try_out(experiment, model, estimator, DATA)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    fresh = build_estimator(experiment, 10)
    assert {**vars(estimator), "_buffers": {}}.keys() == {**vars(fresh), "_buffers": {}}.keys()
    assert str(estimator.state_dict() if hasattr(estimator, "state_dict") else "") == str(
        fresh.state_dict() if hasattr(fresh, "state_dict") else ""
    )
