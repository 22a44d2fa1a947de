"""Presets: each builds, trains and begins where it says."""

import dataclasses

import pytest
import torch
from torch import nn

import reparam as rp

STEPS = 469


@pytest.mark.parametrize("name", rp.presets)
def test_a_preset_builds_and_trains(name):
    preset, data = rp.presets[name], rp.Data(rp.mnist("grey").train.values[:256], "grey")
    model = preset.build(data)
    before = rp.evaluate(model, data, num_samples=2).elbo.value
    epochs = dataclasses.replace(preset, epochs=3).fit(model, data)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert rp.evaluate(model, data, num_samples=2).elbo.value > before
    num_steps = preset.epochs * STEPS
    lr, estimator = preset.lr(num_steps), preset.estimator(num_steps)
    assert lr(499) == pytest.approx(preset.peak_lr)
    assert lr(num_steps) == pytest.approx(0, abs=1e-12)
    switch = round(preset.relaxed_share * num_steps)
    for step in (0, switch - 1, switch, num_steps - 1):
        now = estimator.at(max(step, 0))
        assert isinstance(now, rp.Relaxed if step < switch else rp.RLOO) or not 0 <= step < num_steps
        if isinstance(now, rp.Relaxed):
            assert now.temperature == pytest.approx(preset.end_temperature ** (step / num_steps))


def test_a_decoder_starts_at_the_datas_mean():
    data = rp.mnist("grey").train
    decoder = rp.mlp(20, [400], 784, output_bias=data.mean_logits())
    with torch.no_grad():
        decoder[-1].weight.zero_()
    means = decoder(torch.zeros(1, 20)).sigmoid()[0]
    exact = (data.values.double().mean(0) / 255).clamp(1e-3, 1 - 1e-3).float()
    torch.testing.assert_close(means, exact)


def test_refusals_of_a_start():
    with pytest.raises(ValueError, match=r"output_bias has shape \(3,\); it must be \(4,\)"):
        rp.mlp(2, [], 4, output_bias=torch.zeros(3))
    with pytest.raises(ValueError, match="data lie outside"):
        rp.Data(torch.randn(5, 3)).mean_logits()
    assert isinstance(rp.mlp(2, [], 4, output_bias=torch.ones(4))[0], nn.Linear)
