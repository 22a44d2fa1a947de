"""Runs and data that were moved since, and commands on other data than a run's."""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import SMALL, call, save_images

import reparam as rp
from reparam import runs

FAST = ("--num-samples", 1, "--json")


@pytest.fixture
def project(tmp_path, monkeypatch, capsys):
    """A folder with data and a run whose data have a relative path; it is the current folder."""
    folder = tmp_path / "project"
    (folder / "runs").mkdir(parents=True)
    save_images(folder / "d.npy")
    monkeypatch.chdir(folder)
    options = (*SMALL, "--data", "d.npy", "--latent", "Gaussian(3)", "--validation", 20, "--run", "runs/a")
    assert call(capsys, "train", "gaussian", *options)[0] == 0
    return folder


def elbo(capsys, run, *options):
    code, out, err = call(capsys, "evaluate", run, *FAST, *options)
    assert code == 0, err
    return json.loads(out)["elbo"]["value"]


def test_a_run_that_was_moved_finds_its_data(capsys, project, tmp_path, monkeypatch):
    expected = elbo(capsys, "runs/a")
    shutil.move(project / "runs" / "a", tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    assert elbo(capsys, tmp_path / "elsewhere") == expected
    assert call(capsys, "resume", tmp_path / "elsewhere", "--epochs", 2)[0] == 0


def test_a_project_that_was_moved_finds_its_data(capsys, project, tmp_path, monkeypatch):
    expected = elbo(capsys, "runs/a")
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "renamed")
    assert elbo(capsys, "renamed/runs/a") == expected


def test_of_several_places_that_with_the_data_of_the_run_is_taken(capsys, project, tmp_path, monkeypatch):
    expected = elbo(capsys, "runs/a")
    shutil.copytree(project, tmp_path / "copy")
    save_images(project / "d.npy", seed=1)  # the original is something else now
    monkeypatch.chdir("/")
    assert elbo(capsys, tmp_path / "copy" / "runs" / "a") == expected
    code, _, err = call(capsys, "evaluate", project / "runs" / "a")
    assert code == 2
    assert "the data have changed since" in err
    assert "name other data with --data to measure on them" in err


def test_a_place_that_holds_something_else_now_is_passed_over(capsys, project, tmp_path, monkeypatch):
    expected = elbo(capsys, "runs/a")
    shutil.copytree(project, tmp_path / "copy")
    (project / "d.npy").write_text("something else")
    monkeypatch.chdir("/")
    assert elbo(capsys, tmp_path / "copy" / "runs" / "a") == expected


def test_data_that_were_moved_are_asked_for_in_one_sentence(capsys, project, monkeypatch):
    expected = elbo(capsys, "runs/a")
    (project / "d.npy").rename(project / "moved.npy")
    for command in ("evaluate", "resume", "reconstruct", "traverse", "interpolate"):
        code, out, err = call(capsys, command, "runs/a")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err == (
            f"reparam: the data of runs/a cannot be found: d.npy does not exist. Restore it at {project / 'd.npy'}, "
            "or say where the data are now with --data.\n"
        )
    assert elbo(capsys, "runs/a", "--data", "moved.npy") == expected
    code, _, err = call(capsys, "resume", "runs/a", "--epochs", 2, "--data", "moved.npy")
    assert code == 0, err
    record = json.loads((project / "runs/a/experiment.json").read_text())
    assert record["source"] == {"data": "moved.npy", "path": str(project / "moved.npy"), "from_run": "../../moved.npy"}
    monkeypatch.chdir("/")
    assert json.loads(call(capsys, "evaluate", project / "runs/a", *FAST)[1])["num_examples"] == 20
    (project / "moved.npy").unlink()
    with pytest.raises(FileNotFoundError, match="say where the data are now with data"):
        runs.measure(project / "runs/a", num_samples=1)


def test_a_run_does_not_go_on_with_other_data(capsys, project):
    before = (project / "runs/a/experiment.json").read_bytes()
    save_images(project / "other.npy", seed=1)
    code, _, err = call(capsys, "resume", "runs/a", "--epochs", 2, "--data", "other.npy")
    assert code == 2
    assert "the data have changed since runs/a was trained" in err
    assert (project / "runs/a/experiment.json").read_bytes() == before


def test_the_record_keeps_what_was_typed_and_where_it_was(project):
    record = json.loads((project / "runs/a/experiment.json").read_text())
    assert record["experiment"]["dataset"]["data"] == "d.npy"
    assert record["source"] == {"data": "d.npy", "path": str(project / "d.npy"), "from_run": "../../d.npy"}
    rp.train(rp.Experiment().replace(latent="Gaussian(2)", hidden=(4,), epochs=1, data="d.npy"), "runs/python")
    assert json.loads((project / "runs/python/experiment.json").read_text())["source"] == record["source"]


@pytest.mark.parametrize("command", ["reconstruct", "traverse", "interpolate"])
def test_pictures_are_drawn_of_other_data(command, capsys, project):
    images = np.load("d.npy")
    np.save("same.npy", images)
    np.save("other.npy", 255 - images)
    drawn = {}
    for name in ("d.npy", "same.npy", "other.npy"):
        options = () if name == "d.npy" else ("--data", name)
        code, out, err = call(capsys, command, "runs/a", *options, "--output", f"{command}-{name}.png")
        assert code == 0, err
        drawn[name] = (project / out.strip()).read_bytes()
    assert drawn["d.npy"] == drawn["same.npy"]
    assert drawn["d.npy"] != drawn["other.npy"]
    code, _, err = call(capsys, command, "runs/a", "--data", "other.npy", "--part", "validation")
    assert code == 0, err


def test_the_laboratory_takes_other_data_for_the_model_of_a_run(capsys, project, monkeypatch):
    np.save("other.npy", 255 - np.load("d.npy"))
    seen = []

    def taken(model, x, *_, **__):
        seen.append(x)
        raise KeyboardInterrupt

    monkeypatch.setattr(rp, "lab", taken)
    options = ("--examples", 4, "--only", "RLOO", "--run", "runs/a", "--data", "other.npy")
    assert call(capsys, "lab", *options)[0] == 130
    assert torch.equal(seen[0], rp.load_data("other.npy", validation=20).test[:4])
