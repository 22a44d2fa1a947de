"""What is measured after a training is kept in the run, a line each."""

import json
import subprocess
import sys

import pytest
import torch
from commands import SMALL, call, save_images
from torch import distributions

import reparam as rp
from reparam import cli, runs
from reparam._files import append_line, read_lines
from reparam._version import __version__
from reparam.runs.measures import measure_of


@pytest.fixture
def run(tmp_path):
    options = (*SMALL, "--data", save_images(tmp_path / "d.npy"), "--latent", "Gaussian(3)", "--validation", 20)
    cli.main([str(each) for each in ("train", "gaussian", *options, "--run", tmp_path / "run")])
    return tmp_path / "run"


def test_every_evaluation_is_a_line_that_says_of_what_and_how(capsys, run):
    code, out, _ = call(capsys, "evaluate", run, "--num-samples", 3, "--seed", 5, "--json")
    assert code == 0
    assert call(capsys, "evaluate", run, "--num-samples", 2, "--part", "train", "--checkpoint", "last")[0] == 0
    first, second = read_lines(run / "evaluation.jsonl")
    assert {"run": str(run), **first} == json.loads(out)
    data = rp.load_data(run.parent / "d.npy", validation=20)
    about = {"version": __version__, "data": str(run.parent / "d.npy"), "part": "test", "protocol": "grey"}
    about |= {"checksum": rp.data.checksum(data.test), "measure": "probability of bits with these means"}
    about |= {"checkpoint": "best.safetensors", "step": 3, "num_samples": 3, "seed": 5, "num_examples": 20}
    assert about.items() <= first.items()
    assert first["time"].endswith("+00:00")
    assert second["part"] == "train"
    assert second["checkpoint"].startswith("step-")
    assert second["elbo"].keys() == {"value", "standard_error", "monte_carlo_error"}
    assert rp.measurements(run) == [first, second]
    summary = json.loads((run / "summary.json").read_text())["test"]
    same = ("protocol", "checksum", "measure", "checkpoint", "step")
    assert {name: summary[name] for name in same} == {name: first[name] for name in same}


def test_python_measures_a_run_as_the_command_does(capsys, run):
    found = runs.measure(run, num_samples=3, seed=5)
    assert call(capsys, "evaluate", run, "--num-samples", 3, "--seed", 5)[0] == 0
    lines = rp.measurements(run)
    assert lines[0] == found
    assert {**lines[1], "time": found["time"]} == found


def test_a_line_that_broke_off_costs_no_other(run):
    append_line(run / "evaluation.jsonl", {"number": 1})
    with (run / "evaluation.jsonl").open("a") as file:
        file.write('{"number": 2, "elb')
    append_line(run / "evaluation.jsonl", {"number": 3})
    with (run / "evaluation.jsonl").open("ab") as file:
        file.write(b"[1]\n\xff\n" + b"[" * 100_000 + b"\n")
    append_line(run / "evaluation.jsonl", {"number": 4})
    assert rp.measurements(run) == [{"number": 1}, {"number": 3}, {"number": 4}]


def test_an_evaluation_that_cannot_be_kept_is_shown(capsys, run):
    (run / "evaluation.jsonl").mkdir()
    with pytest.warns(UserWarning, match=r"evaluation.jsonl cannot be written \(.*\); the result is only shown."):
        found = runs.measure(run, num_samples=1)
    assert found["num_examples"] == 20
    assert rp.measurements(run) == []


def test_evaluations_are_of_their_run_and_removed_with_it(capsys, run):
    assert rp.measurements(run) == []
    runs.measure(run, num_samples=1)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        rp.measurements(run.parent)
    options = (*SMALL, "--data", run.parent / "d.npy", "--latent", "Gaussian(3)", "--run", run)
    assert call(capsys, "train", "gaussian", *options, "--overwrite")[0] == 0
    assert not (run / "evaluation.jsonl").exists()


BITS, GREY = torch.bernoulli(torch.full((20, 6), 0.5)), torch.rand(20, 6)
MEASURES = {
    "Bernoulli, grey": (rp.Bernoulli(6), rp.Data(GREY, "grey"), "probability of bits with these means"),
    "Bernoulli, black and white": (rp.Bernoulli(6), rp.Data(BITS, "grey"), "probability"),
    "Bernoulli, dynamic": (rp.Bernoulli(6), rp.Data(GREY, "dynamic"), "probability"),
    "Bernoulli, bytes": (rp.Bernoulli(6), rp.Data((255 * GREY).byte(), "grey"), "probability of bits with these means"),
    "ContinuousBernoulli": (rp.ContinuousBernoulli(6), rp.Data(GREY), "density"),
    "Gaussian": (rp.Gaussian(6, scale=0.1), rp.Data(GREY), "density"),
    "Beta": (rp.Beta(6), rp.Data(GREY), "density"),
    "VonMises": (rp.VonMises(6), rp.Data(GREY), "density"),
    "SharedScaleGaussian": (rp.SharedScaleGaussian(6), rp.Data(GREY), "density"),
    "torch's": (rp.TorchFamily(distributions.Laplace, 6), rp.Data(GREY), "density"),
    "DiscretizedLogistic": (rp.DiscretizedLogistic(6), rp.Data((255 * GREY).byte()), "probability"),
    "QuantizedCategorical": (rp.QuantizedCategorical(6), rp.Data((255 * GREY).byte()), "probability"),
    "Ordinal": (rp.Ordinal(6, 4), rp.Data(BITS), "probability"),
    "Poisson": (rp.Poisson(6), rp.Data(BITS), "probability"),
    "zeros": (rp.ZeroInflatedNegativeBinomial(6), rp.Data(BITS), "probability"),
    "Categorical": (rp.Categorical(2, 3), rp.Data(BITS.reshape(20, 2, 3)), "probability"),
    "Dirichlet": (rp.Dirichlet(2, 3), rp.Data(GREY.reshape(20, 2, 3)), "density on the simplex"),
    "PowerSpherical": (rp.PowerSpherical(6), rp.Data(GREY), "density on the sphere"),
    "parts alike": (rp.Joint(a=rp.Gaussian(2), b=rp.Laplace(4)), rp.Data(GREY), "density"),
    "parts": (
        *(rp.Joint(a=rp.Gaussian(2), b=rp.Beta(1), c=rp.Poisson(3)), rp.Data(BITS)),
        "density of 3 values, probability of 3 values",
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_likelihood_is_a_probability_or_a_density(name):
    observation, data, expected = MEASURES[name]
    decoder = rp.mlp(2, [], observation.num_params)
    size = observation.event_shape.numel()
    model = rp.VAE(rp.Gaussian(2), observation, torch.nn.Sequential(torch.nn.Flatten(), rp.mlp(size, [], 4)), decoder)
    state = torch.get_rng_state()
    assert measure_of(model, data) == expected
    assert torch.equal(torch.get_rng_state(), state)


WRITER = """
import sys
from pathlib import Path
from reparam._files import append_line
for number in range(20):
    append_line(Path(sys.argv[1]), {"child": sys.argv[2], "number": number, "text": "x" * 500})
"""


def test_two_evaluations_at_a_time_do_not_mix(tmp_path):
    path = tmp_path / "evaluation.jsonl"
    children = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(child)]) for child in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    found = sorted((line["child"], line["number"], len(line["text"])) for line in read_lines(path))
    assert found == [(str(child), number, 500) for child in range(3) for number in range(20)]
