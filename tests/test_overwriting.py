"""Overwriting removes what the run wrote, by its names, and nothing that somebody else put there."""

import pytest
import torch
from commands import SMALL, call, save_images

import reparam as rp
from reparam.training.run import Run, checkpoints
from reparam.training.written import remove


def fit(run, epochs=1):
    torch.manual_seed(1)
    latent = rp.Gaussian(2)
    model = rp.VAE(latent, rp.Bernoulli(16), rp.mlp(16, [8], 4), rp.mlp(2, [8], 16))
    x = torch.rand(40, 16, generator=torch.Generator().manual_seed(0))
    rp.fit(model, rp.Pathwise(), x, epochs=epochs, batch_size=20, run=run)


MINE = (
    "pictures/holiday.png",
    "pictures/reconstruction_final.png",
    "pictures/sample_0001.jpg",
    "checkpoints/other.safetensors",
    "checkpoints/step-by-step.safetensors",
    "checkpoints/step-000000001.safetensors",
    "checkpoints/notes.damaged",
    "checkpoints/.mine.part",
    "tensorboard/events.txt",
    "thesis.tex",
)


def test_files_of_other_names_stay(tmp_path):
    run = tmp_path / "run"
    fit(run)
    for name in MINE:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    fit(Run(run, overwrite=True), epochs=2)
    assert [(run / name).read_text() for name in MINE] == ["mine"] * len(MINE)
    assert [path.name for path in checkpoints(run)] == [
        "step-000000000.000001.safetensors",
        "step-000000004.000003.safetensors",
    ]
    rp.load(run)
    remove(run)
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert left == {*MINE, ".lock"}


def test_all_that_a_run_and_the_commands_wrote_goes(capsys, tmp_path):
    """Also the pictures of commands, a checkpoint that was set aside as damaged, and what a killed write left."""
    run = tmp_path / "run"
    data = save_images(tmp_path / "d.npy")
    given = ("train", "gaussian", *SMALL, "--data", data, "--run", run, "--validation", 20, "--tensorboard")
    assert call(capsys, *given)[0] == 0
    for command in ("sample", "reconstruct", "traverse", "interpolate"):
        assert call(capsys, command, run)[0] == 0
    (run / "checkpoints" / "step-000000001.000001.damaged").write_text("set aside")
    (run / "pictures" / ".reparam-0123.part").write_text("half")
    assert len(list(run.rglob("*.png"))) == 6
    remove(run)
    assert {path.name for path in run.rglob("*") if path.is_file()} == {".lock"}


@pytest.mark.parametrize("name", ["checkpoints", "pictures", "tensorboard"])
def test_a_folder_that_is_a_link_is_not_cleared(tmp_path, name):
    run, other = tmp_path / "run", tmp_path / "other"
    fit(run)
    (run / name).mkdir(exist_ok=True)
    (run / name).rename(other)
    for each in ("sample_0001.png", "best.safetensors", "events.out.tfevents.1.x"):
        (other / each).write_text("of another run")
    (run / name).symlink_to(other)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"{name} is a link to another folder, where nothing is removed\. Remove"):
        fit(Run(run, overwrite=True))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_of_a_file_that_is_a_link_the_link_goes(tmp_path):
    run, kept = tmp_path / "run", tmp_path / "kept"
    fit(run)
    kept.mkdir()
    moved = [run / "metrics.jsonl", run / "experiment.json", *(run / "pictures").iterdir(), checkpoints(run)[0]]
    for path in moved:
        path.rename(kept / path.name)
        path.symlink_to(kept / path.name)
    remove(run)
    assert not any(path.is_symlink() for path in moved)
    assert sorted(path.name for path in kept.iterdir()) == sorted(path.name for path in moved)


def test_a_checkpoint_of_another_name_is_neither_used_nor_counted(tmp_path):
    """A file named step-mine.safetensors came after all others, and pushed the run's own out of the last two."""
    run = tmp_path / "run"
    fit(run)
    (run / "checkpoints" / "step-mine.safetensors").write_text("mine")
    fit(Run(run, resume=True, checkpoint_seconds=0), epochs=2)
    assert (run / "checkpoints" / "step-mine.safetensors").read_text() == "mine"
    assert len(checkpoints(run)) == 2
    rp.load(run)
