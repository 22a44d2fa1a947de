"""Presets: each is described, builds, takes a step, and is the model that a script of its name makes."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import reparam as rp
from reparam.catalogue import ENTRIES
from reparam.experiment import Experiment
from reparam.experiment.build import build_estimator, build_lr, build_model, build_optimizer
from reparam.expressions import describe, parse

STEPS = 469
TUNED = {
    "bernoulli-10-epochs": (rp.Bernoulli(20), 10, 7e-3, 0.0, 0.2, 8),
    "categorical-10-epochs": (rp.Categorical(20, 10), 10, 5e-3, 0.6, 0.2, 8),
    "bernoulli-5-minutes": (rp.Bernoulli(20), 105, 5e-3, 0.85, 0.1, 4),
    "categorical-5-minutes": (rp.Categorical(20, 10), 100, 5e-3, 1.0, 0.1, 4),
}


@pytest.fixture(scope="module")
def images():
    """Sixteen of them."""
    return {protocol: rp.Data(rp.mnist(protocol).train.values[:16], protocol) for protocol in ("grey", "dynamic")}


@pytest.mark.parametrize("name", rp.presets)
def test_a_preset_builds_and_takes_a_step(name, images):
    preset = rp.presets[name]
    data = images[preset.dataset.protocol]
    torch.manual_seed(preset.training.seed)
    model = build_model(preset, data)
    assert str(model.latent) == str(parse(preset.model.latent))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    estimator, optimizer = build_estimator(preset, STEPS), build_optimizer(preset, model)
    epochs = rp.fit(model, estimator, data, epochs=1, lr=build_lr(preset, STEPS), optimizer=optimizer)
    assert epochs[0].steps == 1
    assert all((new != old).any() for new, old in zip(model.parameters(), before, strict=True))
    if "5-minutes" not in name and "bernoulli-local" not in name:
        assert describe(model).startswith("VAE(")
        assert str(parse(describe(estimator))) == str(estimator)


@pytest.mark.parametrize("name", rp.presets)
def test_a_preset_is_described_in_one_line_and_comes_back_from_json(name):
    preset = rp.presets[name]
    assert 10 < len(preset.description) < 110
    assert "\n" not in preset.description
    assert Experiment.from_json(preset.to_json()) == preset


def test_descriptions_differ():
    assert len({preset.description for preset in rp.presets.values()}) == len(rp.presets)


def test_there_is_a_preset_for_every_estimator():
    there = {type(build_estimator(preset, STEPS)).__name__ for preset in rp.presets.values()}
    public = {type(entry.make(20, (784,))).__name__ for entry in ENTRIES} | {"Stages"}
    assert there == public


def script_model(latent):
    """As the example scripts make it."""
    return rp.VAE(
        latent,
        rp.Bernoulli(784),
        encoder=rp.mlp(784, [400], latent.num_params),
        decoder=rp.mlp(latent.num_features, [400], 784),
    )


@pytest.mark.parametrize(
    ("name", "latent", "script"),
    [
        ("vae", rp.Gaussian(20), "gaussian_vae"),
        ("gaussian", rp.Gaussian(20), "gaussian_vae"),
        ("binconcrete", rp.Bernoulli(20), "binconcrete"),
        ("concrete", rp.Categorical(20, 10), "concrete"),
    ],
)
def test_an_examples_preset_gives_the_digits_of_its_script(name, latent, script):
    preset, data = rp.presets[name], rp.Data(rp.mnist("grey").train.values[:300], "grey")
    estimator = rp.Relaxed(rp.exponential(1.0, 0.1, rate=3e-5), kl="exact")
    torch.manual_seed(1)
    theirs = script_model(latent)
    expected = rp.fit(theirs, rp.Pathwise() if latent == rp.Gaussian(20) else estimator, data, epochs=2, lr=1e-3)
    torch.manual_seed(preset.training.seed)
    model = build_model(preset, data)
    how = {"batch_size": preset.training.batch_size, "optimizer": build_optimizer(preset, model)}
    found = rp.fit(model, build_estimator(preset, 10), data, epochs=2, lr=build_lr(preset, 10), **how)
    assert [epoch.loss for epoch in found] == [epoch.loss for epoch in expected]
    torch.testing.assert_close(model.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert preset.training.epochs == 10


@pytest.mark.parametrize("name", TUNED)
def test_a_tuned_preset_trains_where_it_says(name):
    latent, epochs, peak, relaxed_share, end, num_samples = TUNED[name]
    preset = rp.presets[name]
    assert parse(preset.model.latent) == latent
    assert (preset.training.epochs, preset.training.batch_size, preset.training.optimizer) == (epochs, 128, "adamw")
    assert preset.training.weight_decay == (0.05 if name == "bernoulli-5-minutes" else 0)
    assert preset.model.output_bias
    num_steps = epochs * STEPS
    lr, estimator = build_lr(preset, num_steps), build_estimator(preset, num_steps)
    assert lr == rp.cosine(peak, num_steps, warmup=500)
    assert build_lr(preset, 400).warmup == 100
    switch = round(relaxed_share * num_steps)
    for step in (0, switch - 1, switch, num_steps - 1):
        if 0 <= step < num_steps:
            now = estimator.at(step)
            assert str(now) == str(
                rp.Relaxed(end ** (step / num_steps)) if step < switch else rp.RLOO(num_samples)
            ) or (isinstance(now, rp.Relaxed) and now.temperature == pytest.approx(end ** (step / num_steps)))


def test_the_iwae_presets_are_the_one_layer_model_of_the_reproduction():
    data = rp.mnist("dynamic").train
    for name, estimator in (("iwae-5", rp.Pathwise(5, rp.iwae)), ("iwae-50", rp.Pathwise(50, rp.iwae))):
        preset = rp.presets[name]
        torch.manual_seed(1)
        bias = data.mean_logits()
        encoder = rp.mlp(784, [200, 200], 100, nn.Tanh)
        theirs = rp.VAE(
            rp.Gaussian(50), rp.Bernoulli(784), encoder, rp.mlp(50, [200, 200], 784, nn.Tanh, output_bias=bias)
        )
        torch.manual_seed(1)
        model = build_model(preset, data)
        assert describe(model) == describe(theirs)
        torch.testing.assert_close(model.state_dict(), theirs.state_dict(), rtol=0, atol=0)
        assert build_estimator(preset, 12_000) == estimator
        assert build_lr(preset, 12_000) == rp.cosine(1e-3, 12_000)
        assert (preset.training.epochs, preset.training.batch_size, preset.dataset.protocol) == (20, 100, "dynamic")


def test_a_preset_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^there is no preset 'bernouli-rlo'\. The nearest is bernoulli-rloo\.$"):
        rp.presets["bernouli-rlo"]
    assert rp.presets.get("nothing") is None
    assert "nothing" not in rp.presets


def test_presets_are_listed_without_torch():
    code = "import sys, reparam; len(reparam.presets), reparam.Experiment().to_json(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
