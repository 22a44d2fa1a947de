"""The command line on runs: from data to a trained, resumed, measured, drawn and compared model."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from commands import SMALL, call, save_images
from PIL import Image

import reparam as rp
from reparam import cli
from reparam.training.checkpoint import read_checkpoint
from reparam.training.record import shown
from reparam.training.run import checkpoints

LATENTS = {"gaussian": "Gaussian(3)", "bernoulli-rloo": "Bernoulli(3)", "categorical-rloo": "Categorical(2, 4)"}


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind of latent, and one under another protocol."""
    folder = tmp_path_factory.mktemp("cli")
    data = ("--data", save_images(folder / "d.npy"), "--validation", 20)
    for preset, latent in LATENTS.items():
        options = (*data, *SMALL, "--latent", latent, "--run", folder / preset)
        cli.main([str(each) for each in ("train", preset, *options)])
    options = (*data, *SMALL, "--latent", "Gaussian(3)", "--protocol", "dynamic", "--run", folder / "dynamic")
    cli.main([str(each) for each in ("train", "gaussian", *options)])
    return folder


def test_train_writes_a_run_says_what_it_does_and_refuses_to_overwrite(capsys, tmp_path):
    data = save_images(tmp_path / "d.npy")
    options = ("train", "gaussian", *SMALL, "--data", data, "--run", tmp_path / "my run")
    code, out, err = call(capsys, *options)
    assert (code, err) == (0, "")
    assert "epoch 1/1  elbo -" in out
    assert "images/s" in out
    assert "test: elbo" in out
    assert f"reparam evaluate '{tmp_path / 'my run'}'" in out
    written = {path.name for path in (tmp_path / "my run").iterdir()} - {".lock"}
    assert written == {"experiment.json", "metrics.jsonl", "checkpoints", "pictures", "summary.json"}
    before = (tmp_path / "my run" / "experiment.json").read_text()
    code, _, err = call(capsys, *options)
    assert code == 2
    assert "holds a run already, and nothing is overwritten" in err
    assert "--overwrite" in err
    assert (tmp_path / "my run" / "experiment.json").read_text() == before
    code, _, _ = call(capsys, *options, "--overwrite", "--seed", 2, "--description", "again")
    assert code == 0
    assert json.loads((tmp_path / "my run" / "experiment.json").read_text())["experiment"]["description"] == "again"


def test_what_one_draw_cannot_tell_is_null_in_every_file(capsys, tmp_path):
    options = (*SMALL[:-2], "--final-samples", 1, "--data", save_images(tmp_path / "d.npy"), "--validation", 20)
    assert call(capsys, "train", "gaussian", *options, "--run", tmp_path / "run")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"]["elbo"]["monte_carlo_error"] is None
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_runs_without_a_name_never_collide(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = save_images(tmp_path / "d.npy")
    for _ in range(3):
        assert call(capsys, "train", "gaussian", *SMALL, "--data", data)[0] == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(names) == 3
    assert all(name.startswith("gaussian-20") for name in names)


def test_json_of_train_is_the_summary_and_stands_alone(capsys, tmp_path):
    data = save_images(tmp_path / "d.npy")
    options = (*SMALL, "--epochs", 2, "--data", data, "--validation", 20, "--run", tmp_path / "run", "--tensorboard")
    code, out, err = call(capsys, "train", "bernoulli-relaxed", "--latent", "Bernoulli(3)", *options, "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary.pop("run") == str(tmp_path / "run")
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == 2
    assert "epoch 2/2  relaxed_elbo" in err
    assert "validation elbo -" in err
    assert "temperature 0.5" in err
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_a_lengthened_run_ends_as_one_that_was_as_long_from_the_beginning(capsys, tmp_path):
    options = (*SMALL, "--data", save_images(tmp_path / "d.npy"), "--validation", 20)
    for name, epochs in (("short", 2), ("long", 4)):
        assert call(capsys, "train", "gaussian", *options, "--epochs", epochs, "--run", tmp_path / name)[0] == 0
    code, out, _ = call(capsys, "resume", tmp_path / "short", "--epochs", 4)
    assert code == 0
    assert "4 epochs instead of 2." in out
    assert "epoch 3/4" in out
    assert "epoch 2/4" not in out
    models = [read_checkpoint(checkpoints(tmp_path / name)[-1])["model"] for name in ("short", "long")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[1])
    assert json.loads((tmp_path / "short" / "experiment.json").read_text())["experiment"]["training"]["epochs"] == 4
    code, _, err = call(capsys, "resume", tmp_path / "short", "--epochs", 3)
    assert code == 2
    assert "epochs is 3; " in err
    code, out, _ = call(capsys, "resume", tmp_path / "short", "--json")  # there is nothing left to do
    assert (code, json.loads(out)["epochs"]) == (0, 4)


def test_a_schedule_that_counts_steps_jumps_when_a_run_is_lengthened_and_that_is_said(capsys, tmp_path):
    options = (*SMALL, "--data", save_images(tmp_path / "d.npy"), "--lr", "cosine(1e-3, steps)")
    estimator = ("--latent", "Bernoulli(3)", "--estimator", "Relaxed(geometric(1.0, 0.5, steps))")
    run = tmp_path / "run"
    assert call(capsys, "train", "gaussian", *options, *estimator, "--run", run)[0] == 0
    code, out, _ = call(capsys, "resume", run, "--epochs", 2)
    assert code == 0
    assert "lr and estimator now follow 2 epochs, so they jump" in out
    rates = [json.loads(line).get("lr") for line in (run / "metrics.jsonl").read_text().splitlines()]
    record = json.loads((run / "experiment.json").read_text())
    assert record["training"]["lr"] == shown(rp.cosine(1e-3, 6)), rates
    assert "6" in record["estimator"]


def test_a_run_that_stopped_early_is_not_lengthened(capsys, tmp_path):
    options = (*SMALL, "--epochs", 20, "--patience", 1, "--lr", "0.5", "--data", save_images(tmp_path / "d.npy"))
    code, out, _ = call(capsys, "train", "gaussian", *options, "--validation", 20, "--run", tmp_path / "run")
    assert code == 0
    assert "stopped early" in out
    code, _, err = call(capsys, "resume", tmp_path / "run", "--epochs", 30)
    assert code == 2
    assert "stopped early" in err


def test_evaluate_gives_the_bounds_that_python_gives(capsys, runs):
    code, out, err = call(capsys, "evaluate", runs / "gaussian", "--num-samples", 3, "--json", "--seed", 5)
    assert (code, err) == (0, "")
    found = json.loads(out)
    data = rp.load_data(runs / "d.npy", validation=20)
    expected = rp.evaluate(rp.load(runs / "gaussian"), data.test, num_samples=3, seed=5)
    assert found["elbo"]["value"] == pytest.approx(expected.elbo.value, rel=1e-6)
    assert found["iwae_3"]["standard_error"] == pytest.approx(expected.iwae.standard_error, rel=1e-5)
    assert (found["checkpoint"], found["num_examples"]) == ("best.safetensors", 20)
    assert found["checksum"] == rp.data.checksum(data.test)


def test_evaluate_says_whether_the_samples_can_tell_log_p(capsys, runs):
    out = call(capsys, "evaluate", runs / "gaussian", "--num-samples", 100)[1]
    assert re.search(r"examples with unreliable weights +\d+% \(median of Pareto's k -?\d\.\d\d\)", out)
    found = json.loads(call(capsys, "evaluate", runs / "gaussian", "--num-samples", 100, "--json")[1])
    assert 0 <= found["unreliable"] <= 1
    assert found["log_likelihood_100"]["monte_carlo_error"] > found["iwae_100"]["monte_carlo_error"] > 0
    few = call(capsys, "evaluate", runs / "gaussian", "--num-samples", 2)[1]
    assert "examples with unreliable weights - (needs 100 samples)" in re.sub(" +", " ", few)


def test_evaluate_takes_parts_checkpoints_and_other_data(capsys, runs, tmp_path):
    fast = ("--num-samples", 1, "--json")
    train = json.loads(call(capsys, "evaluate", runs / "gaussian", "--part", "train", *fast)[1])
    assert train["num_examples"] == 160
    assert train["elbo"]["monte_carlo_error"] is None
    last = json.loads(call(capsys, "evaluate", runs / "gaussian", "--checkpoint", "last", *fast)[1])
    assert last["checkpoint"].startswith("step-")
    other = save_images(tmp_path / "other.npy", 100, seed=1)
    found = json.loads(call(capsys, "evaluate", runs / "dynamic", "--data", other, *fast)[1])
    assert (found["num_examples"], found["protocol"]) == (10, "static")  # bits drawn once: dynamic data's test
    assert "nats per example" in call(capsys, "evaluate", runs / "gaussian", "--num-samples", 2)[1]


def test_a_run_that_is_not_there_suggests_the_nearest_beside_it(capsys, runs):
    for command in ("resume", "evaluate", "sample", "reconstruct", "traverse", "interpolate", "compare"):
        code, _, err = call(capsys, command, runs / "gausian")
        assert code == 2
        assert "holds no run. The nearest is gaussian." in err
    assert call(capsys, "lab", "--run", runs / "gausian")[0] == 2


@pytest.mark.parametrize("run", LATENTS)
@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("sample", {}.fromkeys(LATENTS, (8, 8))),
        ("reconstruct", {}.fromkeys(LATENTS, (8, 2))),
        ("traverse", {"gaussian": (10, 3), "bernoulli-rloo": (2, 3), "categorical-rloo": (4, 2)}),
        ("interpolate", {}.fromkeys(LATENTS, (10, 8))),
    ],
)
def test_pictures_are_drawn_into_the_run_and_replaced_only_there(command, size, run, capsys, runs, tmp_path):
    folder = runs / run
    for _ in range(2):
        code, out, _ = call(capsys, command, folder)
        assert (code, out.strip()) == (0, str(folder / "pictures" / f"{command}.png"))
    columns, rows = size[run]
    assert pixels(out.strip()).shape == (8 * rows, 8 * columns)
    own = tmp_path / "own.png"
    own.write_bytes(b"mine")
    code, _, err = call(capsys, command, folder, "--output", own)
    assert (code, own.read_bytes()) == (2, b"mine")
    assert "--overwrite" in err
    assert call(capsys, command, folder, "--output", own, "--overwrite")[0] == 0
    assert own.read_bytes() == (folder / "pictures" / f"{command}.png").read_bytes()


def test_an_interpolation_is_drawn_between_neighbouring_examples(capsys, runs, tmp_path):
    code, out, _ = call(capsys, "interpolate", runs / "gaussian", "--num", 2, "--steps", 3)
    assert code == 0
    x = rp.load_data(runs / "d.npy", validation=20).test[:4]
    expected = rp.interpolate(rp.load(runs / "gaussian"), x[0::2], x[1::2], 3)
    rp.save_image_grid(tmp_path / "expected.png", expected.flatten(0, 1), columns=3)
    assert np.array_equal(pixels(out.strip()), pixels(tmp_path / "expected.png"))


@pytest.mark.parametrize("kind", ["png", "npy", "single.npy", "npz", "idx", "folder"])
def test_reconstruct_takes_a_file_of_any_kind(kind, capsys, runs, tmp_path):
    images = np.load(runs / "d.npy")[:11]
    path, count = tmp_path / f"x.{kind}", 11
    if kind == "png":
        Image.fromarray(images[0]).save(path)
        count = 1
    elif kind == "npz":
        np.savez(path, images)
    elif kind == "idx":
        path.write_bytes(b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (11, 8, 8)) + images.tobytes())
    elif kind == "folder":
        path.mkdir()
        for number, each in enumerate(images):
            Image.fromarray(each).save(path / f"{number}.png")
    else:
        np.save(path, images[0] if kind == "single.npy" else images)
        count = 1 if kind == "single.npy" else 11
    out = tmp_path / "out.png"
    code, _, err = call(capsys, "reconstruct", runs / "gaussian", "--input", path, "--num", 11, "--output", out)
    assert (code, err) == (0, "")
    drawn = pixels(out)
    assert drawn.shape == ((16, 8) if count == 1 else (32, 64))
    if kind != "folder":
        assert np.array_equal(drawn[:8, :8], images[0])
    if count == 11:  # the last three stand below each other in the second pair of rows, the rest is black
        assert not drawn[16:, 24:].any()
        assert kind == "folder" or np.array_equal(drawn[16:24, 16:24], images[10])


def test_compare_puts_different_data_into_different_tables(capsys, runs, tmp_path):
    folders = [runs / name for name in (*LATENTS, "dynamic")]
    code, out, _ = call(capsys, "compare", *folders)
    assert code == 0
    assert out.count("exact elbo") == 2
    assert "2 tables: numbers of different data or protocols cannot be compared." in out
    assert out.index("dynamic, test data") > out.index("categorical-rloo")
    groups = json.loads(call(capsys, "compare", *folders, "--json")[1])["groups"]
    assert [(each["protocol"], len(each["runs"])) for each in groups] == [("grey", 3), ("dynamic", 1)]
    assert [each["latent"] for each in groups[0]["runs"]] == list(LATENTS.values())
    summary = json.loads((runs / "gaussian" / "summary.json").read_text())
    assert groups[0]["runs"][0]["test"]["elbo"] == summary["test"]["elbo"]
    data = rp.load_data(runs / "d.npy", validation=20)
    assert groups[0]["runs"][0]["checksum"] == rp.data.checksum(data.train)
    assert groups[0]["test_checksum"] == rp.data.checksum(data.test)
    assert groups[0]["runs"][0]["train_bound"] == "elbo"
    code, _, _ = call(capsys, "compare", *folders, "--csv", tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert float(rows[0]["test_elbo"]) == summary["test"]["elbo"]["value"]
    assert [row["protocol"] for row in rows] == ["grey"] * 3 + ["dynamic"]
    assert call(capsys, "compare", *folders, "--csv", tmp_path / "c.csv")[0] == 2


def test_a_run_that_has_not_ended_and_one_tested_on_other_data_stand_apart(capsys, runs, tmp_path):
    for name in ("unfinished", "other"):
        shutil.copytree(runs / "gaussian", tmp_path / name)
    (tmp_path / "unfinished" / "summary.json").unlink()
    summary = json.loads((tmp_path / "other" / "summary.json").read_text())
    summary["test"]["checksum"] = "sha256:0"
    (tmp_path / "other" / "summary.json").write_text(json.dumps(summary))
    code, out, _ = call(capsys, "compare", runs / "gaussian", tmp_path / "unfinished", tmp_path / "other")
    assert code == 0
    assert out.count("test data") == 2
    assert "not finished: nothing measured yet" in out


def test_runs_from_python_are_compared_too_and_evaluated_on_data_that_are_named(capsys, runs, tmp_path):
    latent = rp.Gaussian(2)
    model = rp.VAE(latent, rp.Bernoulli(64), rp.mlp(64, [4], latent.num_params), rp.mlp(2, [4], 64))
    rp.fit(model, rp.Pathwise(), rp.load_data(runs / "d.npy").train, epochs=1, run=tmp_path / "python")
    code, out, _ = call(capsys, "compare", tmp_path / "python", runs / "gaussian")
    assert code == 0
    assert "VAE(" in out
    code, _, err = call(capsys, "evaluate", tmp_path / "python")
    assert code == 2
    assert "--data" in err
    code, _, _ = call(capsys, "evaluate", tmp_path / "python", "--data", runs / "d.npy", "--num-samples", 1)
    assert code == 0
    code, _, err = call(capsys, "resume", tmp_path / "python")
    assert code == 2
    assert "resume=True" in err


def test_the_laboratory_measures_on_the_model_of_a_run(capsys, runs):
    options = ("--repeats", 20, "--examples", 4, "--only", "RLOO")
    code, out, _ = call(capsys, "lab", "--run", runs / "bernoulli-rloo", *options)
    assert code == 0
    assert "use RLOO" in out
