"""Names that a stream's encoding lacks, and streams that are closed."""

import io
import json
import os
import subprocess
import sys

import pytest
from commands import SMALL, save_images

from reparam import cli
from reparam.training.checkpoint import read_checkpoint
from reparam.training.run import checkpoints

NAME = "läufe-żółć-実験"


class Stream(io.TextIOWrapper):
    """As the standard streams of a process with PYTHONIOENCODING."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    options = (*SMALL, "--data", save_images(folder / "d.npy"), "--latent", "Gaussian(3)", "--run", folder / NAME)
    cli.main([str(each) for each in ("train", "gaussian", *options)])
    return folder / NAME


def called(monkeypatch, encoding, *arguments):
    out, err = Stream(encoding), Stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    code = 0
    try:
        cli.main([str(each) for each in arguments])
    except SystemExit as left:
        code = left.code or 0
    assert (out.errors, err.errors) == ("strict", "strict")  # as they were
    return code, out.text(), err.text()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_of_any_characters_is_printed_in_any_encoding(encoding, run, monkeypatch):
    shown = NAME.encode(encoding, "backslashreplace").decode(encoding)
    commands = (("evaluate", run, "--num-samples", 2), ("compare", run), ("sample", run), ("resume", run))
    for command in commands:
        code, out, err = called(monkeypatch, encoding, *command)
        assert (code, err) == (0, "")
        assert shown in out
    code, out, err = called(monkeypatch, encoding, "evaluate", run.parent / "nichts-é")
    assert (code, out) == (2, "")
    assert shown in err
    code, out, _ = called(monkeypatch, encoding, "evaluate", run, "--num-samples", 1, "--json")
    assert json.loads(out)["run"] == str(run)
    assert called(monkeypatch, encoding, "train", "gaussian", "--help")[0] == 0


def test_a_name_that_is_no_text_is_printed(run, monkeypatch):
    code, _, err = called(monkeypatch, "utf-8", "evaluate", "nothing-\udcff")
    assert code == 2
    assert "nothing-\\udcff" in err


@pytest.mark.skipif(os.name != "posix", reason="closes the streams in a shell")
@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-"])
def test_what_is_closed_costs_no_file_and_no_exit_code(closed, run, tmp_path):
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = f'"$0" -m reparam "$@" {closed}'

    def code(*arguments):
        given = ["sh", "-c", script, sys.executable, *map(str, arguments)]
        return subprocess.run(
            given, cwd=tmp_path, env=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        ).returncode

    options = ("train", "gaussian", *SMALL, "--data", run.parent / "d.npy", "--latent", "Gaussian(3)", "--run", "run")
    assert code(*options) == 0
    assert [json.loads(line)["kind"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [
        "epoch"
    ]
    assert all(read_checkpoint(path) for path in checkpoints(tmp_path / "run"))
    assert code("evaluate", "nothing") == 2
