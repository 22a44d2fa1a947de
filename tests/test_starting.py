"""A training that cannot begin leaves no trace."""

import pytest
import torch
from commands import SMALL, call, save_images
from filelock import FileLock
from helpers import small_vae

import reparam as rp


def refused(folder):
    with pytest.raises((TypeError, ValueError)) as found:
        rp.fit(small_vae(rp.Bernoulli(3)), rp.Pathwise(), torch.rand(20, 6), epochs=1, run=folder)
    return str(found.value)


def test_folders_that_were_made_for_it_are_removed(tmp_path):
    assert "has no rsample" in refused(tmp_path / "new" / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays_without_the_lock(tmp_path):
    (tmp_path / "run").mkdir()
    refused(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert "holds no run" in refused(tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_run_that_is_there_is_not_touched(tmp_path):
    rp.fit(small_vae(rp.Bernoulli(3)), rp.RLOO(2), torch.rand(20, 6), epochs=1, run=tmp_path / "run")
    before = sorted((tmp_path / "run").rglob("*"))
    assert "holds a run already" in refused(tmp_path / "run")
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_the_lock_of_another_process_stays(tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock", is_singleton=False):
        assert "is being written by another process" in refused(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("typed", [("--run", "new/run"), ()], ids=["a name", "no name"])
@pytest.mark.parametrize(
    "wrong",
    [
        ("--latent", "Bernoulli(3)"),
        ("--latent", "Gausian(3)"),
        ("--observation", "LogNormal"),
        ("--patience", 3),
        ("--data", "x.npy"),
        ("--latent", "Bernoulli(3)", "--estimator", "RELAX(mlp(3, [], 1))", "--compile"),
    ],
    ids=lambda words: words[-1],
)
def test_a_command_that_is_refused_leaves_nothing_and_prints_nothing(typed, wrong, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_images(tmp_path / "d.npy")
    options = (*SMALL, "--data", "d.npy", "--latent", "Gaussian(3)")
    code, out, err = call(capsys, "train", "gaussian", *options, *wrong, *typed)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npy"]
