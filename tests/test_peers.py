"""The benchmark: its sides do the same work, take turns, and sleep in between."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import findings
import peers
import race
import reparam as rp
from sides import CASES, SIDES, ours
from sides.by_hand import LOSSES, mlp

SIDE = {side.name: side for side in SIDES}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    file = tmp_path_factory.mktemp("benchmark") / "images.npy"
    np.save(file, rp.mnist("grey").train.values[:1280].flatten(1).numpy())
    return file


def test_sides_have_names_of_their_own():
    assert len(SIDE) == len(SIDES)


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_the_products_of_a_step_are_those_that_torch_counts(case):
    encoder, decoder = mlp(case.encoder_widths, case.activation), mlp(case.decoder_widths, case.activation)
    with FlopCounterMode(display=False) as counter:
        params = encoder(torch.rand(case.batch_size, 784)).sum()
        (decoder(torch.rand(case.num_samples * case.batch_size, case.num_features)).sum() + params).backward()
    first_of_decoder = 2 * case.num_samples * case.batch_size * case.num_features * case.decoder_widths[1]
    assert counter.get_total_flops() + first_of_decoder == sum(product.operations for product in case.products())
    parameters = [*encoder.parameters(), *decoder.parameters()]
    assert case.num_weights == sum(parameter.numel() for parameter in parameters)


@pytest.fixture
def both():
    """Blocks of losses and of the gradients of the encoder's last bias, by hand and by the library, of one image."""

    def measure(name, blocks=48):
        case = CASES[name]
        torch.manual_seed(0)
        encoder, decoder = mlp(case.encoder_widths, case.activation), mlp(case.decoder_widths, case.activation)
        latent, estimator = ours.CASES[name]
        model = rp.VAE(latent, rp.Bernoulli(784), encoder, decoder)
        x = torch.rand(1, 784).expand(case.batch_size, -1)
        results = []
        for by_hand in (True, False):
            for _ in range(blocks):
                if by_hand:
                    loss, reported = LOSSES[name](encoder, decoder, x, 0)
                    loss, reported = loss / len(x), reported / len(x)
                else:
                    loss = reported = estimator.at(0)(model, x).loss
                (gradient,) = torch.autograd.grad(loss, encoder[-1].bias)
                results.append(torch.cat([reported.detach()[None], gradient]))
        return torch.stack(results).double().unflatten(0, (2, blocks))

    return measure


@pytest.mark.parametrize("name", ["gaussian", "iwae-20", "rloo", "binconcrete", "concrete"])
def test_the_loop_by_hand_has_the_loss_and_the_gradient_of_the_library(both, name):
    measured = both(name)
    mean, error = measured.mean(1), measured.std(1) / len(measured[0]) ** 0.5
    scores = (mean[0] - mean[1]) / error.square().sum(0).sqrt()
    assert scores[0].abs() < 4  # the loss
    assert scores[1:].square().mean() < 2.0  # 1 is expected
    spread = measured.var(1)[:, 1:].sum(1)
    assert 0.7 < spread[0] / spread[1] < 1.4  # no other baseline


def test_sides_that_need_torch_alone_do_the_same_work(images):
    sides = [SIDE[name] for name in ("reparam", "pytorch", "pytorch-tuned", "dataloader")]
    case = CASES["gaussian"]
    results = race.take_turns(sides, case, images, rounds=2)
    assert [result.missing for result in results.values()] == [""] * len(sides)
    assert [len(result.seconds) for result in results.values()] == [2] * len(sides)
    losses = [result.loss for result in results.values()]
    assert max(losses) - min(losses) < 10  # nats, after 20 steps; an untrained network has 544
    assert 200 < max(losses) < 400


def test_a_whole_process_trains_as_many_epochs_as_asked_for(images):
    whole = race.whole_processes([SIDE["pytorch"]], CASES["gaussian"], images, rounds=1, epochs=2)["pytorch"]
    turns = race.take_turns([SIDE["pytorch"]], CASES["gaussian"], images, rounds=2)["pytorch"]
    assert whole.loss == pytest.approx(turns.loss, rel=1e-5)  # that of the second epoch, after one to warm up
    assert len(whole.seconds) == 1


def test_each_round_begins_with_the_next_side():
    assert [race.rotated(["a", "b", "c"], number) for number in (0, 1, 5)] == [[*"abc"], [*"bca"], [*"cab"]]
    assert race.rotated([], 2) == []


def test_a_missing_package_is_one_line_and_the_others_go_on(images, tmp_path, monkeypatch):
    (tmp_path / "pythae.py").write_text("raise ModuleNotFoundError('none here', name='pythae')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    results = race.take_turns([SIDE["pythae"], SIDE["products"]], CASES["gaussian"], images, rounds=1)
    assert results["pythae"].missing == "pythae is not installed; pip install reparam[bench]"
    assert len(results["products"].seconds) == 1


def test_a_side_that_fails_says_how_it_ended(images, tmp_path):
    broken = tmp_path / "images.npy"
    np.save(broken, np.zeros((4, 10), np.uint8))
    results = race.take_turns([SIDE["pytorch"]], CASES["gaussian"], broken, rounds=1)
    assert "exit status 1" in results["pytorch"].missing
    assert "shapes cannot be multiplied" in results["pytorch"].missing


def measured(seconds, loss, idle=0.0):
    about = {"versions": {"torch": "2"}, "threads": 2}
    return race.Measured(about=about, seconds=seconds, processor=seconds, loss=loss, idle=idle)


def test_a_ratio_is_that_of_two_epochs_of_one_round():
    results = {"reparam": measured([1.0, 2.0, 4.0], 120.0), "pytorch": measured([2.0, 6.0, 2.0], 121.0)}
    assert race.ratios(results, "pytorch") == [2.0, 3.0, 0.5]
    line = findings.epochs_table(results, CASES["gaussian"]).splitlines()[-1]
    assert line == "| pytorch | torch 2 | 2.00 | 2.00 | 0.50 to 3.00 | 121.00 | 1.0 |"


def test_other_work_and_a_side_that_does_not_sleep_are_remarked_on():
    results = {"reparam": measured([1.0], 120.0), "pyro": measured([1.0], 125.0), "pythae": measured([1.0], 121.0, 0.3)}
    remarks = findings.remarks(results, CASES["gaussian"])
    assert remarks == [
        "pyro: its loss is +5.0 nats from ours. That is not the same work.",
        "pythae: it used 30% of a core while others had their turn.",
    ]


def test_the_command_prints_tables_and_writes_strict_json(tmp_path, monkeypatch, capsys):
    few = SimpleNamespace(train=rp.Data(rp.mnist("grey").train.values[:640]))
    monkeypatch.setattr(peers.rp, "mnist", lambda _: few)
    file = tmp_path / "new" / "peers.json"
    peers.main(("gaussian",), ("products",), rounds=1, process_rounds=1, process_epochs=1, json_file=file)
    found = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert found["gaussian"].keys() == {"reparam", "products"}
    assert found["gaussian"]["products"]["loss"] is None
    assert len(found["process"]["reparam"]["seconds"]) == 1
    printed = capsys.readouterr().out
    assert "The 11 matrix products of a step" in printed
    assert "A whole process, 1 epochs: 1 rounds" in printed


def test_an_unknown_side_is_refused_with_the_names_that_there_are():
    with pytest.raises(SystemExit, match=r"no side pyo; there are reparam, .*pyro"):
        peers.main(only=("pyo",))
