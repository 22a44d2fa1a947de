"""What goes wrong while runs are made: each is one line and an exit code, and nothing is lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import SMALL, call, save_images

from reparam.training import Interrupted
from reparam.training.checkpoint import read_checkpoint
from reparam.training.run import Folder, Run, checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs with a checkpoint after each step, and its data."""
    from_here = tmp_path_factory.mktemp("failures")
    save_images(from_here / "d.npy")
    done = train_in(from_here, "run", "--epochs", 2)
    assert done.returncode == 0, done.stderr
    (from_here / "d.npy").rename(from_here / "away.npy")  # or the copies would find their data here
    return from_here


def train_in(folder, name, *options):
    """In a process of its own, so that data have a relative path."""
    typed = ["train", "gaussian", *SMALL[:2], *SMALL[4:], "--data", "d.npy", "--checkpoint-seconds", 0, "--run", name]
    command = [sys.executable, "-m", "reparam", *map(str, (*typed, *options))]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, cwd=folder, env=place, capture_output=True, text=True, check=False)


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that run with its data, in the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "away.npy").rename(tmp_path / "d.npy")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def refused(capsys, code, *arguments):
    """The one line that a command ends with."""
    left, _, err = call(capsys, *arguments)
    assert left == code, err
    assert "Traceback" not in err
    assert err.startswith("reparam: ")
    assert err.count("\n") == 1, err
    return err


def options(folder, **changed):
    given = dict(zip(("--hidden", "--epochs", "--batch-size", "--final-samples"), SMALL[1::2], strict=True))
    given |= {"--data": folder / "d.npy", "--run": folder / "new", "--checkpoint-seconds": 0}
    given |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [each for pair in given.items() for each in pair]


def weights(folder):
    return read_checkpoint(checkpoints(folder)[-1])["model"]


def test_a_file_in_the_place_of_the_folder_is_refused(capsys, run):
    data = (run.parent / "d.npy").read_bytes()
    for place in (run.parent / "d.npy", run.parent / "d.npy" / "new"):
        message = refused(capsys, 2, "train", "gaussian", *options(run.parent, run=place))
        assert f"the run folder {place} cannot be written" in message
        assert "choose another" in message
    assert (run.parent / "d.npy").read_bytes() == data


def test_a_folder_that_cannot_be_written_is_refused(capsys, run, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    message = refused(capsys, 2, "train", "gaussian", *options(run.parent))
    assert "cannot be written (Permission denied)" in message


@pytest.mark.filterwarnings("default:the folder .* cannot be synced:UserWarning")
@pytest.mark.parametrize("moment", range(3, 20, 4))
def test_a_full_disk_loses_nothing_and_the_run_can_be_resumed(moment, capsys, run, monkeypatch):
    """The disk is full from some sync on: of the metrics, of a checkpoint, of its folder.

    The file of a folder that cannot be synced is written already, so that is a warning, and the next file an error.
    """
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) >= moment:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    folder = run.parent / "new"
    code, _, err = call(capsys, "train", "gaussian", *options(run.parent, epochs=2))
    monkeypatch.setattr(os, "fsync", real)
    *warned, message = err.splitlines()
    assert code == 1
    assert all(" cannot be synced (No space left on device): its files are written" in line for line in warned)
    assert len(warned) <= 1
    assert f"{folder}/" in message.split(" cannot be written (No space left on device)")[0]
    assert "untouched" in message
    if checkpoints(folder):
        assert f"Go on with: reparam resume {folder}" in message
        for path in checkpoints(folder):
            read_checkpoint(path)
    assert call(capsys, "resume", folder)[0] == 0
    assert all(torch.equal(value, weights(run)[name]) for name, value in weights(folder).items())


def test_metrics_that_find_no_room_are_named_and_the_folder_is_let_go_of(tmp_path):
    folder = Folder(Run(tmp_path / "run"), {"model": None})
    folder.metrics.close()
    folder.metrics = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    with pytest.raises(OSError, match=r"metrics.jsonl cannot be written \(No space left on device\)"):
        folder.line("train", {"step": 1})
    folder.close()
    Folder(
        Run(tmp_path / "run", resume=True), {"model": None, "estimator": None, "data": None, "training": None}
    ).close()


def test_data_that_vanished_are_missed_by_name_and_the_run_goes_on_once_they_are_back(capsys, run):
    (run.parent / "d.npy").rename(run.parent / "away.npy")
    for command in (("resume", run, "--epochs", 3), ("evaluate", run), ("reconstruct", run)):
        assert "d.npy does not exist. Restore it" in refused(capsys, 2, *command)
    (run.parent / "away.npy").rename(run.parent / "d.npy")
    assert call(capsys, "resume", run)[0] == 0


def test_data_that_changed_are_not_trained_on_in_the_middle_of_a_run(capsys, run):
    save_images(run.parent / "d.npy", seed=1)
    assert "is a run with the data " in refused(capsys, 2, "resume", run)


def test_a_loss_that_is_no_number_names_step_and_term_and_what_is_kept(capsys, run):
    message = refused(capsys, 1, "train", "gaussian", *options(run.parent, epochs=9, lr="1e9"))
    assert "training stopped at step " in message
    assert "log p" in message or "draw" in message or "parameter" in message
    newest = checkpoints(run.parent / "new")[-1]
    assert f"keeps the checkpoint before that, {newest.name}" in message
    assert all(value.isfinite().all() for value in weights(run.parent / "new").values())


@pytest.mark.parametrize(
    ("shape", "scale", "words"),
    [
        ((3, 7, 7), 1, "examples of shape (7, 7), and the model of"),
        ((0, 8, 8), 1, "and the model of"),
        ((3, 8, 8), 2.0, "takes 0 to 1"),
    ],
)
def test_images_that_do_not_fit_the_model_are_refused(shape, scale, words, capsys, run):
    np.save(run.parent / "x.npy", np.ones(shape, np.float32) * scale)
    assert words in refused(capsys, 2, "reconstruct", run, "--input", run.parent / "x.npy")
    assert not (run / "pictures" / "reconstruct.png").exists()


def test_files_that_are_damaged_are_refused(capsys, run):
    save_images(run.parent / "x.npy", 5)
    np.savez(run.parent / "x.npz", np.ones((50, 8, 8), np.float32))
    (run.parent / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    for name, words in (("x.npy", "truncated"), ("x.npz", "cannot be read as an archive"), ("x.png", "broken image")):
        path = run.parent / name
        path.write_bytes(path.read_bytes()[:200])
        assert words in refused(capsys, 2, "reconstruct", run, "--input", path)
        if name != "x.png":
            assert words in refused(capsys, 2, "train", "gaussian", *options(run.parent, data=path))
    assert "does not exist" in refused(capsys, 2, "reconstruct", run, "--input", run.parent / "nothing.png")


def edited(run, change):
    path = run / "experiment.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


NONSENSE = {
    "no JSON": (lambda text: text[: len(text) // 2], "is no JSON"),
    "a list": (lambda text: "[1, 2]", "holds a list, not an object"),
    "too deep": (lambda text: "[" * 100_000, "is no JSON"),
    "an unknown option": (
        lambda text: text.replace('"latent"', '"lattent"'),
        "has no option 'lattent'. The nearest is",
    ),
    "a wrong type": (lambda text: text.replace('"epochs": 2', '"epochs": "two"'), "epochs is 'two'"),
    "an experiment of another kind": (lambda text: text.replace('"experiment": {', '"experiment": 3, "x": {'), "is 3;"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_an_experiment_edited_to_nonsense_is_refused_by_every_command(kind, capsys, run):
    change, words = NONSENSE[kind]
    path = run / "experiment.json"
    path.write_text(change(path.read_text()))
    before = weights(run)
    commands = (("resume", run), ("evaluate", run), ("compare", run), ("reconstruct", run))
    for command in commands:
        message = refused(capsys, 2, *command)
        assert words in message
        assert str(path) in message
    assert all(torch.equal(value, weights(run)[name]) for name, value in before.items())


def test_parts_of_a_record_edited_to_nonsense_are_refused(capsys, run):
    edited(run, lambda record: record.update(model="Gaussian(3"))
    assert "experiment.json: model: " in refused(capsys, 2, "sample", run)
    edited(run, lambda record: record.update(model="Gaussian(3)"))
    assert "is no model but" in refused(capsys, 2, "sample", run)
    edited(run, lambda record: record.update(data=None))
    assert "does not say how many examples" in refused(capsys, 2, "resume", run, "--epochs", 3)
    (run / "summary.json").write_text("{")
    assert "summary.json is no JSON" in refused(capsys, 2, "compare", run)


@pytest.mark.filterwarnings("default:.*is damaged:UserWarning")
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_used(capsys, run):
    expected, (older, newest) = weights(run), checkpoints(run)
    newest.write_bytes(newest.read_bytes()[:-7])
    code, _, err = call(capsys, "evaluate", run, "--num-samples", 1, "--checkpoint", "last")
    assert code == 0
    assert err.startswith(f"reparam: warning: {newest} is damaged")
    assert f"{older.name} is used." in err
    assert err.count("\n") == 1
    code, _, err = call(capsys, "resume", run)
    assert code == 0
    assert err.startswith(f"reparam: warning: {newest} is damaged")
    assert err.count("\n") == 1
    assert all(torch.equal(value, weights(run)[name]) for name, value in expected.items())


@pytest.mark.filterwarnings("default:.*is damaged:UserWarning")
def test_a_run_whose_checkpoints_are_all_damaged_fails_and_keeps_them(capsys, run):
    for path in checkpoints(run):
        path.write_bytes(b"nothing")
    for command in ("resume", "evaluate"):
        code, _, err = call(capsys, command, run)
        assert code == 1
        assert "whole" in err.splitlines()[-1]
        assert "Traceback" not in err
    assert [path.read_bytes() for path in checkpoints(run)] == [b"nothing"] * 2


def test_a_folder_of_another_program_is_not_touched(capsys, run):
    folder = run.parent / "new"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    message = refused(capsys, 2, "train", "gaussian", *options(run.parent), "--overwrite")
    assert "is not empty and holds no run" in message
    assert (folder / "thesis.tex").read_text() == "mine"
    assert "holds no run" in refused(capsys, 2, "resume", folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_training_saves_and_says_how_to_go_on(number, capsys, run):
    """Of its many short epochs some are left when the signal comes."""
    more = {"epochs": 200, "validation": 20, "evaluate_every": 0, "checkpoint_seconds": 1000}
    command = [sys.executable, "-m", "reparam", "train", "gaussian", *map(str, options(run.parent, **more))]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else it is ignored where the tests run in the background
    process = subprocess.Popen(command, env=place, stdout=pipe, stderr=pipe, text=True)
    while not process.stdout.readline().startswith("epoch 1/"):
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.count("\n") == 1
    assert "nothing is lost" in err
    assert err.rstrip().endswith(f"Go on with: reparam resume {run.parent / 'new'}")
    code, out, _ = call(capsys, *err.split("reparam ")[-1].split())
    assert code == 0
    assert "epoch 200/200" in out
    assert "epoch 1/200" not in out


def test_ctrl_c_outside_of_the_training_says_how_to_go_on_too(capsys, run, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("reparam.runs.training.evaluate", interrupted)
    message = refused(capsys, 130, "resume", run)
    assert message == f"reparam: interrupted; {run} keeps its checkpoints. Go on with: reparam resume {run}\n"


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_of_several_processes_the_first_one_speaks(name, capsys, monkeypatch, tmp_path):
    """The launchers take a process that ends with another code than 0 for a crash, and kill the rest."""
    monkeypatch.setenv(name, "1")
    code, out, err = call(capsys, "evaluate", tmp_path / "nothing")
    assert (code, out, err) == (2, "", "")

    def stopped(*_, **__):
        raise Interrupted(tmp_path, 3)

    monkeypatch.setattr("reparam.cli.entry.parsed", lambda given: stopped)
    assert call(capsys, "train", "gaussian") == (0, "", "")
    monkeypatch.setenv(name, "0")
    code, _, err = call(capsys, "train", "gaussian")
    assert code == 130
    assert "nothing is lost" in err


def test_data_that_have_changed_since_are_refused_by_every_command(capsys, tmp_path):
    data, run = save_images(tmp_path / "d.npy"), tmp_path / "run"
    assert call(capsys, "train", "gaussian", *SMALL, "--data", data, "--run", run)[0] == 0
    record = (run / "experiment.json").read_bytes()
    images = np.load(data)
    np.save(data, images[::-1])
    for command in (("evaluate", run), ("reconstruct", run), ("resume", run, "--epochs", 3)):
        code, _, err = call(capsys, *command)
        assert code == 2
        assert "the data have changed since" in err
    assert (run / "experiment.json").read_bytes() == record
    assert call(capsys, "evaluate", run, "--data", data)[0] == 0


@pytest.mark.parametrize(
    "options", [("--latent", "Bernoulli(3)"), ("--estimator", "Enumerate()")], ids=["no rsample", "too many states"]
)
def test_a_run_that_could_not_begin_does_not_stand_in_the_way(options, capsys, tmp_path):
    given = ("train", "gaussian", *SMALL, "--data", save_images(tmp_path / "d.npy"), "--run", tmp_path / "run")
    code, _, err = call(capsys, *given, *options)
    assert code == 2
    assert "nothing is lost" not in err
    assert call(capsys, *given)[0] == 0


def test_patience_without_validation_is_refused(capsys, tmp_path):
    given = ("train", "gaussian", *SMALL, "--data", save_images(tmp_path / "d.npy"), "--run", tmp_path / "run")
    code, _, err = call(capsys, *given, "--patience", 3)
    assert code == 2
    assert "patience is 3, and no examples are kept apart to validate on" in err


def test_files_of_a_run_edited_into_something_else_are_one_line(capsys, tmp_path):
    run = tmp_path / "run"
    given = ("train", "gaussian", *SMALL, "--data", save_images(tmp_path / "d.npy"), "--run", run)
    assert call(capsys, *given)[0] == 0
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "test": {**summary["test"], "elbo": {"value": "low"}}}))
    code, _, err = call(capsys, "compare", run)
    assert code != 0
    assert len(err.strip().splitlines()) == 1
