"""What a training logs is what it uses at that moment."""

import json
import time

import pytest
import torch
from helpers import small_vae
from torch import nn

import reparam as rp
from reparam.cli.live import Lines
from reparam.estimators.estimate import in_use


def lines(folder, kind="train"):
    return [
        each for each in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if each["kind"] == kind
    ]


@pytest.mark.parametrize("kind", ["REBAR", "RELAX", "in stages"])
def test_a_learned_temperature_is_logged_as_learned(kind, tmp_path, capsys):
    """Before, the metrics, the bar and the lines had the initial 0.5 for ever."""
    torch.manual_seed(1)
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(16, 6)
    learner = rp.RELAX(rp.mlp(9, [4], 1, nn.Tanh)) if kind == "RELAX" else rp.REBAR()
    estimator = rp.Stages((0, rp.Relaxed(0.7)), (2, learner)) if kind == "in stages" else learner
    shown, learned = Lines(tmp_path / "run", 3, json=False, quiet=False), []

    def note(epoch):
        shown(epoch)
        learned.append((learner.log_temperature.exp().item(), learner.strength.item()))

    run = rp.Run(tmp_path / "run", log_every=2)
    rp.fit(model, estimator, x, epochs=3, batch_size=8, control_lr=0.1, run=run, on_epoch=note)
    found = [(line["temperature"], line["strength"]) for line in lines(tmp_path / "run")]
    assert found == learned  # the line of the last step of each epoch
    assert abs(found[-1][0] - 0.5) > 0.02
    assert f"temperature {learned[-1][0]:.3g}  strength {learned[-1][1]:.3g}" in capsys.readouterr().out


def test_an_estimator_says_what_it_uses():
    class Own:
        temperature = 3.0

        def at(self, step):
            return self

    assert in_use(Own()) == {"temperature": 3.0}
    assert in_use(rp.RLOO(2)) == {}
    assert in_use(rp.Relaxed(rp.linear(1.0, 0.5, 10)).at(5)) == {"temperature": 0.75}
    assert in_use(rp.Relaxed(rp.linear(1.0, 0.5, 10))) == {}
    assert in_use(rp.REBAR(temperature=0.25, strength=0.5)) == pytest.approx({"temperature": 0.25, "strength": 0.5})


def test_the_speed_leaves_out_what_lies_between_the_epochs(tmp_path):
    """Before, an epoch's first line counted the time of the validation and of the user's own pictures."""
    run = rp.Run(tmp_path / "run", log_every=2, pictures=False)
    model, x = small_vae(rp.Gaussian(2)), torch.rand(40, 6)
    rp.fit(model, rp.Pathwise(), x, epochs=2, batch_size=8, run=run, on_epoch=lambda epoch: time.sleep(0.5))
    speeds = [line["images_per_second"] for line in lines(tmp_path / "run")]
    assert len(speeds) == 4
    assert min(speeds) > 2 * 16 / 0.5
