"""The command line, where names hold control characters, memory is full, or files are no files."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from commands import SMALL, call, save_images

from reparam import cli
from reparam.training.checkpoint import read_checkpoint, write_checkpoint
from reparam.training.run import checkpoints

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such names, and no named pipes")
EVIL, SHOWN = "a\x1b[2J\x9b\u202eb", r"a\x1b[2J\x9b\u202eb"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printed(capsys, *arguments):
    """Exit code and all that was printed, none of which a terminal obeys."""
    code, out, err = call(capsys, *arguments)
    assert not OBEYED.search(out), out
    assert not OBEYED.search(err), err
    return code, out + err


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A run whose folder and data have such names."""
    folder = tmp_path_factory.mktemp("hostile")
    data = save_images(folder / f"{EVIL}.npy")
    cli.main([str(each) for each in ("train", "gaussian", *SMALL, "--data", data, "--run", folder / EVIL)])
    return folder / EVIL


@posix
def test_names_are_shown_with_their_control_characters_escaped(capsys, evil, tmp_path):
    data = evil.parent / f"{EVIL}.npy"
    again = ("train", "gaussian", *SMALL, "--data", data, "--run", tmp_path / EVIL)
    for command in (
        again,
        ("resume", evil, "--epochs", 2),
        ("compare", evil),
        ("evaluate", evil, "--num-samples", 1),
        ("sample", evil, "--num", 1),
        ("data", "info", data),
        ("compare", evil, "--csv", tmp_path / f"{EVIL}.csv"),
    ):
        code, text = printed(capsys, *command)
        assert code == 0
        assert SHOWN in text, command
    for command in (again, ("evaluate", tmp_path / f"{EVIL}2"), ("data", "info", f"{data}.gone"), ("version", EVIL)):
        code, text = printed(capsys, *command)
        assert code == 2
        assert SHOWN in text, command
        assert text.count("\n") == 1
    for command in (("evaluate", tmp_path / f"{EVIL}2", "--debug"), ("--debug", "data", "info", f"{data}.gone")):
        code, text = printed(capsys, *command)
        assert code == 2
        assert "Traceback" in text


@posix
@pytest.mark.filterwarnings("default:.*is damaged:UserWarning")
def test_what_files_hold_is_escaped_too(capsys, evil, tmp_path):
    folder = tmp_path / "run"
    assert call(capsys, "train", "gaussian", *SMALL, "--data", evil.parent / f"{EVIL}.npy", "--run", folder)[0] == 0
    record = json.loads((folder / "experiment.json").read_text())
    changed = {**record, "data": {**record["data"], "protocol": EVIL}}
    (folder / "experiment.json").write_text(json.dumps(changed))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "train": {"bound": EVIL, "value": 1.0}}))
    code, text = printed(capsys, "compare", folder)
    assert code == 0
    assert f"{SHOWN} 1.00" in text
    assert f", {SHOWN}, test data" in " ".join(text.split())
    (folder / "experiment.json").write_text(json.dumps({**record, "model": f"Gaussian(2) {EVIL}"}))
    assert printed(capsys, "sample", folder)[0] == 2
    (folder / "experiment.json").write_text(json.dumps({**record, "experiment": {EVIL: 1}}))
    for command in ("compare", "resume", "evaluate"):
        assert printed(capsys, command, folder)[0] == 2
    np.savez(tmp_path / "x.npz", **{EVIL: np.zeros((9, 2)), "b": np.zeros((9, 2))})
    code, text = printed(capsys, "data", "info", tmp_path / "x.npz")
    assert code == 2
    assert SHOWN in text
    shutil.copytree(evil, tmp_path / EVIL)
    (tmp_path / EVIL / "checkpoints" / "best.safetensors").write_bytes(b"damaged")
    code, text = printed(capsys, "sample", tmp_path / EVIL)
    assert code == 0
    assert f"reparam: warning: {tmp_path}/{SHOWN}" in text


@posix
def test_a_name_that_is_no_text_is_printed(capsys, tmp_path):
    """Bytes of a file name that are no UTF-8 cannot be printed as they are."""
    code, text = printed(capsys, "evaluate", os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    assert code == 2
    assert r"bad\udcff holds no run" in text


def fail_on_cuda():
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15 GiB\nSee documentation"
    )


TOO_MUCH = {
    "numpy": (lambda: np.empty(10**16), r"Unable to allocate .* for an array with shape \(10000000000000000,\)"),
    "torch": (lambda: torch.empty(10**16), "40000000000000000 bytes were asked for at once"),
    "Python": (lambda: bytearray(2**62), "the system gives no more"),
    "CUDA": (fail_on_cuda, "20.00 GiB were asked for at once"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_full_memory_is_one_line_with_what_was_asked_for_and_what_to_do(kind, capsys, evil, monkeypatch):
    ask, words = TOO_MUCH[kind]
    monkeypatch.setattr("reparam.runs.training.evaluate", lambda *arguments, **options: ask())
    code, _, err = call(capsys, "resume", evil)
    assert code == 1
    assert err.count("\n") == 1
    assert re.search(rf"reparam: memory is full: {words}.*\. Ask for less: a smaller --batch-size, .* mapped\. ", err)
    assert "keeps its checkpoints. Go on with: reparam resume" in err
    assert call(capsys, "resume", evil, "--debug")[0] == 1


@posix
@pytest.mark.filterwarnings("default:.*is a named pipe:UserWarning")
@pytest.mark.parametrize("name", ["experiment.json", "summary.json", "metrics.jsonl", "checkpoints"])
def test_a_pipe_in_the_place_of_a_runs_file_is_said_and_not_waited_for(capsys, tmp_path, name):
    folder = tmp_path / "run"
    assert call(capsys, "train", "gaussian", *SMALL, "--data", save_images(tmp_path / "d.npy"), "--run", folder)[0] == 0
    paths = checkpoints(folder) if name == "checkpoints" else [folder / name]
    for path in paths:
        path.unlink()
        os.mkfifo(path)
    command = ("compare", folder) if name == "summary.json" else ("resume", folder)
    code, _, err = call(capsys, *command)
    assert code == (1 if name == "checkpoints" else 2)
    assert f"{paths[0]} is a named pipe; only regular files are read" in err
    assert "Traceback" not in err


def test_a_checkpoint_that_fits_no_training_is_one_line(capsys, tmp_path):
    folder = tmp_path / "run"
    given = ("train", "gaussian", *SMALL, "--data", save_images(tmp_path / "d.npy"), "--run", folder)
    assert call(capsys, *given)[0] == 0
    path = checkpoints(folder)[-1]
    tree = read_checkpoint(path)
    tree["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)
    write_checkpoint(path, tree)
    code, _, err = call(capsys, "resume", folder, "--epochs", 2)
    assert code == 2
    assert err.startswith(
        f"reparam: {path} does not fit this training: optimizer.state[0].exp_avg is a tensor of shape"
    )
    assert err.count("\n") == 1
