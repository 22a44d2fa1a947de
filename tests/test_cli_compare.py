"""Runs side by side: only numbers of one kind share a table, and every table can be read."""

import csv
import json
import shutil

import pytest
from commands import SMALL, call, save_images

import reparam as rp
from reparam import cli

LONG = "a-name-that-somebody-gave-to-a-run-of-everything-that-was-tried-on-a-friday-afternoon"
RUNS = {
    "a": ("--latent", "Gaussian(3)"),
    LONG: ("--latent", "Bernoulli(3)", "--estimator", "RLOO(4)", "--lr", "cosine(1e-3, steps)", "--seed", 7),
    "density": ("--latent", "Gaussian(3)", "--observation", "Gaussian(scale=0.1)"),
    "levels": ("--latent", "Gaussian(3)", "--observation", "DiscretizedLogistic"),
    "continuous": ("--latent", "Gaussian(3)", "--observation", "ContinuousBernoulli"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    save_images(folder / "d.npy")
    for name, options in RUNS.items():
        given = ("train", "gaussian", *SMALL, "--data", folder / "d.npy", *options, "--run", folder / name)
        cli.main([str(each) for each in given])
    latent = rp.Gaussian(2)
    model = rp.VAE(latent, rp.Bernoulli(64), rp.mlp(64, [4], latent.num_params), rp.mlp(2, [4], 64))
    rp.fit(model, rp.Pathwise(), rp.load_data(folder / "d.npy").train, epochs=1, lr=2e-3, run=folder / "python")
    (folder / "nothing").mkdir()
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of those runs, in the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def groups(capsys, *runs):
    code, out, err = call(capsys, "compare", *runs, "--json")
    assert code == 0, err
    return {each["measure"]: [run["run"] for run in each["runs"]] for each in json.loads(out)["groups"]}


def test_probabilities_and_densities_never_share_a_table(capsys, place):
    assert groups(capsys, *RUNS) == {
        "probability of bits with these means": ["a", LONG],
        "density": ["density", "continuous"],
        "probability": ["levels"],
    }
    code, out, err = call(capsys, "compare", *RUNS)
    assert (code, err) == (0, "")
    assert out.count("exact elbo") == 3
    assert "Nor can probabilities and densities." in " ".join(out.split())
    table = out.split("\n\n")[0].split("exact elbo")[0] + out.split("in all")[0]
    assert "density" not in table
    code, _, _ = call(capsys, "compare", *RUNS, "--csv", "all.csv")
    rows = {row["run"]: row for row in csv.DictReader((place / "all.csv").read_text().splitlines())}
    assert rows["density"]["measure"] == "density"
    assert (rows[LONG]["seed"], rows[LONG]["lr"], rows["levels"]["observation"]) == (
        *("7", "cosine(1e-3, steps)"),
        "DiscretizedLogistic",
    )


def test_likelihood_learning_rate_and_seed_are_shown_once_where_all_have_them(capsys, place):
    out = " ".join(call(capsys, "compare", "a", LONG)[1].split())
    assert "in all: model mlp 8, observation Bernoulli, batch-size 60" in out
    assert "a: latent Gaussian(3), estimator Pathwise(), lr 0.001, seed 1, 1 epoch" in out
    assert f"{LONG}: latent Bernoulli(3), estimator RLOO(4), lr cosine(1e-3, steps), seed 7, 1 epoch" in out
    alone = " ".join(call(capsys, "compare", "density")[1].split())
    assert "density: model mlp 8, latent Gaussian(3), observation Gaussian(scale=0.1), estimator Pathwise()" in alone
    assert "in all" not in alone


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal_with_long_names(columns, capsys, place, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in (*RUNS, "python"):
        call(capsys, "evaluate", name, "--num-samples", 3, "--data", "d.npy")
    out = call(capsys, "compare", *RUNS, "python")[1]
    assert all(len(line) <= columns or line == f"{LONG}:" for line in out.splitlines())
    assert f"{LONG}:" in out  # whole, to be copied
    for run in json.loads(call(capsys, "compare", *RUNS, "--json")[1])["groups"][0]["runs"]:
        assert f"{run['test']['elbo']['value']:.2f} +/- " in out


def test_a_folder_without_a_run_is_named_and_the_others_are_compared(capsys, place):
    (place / "broken").mkdir()
    (place / "broken" / "experiment.json").write_text("{")
    code, out, err = call(capsys, "compare", "a", "nothing", "broken", "nowhere")
    assert code == 0
    assert "exact elbo" in out
    lines = err.splitlines()
    assert [line.split(":")[1].split()[0] for line in lines] == ["nothing", "broken", "nowhere"]
    assert all(" is left out: " in line for line in lines)
    code, out, _ = call(capsys, "compare", "a", "nothing", "--json")
    assert [each["run"] for each in json.loads(out)["left_out"]] == ["nothing"]
    code, out, err = call(capsys, "compare", "nothing", "nowhere")
    assert (code, out) == (2, "")
    assert err == "reparam: none of nothing, nowhere holds a run. Name folders of runs.\n"


def test_a_run_from_python_that_is_complete_counts_as_finished(capsys, place):
    code, out, _ = call(capsys, "compare", "a", "python")
    assert code == 0
    flat = " ".join(out.split())
    assert "not finished" not in flat
    assert "finished, and not measured on test data python: model VAE(Gaussian(2), Bernoulli(64)," in flat
    assert "Measure them on data that you name: reparam evaluate python --data NAME" in flat
    assert call(capsys, "evaluate", "python", "--data", "d.npy", "--num-samples", 2)[0] == 0
    assert groups(capsys, "a", "python") == {"probability of bits with these means": ["a", "python"]}
    assert "lr 0.002" in " ".join(call(capsys, "compare", "a", "python")[1].split())


def test_a_run_that_is_being_lengthened_is_not_finished(capsys, place):
    summary = json.loads((place / "a" / "summary.json").read_text())
    (place / "a" / "summary.json").write_text(json.dumps({**summary, "epochs": 0}))
    assert "seed 1, not finished, 0 epochs" in " ".join(call(capsys, "compare", "a")[1].split())
    (place / "a" / "summary.json").write_text(json.dumps({**summary, "epochs": 0, "stopped_early": True}))
    assert "not finished" not in call(capsys, "compare", "a")[1]


def test_evaluations_stand_beside_what_the_training_measured(capsys, place):
    for name in ("a", LONG):
        assert call(capsys, "evaluate", name, "--num-samples", 5)[0] == 0
    found = json.loads(call(capsys, "compare", "a", LONG, "--json")[1])["groups"][0]["runs"]
    assert [list(run["test"]) for run in found] == [["elbo", "iwae_2", "iwae_5"]] * 2
    lines = rp.measurements("a")
    assert found[0]["test"]["iwae_5"] == lines[0]["iwae_5"]
    assert found[0]["test"]["elbo"] == json.loads((place / "a" / "summary.json").read_text())["test"]["elbo"]
    assert call(capsys, "evaluate", "a", "--num-samples", 5, "--seed", 9)[0] == 0  # the newest counts
    found = json.loads(call(capsys, "compare", "a", "--json")[1])["groups"][0]["runs"]
    assert found[0]["test"]["iwae_5"] == rp.measurements("a")[1]["iwae_5"] != lines[0]["iwae_5"]


def test_evaluations_of_other_weights_or_data_do_not_mix(capsys, place):
    before = groups(capsys, "a", LONG)
    save_images(place / "other.npy", seed=1)
    line = json.loads(call(capsys, "evaluate", "a", "--num-samples", 5, "--json")[1])
    path = place / "a" / "evaluation.jsonl"
    path.write_text(json.dumps({**line, "step": line["step"] + 1}) + "\n")
    assert list(json.loads(call(capsys, "compare", "a", "--json")[1])["groups"][0]["runs"][0]["test"]) == [
        "elbo",
        "iwae_2",
    ]
    assert call(capsys, "evaluate", "a", "--num-samples", 5, "--data", "other.npy")[0] == 0
    assert groups(capsys, "a", LONG) == before  # one run alone on other data compares nothing
    assert call(capsys, "evaluate", LONG, "--num-samples", 5, "--data", "other.npy")[0] == 0
    found = json.loads(call(capsys, "compare", "a", LONG, "--json")[1])["groups"]
    assert [len(each["runs"]) for each in found] == [2, 2]
    assert found[0]["test_checksum"] != found[1]["test_checksum"]
    assert "iwae_5" not in found[0]["runs"][0]["test"]
    assert "other.npy, grey, test data" in call(capsys, "compare", "a", LONG)[1]


def test_runs_trained_on_other_data_say_so(capsys, place):
    record = json.loads((place / "a" / "experiment.json").read_text())
    record["data"]["checksum"] = "sha256:1234567890"
    (place / "a" / "experiment.json").write_text(json.dumps(record))
    assert "trained on 12345678" in " ".join(call(capsys, "compare", "a", LONG)[1].split())
    assert "trained on" not in call(capsys, "compare", "a")[1]
